"""What sidecars measure, brought together: each server is told by its own sidecars, and tells the leader.

It is lost without harm, so nothing is repeated: a report that does not get through is dropped.
"""

import asyncio
from collections.abc import Callable

import grpc
import structlog

from weft.errors import WeftError

from ..identity.server_proof import ServerProof
from ..measurements.meter import Meter
from ..measurements.tally import Edge, Tally
from ..measurements.window import Wanted, Window, every
from ..measurements.wire import REPORT_CALLS_MAX, Counted, report
from .forward import ToLeader

log = structlog.get_logger(__name__)

REPORT_S = 1.0


class Measuring:
    """`window` has what this server knows: of its own sidecars, and, where it leads, of all.

    `to_leader` is None where this is the only server. `now` is a clock that does not go back, in seconds.
    """

    def __init__(self, now: Callable[[], float], to_leader: ToLeader | None, proof: ServerProof) -> None:
        self.window = Window()
        self.meters: tuple[Meter, ...] = ()  # of whoever needs more than the window
        self._now = now
        self._to_leader = to_leader
        self._proof = proof
        self._untold: dict[Edge, Tally] = {}
        self._hears_since = now()

    def recent(self, span_s: float, wanted: Wanted = every) -> tuple[dict[Edge, Tally], float]:
        """What was measured in the last `span_s` seconds, and of how many of them this server knows: fewer
        where it has begun, or has begun to lead, within them. At least one."""
        now = self._now()
        return self.window.edges(now, span_s, wanted), max(1.0, min(span_s, now - self._hears_since))

    def total(self, span_s: float, wanted: Wanted) -> Tally:
        """What was measured of some edges in the last `span_s` seconds, together."""
        return self.window.total(self._now(), span_s, wanted)

    def take(self, counted: Counted) -> None:
        """From a sidecar of this server. Raises InvalidMeasurement; what came before it stands."""
        for edge, tally in counted:
            self._count(edge, tally)
            if self._to_leader and (edge in self._untold or len(self._untold) < REPORT_CALLS_MAX):
                self._untold.setdefault(edge, Tally()).add(tally)

    def take_report(self, counted: Counted) -> None:
        """From another server, which takes this one for the leader. Raises InvalidMeasurement."""
        for edge, tally in counted:
            self._count(edge, tally)

    def _count(self, edge: Edge, tally: Tally) -> None:
        now = self._now()
        self.window.add(now, edge, tally)
        for meter in self.meters:
            if meter.target == edge.target and not edge.inbound:
                meter.add(now, tally)

    async def run(self) -> None:
        """For ever: tells the leader, where that is another server."""
        while self._to_leader is not None:
            await asyncio.sleep(REPORT_S)
            untold, self._untold = self._untold, {}
            if self._to_leader.is_elsewhere:
                self._hears_since = self._now()  # of others, nothing
                await self._report(self._to_leader, untold)

    async def _report(self, to_leader: ToLeader, untold: dict[Edge, Tally]) -> None:
        if not untold:
            return
        try:
            await to_leader.report(report(untold), (self._proof.metadata(),))
        except grpc.aio.AioRpcError as error:
            log.debug("measurements are lost", reason=f"{error.code().name}: {error.details()}")
        except WeftError as error:
            log.debug("measurements are lost", reason=str(error))

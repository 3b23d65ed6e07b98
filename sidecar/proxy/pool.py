"""The instances of one destination, the connections to them, and the requests that wait for one."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weft.aio import Tasks
from weft.errors import Unavailable
from weft.svid import UntrustedPeer

from .. import errors
from ..h2.outbox import Outbox
from ..policy.balance import RoundRobin, least_request
from ..policy.outlier import Detector
from ..policy.retry import FailureKind, may_retry
from ..respond import ANSWERS
from ..snapshot import Address, Balance, EjectionPolicy
from ..telemetry import PoolSeries
from .exchange import Exchange, answer, waiting_half
from .upstream import Upstream

if TYPE_CHECKING:
    from .dial import Dialer

# Connections to one instance: the first carries all until the peer's SETTINGS_MAX_CONCURRENT_STREAMS is
# reached; more would only thin out what one write and one TLS record carry.
CONNECTIONS_PER_INSTANCE_MAX = 4


@dataclass(slots=True, eq=False)
class Target:
    """One instance, and our connections to it."""

    key: str
    address: Address
    weight: int = 1
    active: int = 0  # streams that are open to it
    conns: list[Upstream] = field(default_factory=list)  # those that take new streams
    leaving: set[Upstream] = field(default_factory=set)  # those that only finish
    connecting: bool = False
    pending: dict[Exchange, None] = field(default_factory=dict)
    failing: bool = False  # it failed since its last success
    healthy: bool = True
    removed: bool = False


class Pool:
    """`only` is the one target that takes requests, where there is exactly one: no choice to make."""

    def __init__(
        self,
        name: str,
        dialer: "Dialer",
        *,
        outbox: Outbox,
        tasks: Tasks,
        series: PoolSeries,
        draw: Callable[[], float],
        no_connection: type[errors.RequestRefused] = errors.ConnectFailed,
    ) -> None:
        self.name = name
        self.dialer = dialer
        self.outbox = outbox
        self.series = series
        self.targets: dict[str, Target] = {}
        self.live: list[Target] = []
        self.only: Target | None = None
        self.pending_max = 1024
        self.connect_timeout_s = 5.0
        self._tasks = tasks
        self._draw = draw
        self._no_connection = ANSWERS[no_connection]
        self._round_robin: RoundRobin | None = None
        self._detector: Detector | None = None
        self._joining: set[Upstream] = set()  # connected or about to be, SETTINGS still to come
        self._leaving: set[Upstream] = set()

    # --- configuration -------------------------------------------------------------------------------

    def configure(
        self,
        wanted: Collection[Target],
        *,
        balance: Balance = Balance.LEAST_REQUEST,
        ejection: EjectionPolicy | None = None,
    ) -> None:
        """Takes the instances of a new snapshot; those that stayed keep their connections."""
        if balance is Balance.LEAST_REQUEST:
            self._round_robin = None
        elif self._round_robin is None:
            self._round_robin = RoundRobin()
        new = {target.key: target for target in wanted}
        for key, old in list(self.targets.items()):
            if key not in new or new[key].address != old.address:
                self._remove(self.targets.pop(key))
        for key, target in new.items():
            known = self.targets.setdefault(key, target)
            known.weight, known.healthy = target.weight, target.healthy
        if ejection is None:
            self._detector = None
        elif self._detector is None:
            self._detector = Detector(ejection, len(new))
        else:
            self._detector.reconfigure(ejection)
            self._detector.keep(new)
        self._refresh()

    def _remove(self, target: Target) -> None:
        target.removed = True
        for upstream in list(target.conns):
            upstream.retire()
        waiting = list(target.pending)
        target.pending.clear()
        self.series.pending -= len(waiting)
        for exchange in waiting:
            exchange.waits_at = None
        for exchange in waiting:
            self.enqueue(exchange, self.pick(target))

    def _refresh(self) -> None:
        out = self._detector.ejected if self._detector else lambda _key: False
        self.live = [t for t in self.targets.values() if t.healthy and not out(t.key)]
        self.only = self.live[0] if len(self.live) == 1 else None
        self.series.instances = len(self.targets)
        self.series.ejected = sum(1 for key in self.targets if out(key))

    def close(self) -> None:
        """The destination is gone: what runs may finish, nothing begins."""
        self.configure(())

    # --- choosing ------------------------------------------------------------------------------------

    def pick(self, avoid: Target | None = None) -> Target | None:
        """The instance for the next request, other than `avoid`; None if there is none."""
        live = self.live
        if avoid is not None:
            live = [target for target in live if target is not avoid]
        if not live:
            return None
        if self._round_robin is not None:
            return self._round_robin.pick(live)
        return least_request(live, self._draw)

    def enqueue(self, exchange: Exchange, target: Target | None) -> None:
        """The request goes on the first connection to `target` that has room, now or later."""
        if target is None:
            answer(exchange, ANSWERS[errors.NoInstance], f"weft: no healthy instance of {self.name}")
            return
        if exchange.peer.conn is not None or exchange.peer.parked is None or exchange.peer.state:
            waiting_half(exchange)
        if self.series.pending >= self.pending_max:
            answer(exchange, ANSWERS[errors.PendingFull], f"weft: too many requests wait for {self.name}")
            return
        target.pending[exchange] = None
        exchange.waits_at = target
        self.series.pending += 1
        self.serve(target)

    def serve(self, target: Target) -> None:
        """Sends what waits for the target, as far as its connections have room."""
        while target.pending:
            for upstream in target.conns:
                if len(upstream.streams) < upstream.room:
                    break
            else:
                self._connect_more(target)
                return
            exchange = next(iter(target.pending))
            self._dequeue(exchange, target)
            upstream.open_queued(exchange, target)

    def _dequeue(self, exchange: Exchange, target: Target) -> None:
        del target.pending[exchange]
        exchange.waits_at = None
        self.series.pending -= 1

    def abandoned(self, exchange: Exchange) -> None:
        """The caller of a waiting request is gone."""
        if exchange.waits_at is not None:
            self._dequeue(exchange, exchange.waits_at)

    # --- connecting ----------------------------------------------------------------------------------

    def _connect_more(self, target: Target) -> None:
        if not target.connecting and len(target.conns) < CONNECTIONS_PER_INSTANCE_MAX and not target.removed:
            target.connecting = True
            self._tasks.spawn(self._connect(target), f"connect to {target.key} at {target.address}")

    async def _connect(self, target: Target) -> None:
        upstream = Upstream(self.outbox, self, target)
        self._joining.add(upstream)
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await self.dialer.dial(target.address, upstream)
                await upstream.ready
        except (OSError, Unavailable) as error:  # ssl.SSLError and TimeoutError are OSErrors
            self._joining.discard(upstream)
            target.connecting = False
            upstream.abort()
            self._connect_failed(target, str(error) or type(error).__name__)
        else:
            self._joining.discard(upstream)
            target.connecting = False
            if target.removed:
                upstream.retire()
            elif not upstream.retired:
                target.conns.append(upstream)
            self.serve(target)
        self.outbox.flush()

    def _connect_failed(self, target: Target, why: str) -> None:
        self.series.connect_failures += 1
        self.failed(target)
        message = f"weft: no connection to {self.name}: {why}"
        for exchange in list(target.pending):
            self._dequeue(exchange, target)
            self._again(exchange, target, FailureKind.CONNECT_FAILED, message)

    def admit(self, upstream: Upstream, transport: asyncio.BaseTransport) -> bool:
        """Is the peer who it must be? Decided before a byte is sent or read."""
        try:
            upstream.proven = self.dialer.prove(transport)
        except UntrustedPeer as refused:
            upstream.why = str(refused)
            return False
        return True

    def retired(self, upstream: Upstream) -> None:
        """It takes no new streams."""
        target = upstream.target
        if upstream in target.conns:
            target.conns.remove(upstream)
        self._leaving.add(upstream)
        if target.pending:
            self.serve(target)

    def lost(self, upstream: Upstream) -> None:
        """Its socket is closed."""
        target = upstream.target
        if upstream in target.conns:
            target.conns.remove(upstream)
        self._leaving.discard(upstream)
        if target.pending:
            self.serve(target)

    def connections(self) -> list[Upstream]:
        """All that are open, finishing ones included."""
        serving = [upstream for target in self.targets.values() for upstream in target.conns]
        return [*serving, *self._joining, *self._leaving]

    # --- outcomes ------------------------------------------------------------------------------------

    def unprocessed(self, exchange: Exchange, avoid: Target | None, why: FailureKind) -> None:
        """The instance did nothing of the request: once more, elsewhere, if it is held whole."""
        self._again(exchange, avoid, why, f"weft: {self.name} did not take the request ({why.label})")

    def _again(self, exchange: Exchange, avoid: Target | None, why: FailureKind, message: str) -> None:
        target = self.pick(avoid)
        if target is None and why is FailureKind.ABOVE_GOAWAY:  # it may serve us on another connection
            target = avoid
        whole = exchange.replay is not None or exchange.peer.conn is None
        if target is not None and may_retry(exchange.attempts, why, whole, exchange.answered):
            exchange.attempts += 1
            self.series.retries += 1
            self.enqueue(exchange, target)
        else:
            answer(exchange, self._no_connection, message)

    def failed(self, target: Target) -> None:
        """A request to the target, or a connection, failed in a way that is the target's fault."""
        target.failing = True
        if self._detector is None or target.removed:
            return
        if self._detector.failure(target.key, self.outbox.clock()) is not None:
            self.series.ejections += 1
            self._refresh()

    def succeeded(self, target: Target) -> None:
        target.failing = False
        if self._detector is not None:
            self._detector.success(target.key)

    def second_passed(self, monotonic: float) -> None:
        """Instances return from ejection; connections roll before their stream ids run out."""
        if self._detector is not None and self._detector.returned(monotonic):
            self._refresh()
        for upstream in self.connections():
            upstream.second_passed()

    def status(self) -> dict[str, object]:
        """For people: who is in the pool, and how it does."""
        out = {e.key: e for e in self._detector.out()} if self._detector else {}
        return {
            "pending": self.series.pending,
            "instances": [
                {
                    "instance": target.key,
                    "address": str(target.address),
                    "healthy": target.healthy,
                    "ejected": target.key in out,
                    "ejections_in_a_row": out[target.key].count if target.key in out else 0,
                    "active_requests": target.active,
                    "connections": len(target.conns),
                    "spiffe_id": next((str(up.proven.identity) for up in target.conns if up.proven), None),
                }
                for target in self.targets.values()
            ],
        }

"""Canaries on the leader: each second every one under way is looked at, and moved where that follows.

Each move is one command, compared with the indexes that it was decided by: who edits the splitter or leads
meanwhile wins. A leader that has just begun has measured nothing yet, and watches each step anew.
"""

import asyncio
from collections.abc import Callable

import structlog

from weft.errors import WeftError
from weft.pb.catalog.v1.command_pb2 import Command

from ..agent.writer import Writer
from ..audit.event import Event, Outcome
from ..audit.log import Audit
from ..canary.decide import Act, Decision, Seen, decide
from ..canary.move import Move, carried_out
from ..canary.splitter import check_start
from ..catalog.canaries import SPLITTER, routing_of
from ..catalog.commands import Stamp, move_canary
from ..catalog.entry_rules import modify_index
from ..catalog.model import ConfigEntry
from ..catalog.state import State
from ..config_entries.canary import ServiceCanary
from ..config_entries.errors import InvalidEntry
from ..config_entries.inbound import unix_ms
from ..config_entries.kinds import encoded
from ..config_entries.routing import Subset
from ..discovery_chain.chain import Leg
from ..measurements.meter import Meter
from ..mesh.endpoints import endpoints
from ..replica.port import Log
from .measuring import Measuring

log = structlog.get_logger(__name__)

LOOK_S = 1.0


class Canaries:
    """`monotonic` is a clock that does not go back, in seconds."""

    def __init__(
        self, replica: Log, writer: Writer, measuring: Measuring, audit: Audit, monotonic: Callable[[], float]
    ) -> None:
        self._log = replica
        self._writer = writer
        self._measuring = measuring
        self._audit = audit
        self._monotonic = monotonic
        self._meters: dict[tuple[str, str], Meter] = {}  # name, and since when it stands as it does

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.turn()

    async def turn(self) -> None:
        """Looks at each that is under way. Where another server leads, nothing is done, and what was
        measured is forgotten."""
        rows = active(self._log.view()) if self._log.status().is_leader else ()
        self._follow(rows)
        for row, canary in rows:
            try:
                await self._look(row, canary)
            except WeftError as error:
                log.warning("a canary is looked at again", service=row.name, reason=str(error))

    def _follow(self, rows: "tuple[tuple[ConfigEntry, ServiceCanary], ...]") -> None:
        """Measures from now on what is not measured yet, and what has moved no longer as it was."""
        wanted = {(canary.name, canary.state.since): canary for _, canary in rows}
        now, datacenter = self._monotonic(), self._datacenter
        self._meters = {
            key: self._meters.get(key) or Meter(Leg(canary.name, canary.subset, datacenter).id, now)
            for key, canary in wanted.items()
        }
        self._measuring.meters = tuple(self._meters.values())

    @property
    def _datacenter(self) -> str:
        cluster = self._log.view().cluster
        return cluster.datacenter if cluster else ""

    async def _look(self, row: ConfigEntry, canary: ServiceCanary) -> None:
        state = self._log.view()
        decision = self.decision(state, canary)
        splitter, resolver = routing_of(state, canary.name)
        move = carried_out(canary, decision, self._writer.now_ms(), splitter, resolver)
        if move is None:
            return
        command = self._writer.stamped(lambda stamp: command_of(stamp, row, canary, move))
        result = await self._log.propose(command)
        self._tell(canary, decision, move, command, result.index)

    def decision(self, state: State, canary: ServiceCanary) -> Decision:
        """What would become of it now. Of meaning on the leader."""
        splitter, resolver = routing_of(state, canary.name)
        found = decide(canary, self.seen(state, canary))
        if found.act is Act.ADVANCE and not canary.state.step:
            try:
                check_start(canary, splitter, resolver)
            except InvalidEntry as error:
                return Decision(Act.END, f"it cannot begin any more: {error}")
        return found

    def seen(self, state: State, canary: ServiceCanary) -> Seen:
        now = self._monotonic()
        meter = self.meter(canary) or Meter("", now)
        return Seen(
            now_ms=self._writer.now_ms(),
            since_ms=unix_ms(canary.state.since, "Since"),
            splitter_index=modify_index(state, SPLITTER, canary.name),
            has_instances=bool(canary.state.step) or _has_instances(state, canary),
            watched_s=now - meter.since_s,
            step=meter.whole,
            recent=meter.recent(now),
        )

    def meter(self, canary: ServiceCanary) -> Meter | None:
        return self._meters.get((canary.name, canary.state.since))

    def _tell(
        self, canary: ServiceCanary, decision: Decision, move: Move, command: Command, index: int
    ) -> None:
        """One line in the log, one in the audit log."""
        act, weight = decision.act.name.lower(), move.canary.state.history[-1].weight
        log.info("canary", service=canary.name, act=act, weight=weight, reason=decision.reason)
        self._audit.record(
            Event(
                f"canary {act}",
                Outcome.DONE,
                resource=f"/v1/config/{ServiceCanary.KIND}/{canary.name}",
                index=index,
                request_id=command.request_id.hex(),
                detail={"reason": decision.reason, "subset": canary.subset, "weight": weight},
                command=command,
            )
        )


def active(state: State) -> tuple[tuple[ConfigEntry, ServiceCanary], ...]:
    """Canaries that are running or paused."""
    rows = state.config_entries.prefix((ServiceCanary.KIND,))
    found = ((row, row.entry) for row in rows)
    return tuple((row, it) for row, it in found if isinstance(it, ServiceCanary) and it.is_active)


def command_of(stamp: Stamp, row: ConfigEntry, canary: ServiceCanary, move: Move) -> Command:
    """`row` is what was decided by."""
    return move_canary(
        stamp,
        encoded(move.canary),
        row.indexes.modify,
        splitter=move.splitter,
        drop_splitter=move.drops,
        expected_splitter_index=canary.state.splitter_index,
    )


def _has_instances(state: State, canary: ServiceCanary) -> bool:
    _, resolver = routing_of(state, canary.name)
    subset: Subset | None = resolver.subsets.get(canary.subset) if resolver else None
    return subset is not None and any(it.healthy for it in endpoints(state, canary.name, subset).endpoints)

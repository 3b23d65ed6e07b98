"""Carries what servers hear of agents to the leader, and the leader's verdicts to the log.

Each server reports once in TICK_S what has changed; nothing is written to the log but that an agent came,
fell silent, or is gone (registry/liveness has the rules).
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

import grpc
import structlog

from weft.errors import WeftError
from weft.pb.agent.v1.agent_pb2 import Hello
from weft.pb.catalog.v1.enrolment_pb2 import AgentReport
from weft.pb.server.v1.server_pb2 import ReportAgentsRequest, ReportAgentsResponse

from ..agent.writer import Writer
from ..catalog import liveness
from ..catalog.enrolment_model import Member, agent_leaf_key
from ..catalog.limits import REPORTS_PER_COMMAND_MAX
from ..catalog.model import CRITICAL, NODE_ALIVE_ID, PASSING, Node
from ..catalog.state import State
from ..errors import NotReady
from ..identity.server_proof import ServerProof
from ..liveness.judge import Judge
from ..liveness.limits import Patience
from ..liveness.roster import Roster
from ..liveness.standing import Listed, Standing, Verdict, verdict
from ..replica.port import Log
from .forward import ToLeader

log = structlog.get_logger(__name__)

TICK_S = 0.5
SWEEP_TICKS = 20  # how often those are looked at of whom nothing is new: the catalog may have lost a node
MEMBERS_PER_STEP = 256  # about 1 ms


class Leader(Protocol):
    """Where this server's reports go while another one leads."""

    async def report(self, request: ReportAgentsRequest) -> ReportAgentsResponse:
        """Raises NotReady."""


class ReportsToLeader:
    """By the listener that servers ask one another at."""

    def __init__(self, to_leader: ToLeader, proof: ServerProof) -> None:
        self._to_leader = to_leader
        self._proof = proof

    async def report(self, request: ReportAgentsRequest) -> ReportAgentsResponse:
        """Raises NotReady."""
        try:
            return await self._to_leader.report_agents(request, (self._proof.metadata(),))
        except grpc.aio.AioRpcError as error:
            detail = " ".join((error.details() or "").split())[:300]
            raise NotReady(f"the leader takes no report: {error.code().name} {detail}") from None


class Agents:
    """`leader` is None where this is the only server. `monotonic` is in seconds."""

    def __init__(
        self,
        replica: Log,
        writer: Writer,
        roster: Roster,
        leader: Leader | None,
        patience: Patience,
        monotonic: Callable[[], float],
    ) -> None:
        self._log = replica
        self._writer = writer
        self._roster = roster
        self._leader = leader
        self._patience = patience
        self._monotonic = monotonic
        self._judge: Judge | None = None
        self._term = -1
        self._told_to = ""
        self._ticks = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(TICK_S)
            self._ticks += 1
            try:
                await self._tick()
            except WeftError as error:
                log.warning("what agents live is not told", reason=str(error))

    async def _tick(self) -> None:
        status = self._log.status()
        if status.leader_id != self._told_to:
            self._told_to = status.leader_id
            self._roster.report_whole()
        if status.is_leader:
            await self._lead()
            return
        self._judge = None
        if self._leader is not None and status.leader_id:
            await self._tell(self._leader)

    async def _tell(self, leader: Leader) -> None:
        """Raises NotReady; what was lost with it is told with the next report, which is whole."""
        more = True
        while more:
            try:
                answer = await leader.report(self._roster.report(self._monotonic()))
            except WeftError:
                self._roster.report_whole()
                raise
            more = self._roster.has_more and not answer.whole
            if answer.whole:
                self._roster.report_whole()

    def take(self, request: ReportAgentsRequest) -> ReportAgentsResponse:
        """Another server's report. Raises NotReady where this one does not lead."""
        if not self._log.status().is_leader:
            raise NotReady("the leader has changed; retry later")
        return ReportAgentsResponse(whole=not self._leading().take(request, self._monotonic()))

    def _leading(self) -> Judge:
        term = self._log.status().term
        if self._judge is None or term != self._term:
            self._judge = Judge(self._monotonic(), self._patience.leader_grace_s)
            self._term = term
            self._roster.report_whole()
        return self._judge

    async def _lead(self) -> None:
        judge, now = self._leading(), self._monotonic()
        judge.take(self._roster.report(now), now)
        while self._roster.has_more:
            judge.take(self._roster.report(now), now)
        for server_id in judge.forget_stale(now):
            log.warning("a server reports no agents any more", server=server_id)
        fresh, sweep = judge.fresh(), self._ticks % SWEEP_TICKS == 0
        state = self._log.view()
        if sweep:
            judge.keep_only({name for (name,), _ in state.members.items()})
        reports: list[AgentReport] = []
        if judge.is_new(now):
            judge.expect(sum(judge.told(name) is None for (name,), _ in state.members.items()), now)
        for members in _batches(state):
            now_ms = self._writer.now_ms()
            for member in members:
                unheard_s = judge.unheard_s(member.node, now)
                if unheard_s or sweep or member.node in fresh or member.silent_ms:
                    found = _standing(state, member, unheard_s, now_ms)
                    reports += self._reports(state, member, found, judge.told(member.node))
            await asyncio.sleep(0)
        await self._write(reports)

    def _reports(
        self, state: State, member: Member, standing: Standing, told: Hello | None
    ) -> Iterator[AgentReport]:
        match verdict(standing, self._patience):
            case Verdict.ALIVE:
                log.info("an agent lives", node=member.node)
                absent = standing.listed is Listed.ABSENT
                yield liveness.alive(member.node, _row(state, member.node, told) if absent and told else None)
            case Verdict.SILENT:
                log.warning("an agent is not heard any more", node=member.node)
                yield liveness.silent(member)
            case Verdict.GONE:
                log.warning("the node of an agent is dropped", node=member.node)
                yield liveness.gone(member)

    async def _write(self, reports: list[AgentReport]) -> None:
        for at in range(0, len(reports), REPORTS_PER_COMMAND_MAX):
            some = reports[at : at + REPORTS_PER_COMMAND_MAX]
            await self._writer.propose(lambda stamp, some=some: liveness.report_agents(stamp, some))  # type: ignore[misc]


def _batches(state: State) -> Iterator[list[Member]]:
    rows = iter(state.members.values())
    while found := list(islice(rows, MEMBERS_PER_STEP)):
        yield found


def _standing(state: State, member: Member, unheard_s: float, now_ms: int) -> Standing:
    silent_s = max(0, now_ms - member.silent_ms) / 1000 if member.silent_ms else None
    leaves = state.leaves_of(agent_leaf_key(member.node))
    certified = any(leaf.not_after_ms > now_ms for leaf in leaves)
    return Standing(unheard_s, silent_s, _listed(state, member.node), certified)


def _listed(state: State, node: str) -> Listed:
    if (node,) not in state.nodes:
        return Listed.ABSENT
    check = state.checks.get((node, NODE_ALIVE_ID))
    status = check.status if check else ""
    return {PASSING: Listed.PASSING, CRITICAL: Listed.CRITICAL}.get(status, Listed.UNSAID)


def _row(state: State, node: str, told: Hello) -> Node:
    """The node as its agent describes it."""
    datacenter = state.cluster.datacenter if state.cluster else ""
    tagged = dict(sorted(told.tagged_addresses.items()))
    return Node(node, told.address, datacenter, told.node_id, tagged, dict(sorted(told.meta.items())))

"""Sans-IO. The leader's view of all agents, from what the servers report.

It lives in the leader's memory alone. Whoever begins to lead knows nothing, and gives every agent the whole
time that it takes to be heard by some server and reported (trap 23).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.pb.agent.v1.agent_pb2 import Hello
from weft.pb.server.v1.server_pb2 import ReportAgentsRequest

from .limits import AGENTS_PER_S, LEADER_GRACE_S, STALE_S


@dataclass(slots=True)
class _Source:
    """A server that reports."""

    run_id: bytes
    sequence: int
    at: float
    nodes: dict[str, Hello] = field(default_factory=dict)


class Judge:
    """`began` is when this server began to lead; it judges nobody for `grace_s`, and longer by `expect`."""

    def __init__(self, began: float, grace_s: float = LEADER_GRACE_S) -> None:
        self._least_ends = self._grace_ends = began + grace_s
        self._sources: dict[str, _Source] = {}
        self._unheard: dict[str, float] = {}  # since when no server hears it
        self._fresh: set[str] = set()

    def take(self, report: ReportAgentsRequest, now: float) -> bool:
        """Takes a report in. False where one before it is missing: the next one must be whole."""
        source = self._sources.get(report.server_id)
        if report.whole:
            before = source.nodes if source else {}
            source = self._sources[report.server_id] = _Source(report.run_id, report.sequence, now)
            self._hear(source, report)
            self._release(before.keys() - source.nodes.keys(), now)
        elif source is None or (source.run_id, source.sequence + 1) != (report.run_id, report.sequence):
            return False
        else:
            source.sequence, source.at = report.sequence, now
            self._hear(source, report)
        for it in report.ended:
            if source.nodes.pop(it.node, None) is not None:
                self._release((it.node,), now - it.silent_ms / 1000)
        return True

    def _hear(self, source: _Source, report: ReportAgentsRequest) -> None:
        for it in report.heard:
            source.nodes[it.node] = it.told
            self._fresh.add(it.node)
            self._unheard.pop(it.node, None)

    def _release(self, nodes: Iterable[str], since: float) -> None:
        for node in nodes:
            if self.told(node) is None:
                self._unheard[node] = since

    def is_new(self, now: float) -> bool:
        """Whether servers and agents may still be on their way to this leader."""
        return now < self._least_ends

    def expect(self, unheard: int, now: float) -> None:
        """So many agents were not heard yet: at first those of the lost leader, who all move at once."""
        if self.is_new(now):
            self._grace_ends = self._least_ends + unheard / AGENTS_PER_S

    def forget_stale(self, now: float) -> list[str]:
        """Ids of servers whose word does not count any more. Their agents have the time that so many need to
        go elsewhere."""
        gone = [server_id for server_id, it in self._sources.items() if now - it.at > STALE_S]
        for server_id in gone:
            nodes = self._sources.pop(server_id).nodes
            self._release(nodes, now + len(nodes) / AGENTS_PER_S)
        return gone

    def told(self, node: str) -> Hello | None:
        """What a server has from the agent itself; None where no server hears it."""
        for source in self._sources.values():
            if (found := source.nodes.get(node)) is not None:
                return found
        return None

    def unheard_s(self, node: str, now: float) -> float:
        """Since when no server hears it; 0 while one does. Time that this leader has to give counts not."""
        if self.told(node) is not None:
            return 0.0
        since = self._unheard.setdefault(node, now)
        return max(1e-9, now - max(since, self._grace_ends))

    def keep_only(self, members: set[str]) -> None:
        """Forgets how long others are not heard: they are members no more."""
        self._unheard = {node: since for node, since in self._unheard.items() if node in members}

    def fresh(self) -> set[str]:
        """Agents that were reported since the last call."""
        found, self._fresh = self._fresh, set()
        return found

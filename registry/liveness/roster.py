"""Sans-IO. The leases that one server holds, and what it reports of them to the leader.

An agent holds one lease: where it comes a second time, the first has ended. Reports carry what has changed
since the last one; a report that vouches for nobody new still vouches for all whom it does not name.
"""

from dataclasses import dataclass, field

from weft.pb.agent.v1.agent_pb2 import Hello
from weft.pb.server.v1.server_pb2 import EndedAgent, HeardAgent, ReportAgentsRequest

from .limits import (
    ENTRY_BYTES,
    KEEPALIVE_S_MAX,
    KEEPALIVE_S_MIN,
    KEEPALIVES_PER_S_MAX,
    MISSED_MAX,
    REPORT_BYTES_MAX,
)


@dataclass(slots=True)
class Lease:
    """Of one agent, on one stream."""

    node: str
    told: Hello
    heard_at: float


@dataclass(slots=True)
class Roster:
    """`run_id` is of this life of the server: what it reported in an earlier one is void."""

    server_id: str
    run_id: bytes
    _leases: dict[str, Lease] = field(default_factory=dict)
    _heard: dict[str, Lease] = field(default_factory=dict)  # since the last report
    _ended: dict[str, float] = field(default_factory=dict)  # when each was last heard
    _sequence: int = 0
    _whole: bool = True

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def keepalive_s(self) -> float:
        """How often agents are to speak, now that there are so many."""
        return min(KEEPALIVE_S_MAX, max(KEEPALIVE_S_MIN, len(self._leases) / KEEPALIVES_PER_S_MAX))

    @property
    def patience_s(self) -> float:
        """After how much silence a lease has ended."""
        return self.keepalive_s * MISSED_MAX + KEEPALIVE_S_MIN

    def begin(self, node: str, told: Hello, now: float) -> Lease:
        """A lease for an agent that has come; an older one of its node is over."""
        lease = self._leases[node] = self._heard[node] = Lease(node, told, now)
        self._ended.pop(node, None)
        return lease

    def renew(self, lease: Lease, now: float) -> bool:
        """Whether the lease goes on: False where the agent has come anew."""
        if self._leases.get(lease.node) is not lease:
            return False
        lease.heard_at = now
        return True

    def end(self, lease: Lease) -> None:
        """The stream is over."""
        if self._leases.get(lease.node) is lease:
            del self._leases[lease.node]
            self._heard.pop(lease.node, None)
            self._ended[lease.node] = lease.heard_at

    def report_whole(self) -> None:
        """The next report says everything: the last one was lost, or another server leads."""
        self._whole = True

    def report(self, now: float) -> ReportAgentsRequest:
        """What is to be told now; it counts as told."""
        self._sequence += 1
        if self._whole:
            self._heard = dict(self._leases)
        some = self._taken()
        made = ReportAgentsRequest(
            server_id=self.server_id,
            run_id=self.run_id,
            sequence=self._sequence,
            whole=self._whole,
            heard=[HeardAgent(node=lease.node, told=lease.told) for lease in some],
            ended=[EndedAgent(node=node, silent_ms=_ms(now - at)) for node, at in self._ended.items()],
        )
        self._ended, self._whole = {}, False
        return made

    @property
    def has_more(self) -> bool:
        """Whether the last report was full, and another has to follow at once."""
        return bool(self._heard)

    def _taken(self) -> list[Lease]:
        """As many as fit one message, and one at least."""
        some: list[Lease] = []
        left = REPORT_BYTES_MAX
        while self._heard and left > 0:
            node = next(iter(self._heard))
            some.append(self._heard.pop(node))
            left -= some[-1].told.ByteSize() + ENTRY_BYTES
        return some


def _ms(seconds: float) -> int:
    return max(0, min(round(seconds * 1000), 2**32 - 1))

"""What a server is in any role: its term, vote, log, timers and outgoing post (figure 2, "State")."""

from typing import TYPE_CHECKING, Protocol

from weft.errors import invariant

from .limits import Limits
from .log import Log
from .messages import InstallSnapshot, Message, SnapshotMeta
from .ready import Read, Role
from .storage import Storage

if TYPE_CHECKING:
    from .leader import Leader


class Chance(Protocol):
    """What the core needs of a `random.Random`."""

    def randrange(self, stop: int, /) -> int:
        """A number in 0 <= n < stop."""


class Server:
    """Changed by `election`, `follower` and `leader`; `node` drives them and hands out the results."""

    def __init__(
        self,
        id_: str,
        storage: Storage,
        chance: Chance,
        election_ticks: int,
        heartbeat_ticks: int,
        limits: Limits,
    ) -> None:
        hard = storage.hard_state()
        self.id = id_
        self.storage = storage
        self.limits = limits
        self.election_ticks = election_ticks
        self.heartbeat_ticks = heartbeat_ticks
        self._chance = chance
        self.log = Log(storage, hard.commit)
        self.term = hard.term
        self.vote = hard.vote
        self.role = Role.FOLLOWER
        self.leader = ""
        self.leading: Leader | None = None
        self.votes: dict[str, bool] = {}
        self.now = 0
        # Before a restart it may have answered a heartbeat, and a lease may rest on that (thesis 6.4.1).
        self.heard_at = 0 if hard.term else -election_ticks
        self.deadline = 0
        self.reset_timer()
        self.outbox: list[Message] = []
        self.chunks: list[InstallSnapshot] = []
        self.receiving: Receiving | None = None
        self.reads: list[Read] = []
        self.reads_lost: list[int] = []
        if self.log.voters == {id_} and self.log.config_index <= self.log.commit:
            self.deadline = 1  # nobody else can be leading

    @property
    def may_campaign(self) -> bool:
        return self.log.may_campaign(self.id)

    def others(self) -> list[str]:
        """The voters to ask, in the same order everywhere."""
        return sorted(self.log.voters - {self.id})

    def reset_timer(self) -> None:
        """Timeouts differ, so that votes seldom split (§5.2)."""
        self.deadline = self.now + self.election_ticks + self._chance.randrange(self.election_ticks)

    def has_live_leader(self) -> bool:
        """A leader was heard within the shortest timeout: no vote for others (thesis 4.2.3 and 9.6), which is
        also what a lease rests on (6.4.1). A leader counts itself: it steps down when it lacks a majority."""
        return self.role is Role.LEADER or self.now - self.heard_at < self.election_ticks

    def follow(self, term: int, leader: str) -> None:
        """Becomes a follower in `term`, at least the current one (§5.1)."""
        if term > self.term:
            self.term, self.vote = term, ""
        if self.leading:
            self.reads_lost += self.leading.rounds.lost()
            self.leading = None
            self.reset_timer()
        self.role = Role.FOLLOWER
        self.leader = leader
        self.votes = {}

    def hear(self, leader: str) -> None:
        """A message of the current term's leader: restart the election timer (§5.2)."""
        invariant(self.leading is None, f"two leaders in term {self.term}: {self.id} and {leader}")
        if self.role is not Role.FOLLOWER or self.leader != leader:
            self.follow(self.term, leader)
        self.heard_at = self.now
        self.reset_timer()


class Receiving:
    """A snapshot that arrives in chunks. Another sender's bytes might differ, so it is part of the name."""

    __slots__ = ("from_", "meta", "offset")

    def __init__(self, from_: str, meta: SnapshotMeta) -> None:
        self.from_ = from_
        self.meta = meta
        self.offset = 0

"""A cluster of consensus cores in one place: its messages wait until a test delivers them."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from registry.raft.config import Config
from registry.raft.limits import LIMITS, Limits
from registry.raft.memory import MemoryStorage
from registry.raft.messages import (
    Entry,
    EntryKind,
    HardState,
    Message,
    PreVote,
    PreVoteReply,
    SnapshotMeta,
    Vote,
    VoteReply,
)
from registry.raft.node import Node
from registry.raft.ready import Read, Ready, Role
from registry.raft.server import Server

ROUNDS_MAX = 1000
NOTHING = Ready(
    number=0,
    messages_first=(),
    hard_state=None,
    chunks=(),
    install=None,
    entries=(),
    must_sync=False,
    messages=(),
    committed=(),
    reads=(),
    reads_lost=(),
    config=None,
    soft=None,
)


def filled(
    terms: Iterable[int], *, voters: Iterable[str] = "abc", term: int = 0, vote: str = ""
) -> MemoryStorage:
    """A disk with a log of entries of these terms; each entry's data is "index/term"."""
    storage = MemoryStorage(SnapshotMeta(config=Config.of(voters)))
    entries = tuple(
        Entry(of, index, EntryKind.NORMAL, f"{index}/{of}".encode()) for index, of in enumerate(terms, 1)
    )
    last = entries[-1].term if entries else 0
    storage.write(replace(NOTHING, entries=entries, hard_state=HardState(max(term, last), vote)))
    return storage


class Lone:
    """One node; the test plays all the others."""

    def __init__(
        self, storage: MemoryStorage, name: str = "a", chance: int = 0, limits: Limits = LIMITS
    ) -> None:
        self.member = Member(name, storage, chance, limits)
        self.node = self.member.node

    @property
    def server(self) -> Server:
        return self.node._server

    def sent(self, *kinds: type[Message]) -> list[Message]:
        """Carries out all plans; the messages (of these kinds) that left."""
        found: list[Message] = []
        while ready := self.node.ready():
            found += self.member.carry_out(ready)
        return [message for message in found if not kinds or isinstance(message, kinds)]

    def step(self, *messages: Message) -> list[Message]:
        """Steps them and carries out all plans; what left."""
        for message in messages:
            self.node.step(message)
        return self.sent()

    def forget_leader(self) -> None:
        """As if an election timeout had passed since a leader was heard, for votes only."""
        self.server.heard_at = self.server.now - self.server.election_ticks

    def lead(self) -> None:
        """Wins an election with the votes of all others."""
        self.node.campaign()
        for reply, grant in ((PreVote, PreVoteReply), (Vote, VoteReply)):
            asked = self.sent(reply)
            for message in asked:
                self.node.step(grant(message.to, self.node.id, message.term, True))
        assert self.node.role is Role.LEADER


class Fixed:
    """Chance that always draws the same: timeouts of E + n ticks."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def randrange(self, stop: int, /) -> int:
        return min(self.number, stop - 1)


class Member:
    """A node, its storage, and what came out of it."""

    def __init__(
        self, name: str, storage: MemoryStorage, chance: int | random.Random, limits: Limits
    ) -> None:
        self.name = name
        self.storage = storage
        self._chance = Fixed(chance) if isinstance(chance, int) else chance
        self._limits = limits
        self.applied: list[Entry] = []
        self.reads: list[Read] = []
        self.lost: list[int] = []
        self.start()

    def start(self) -> None:
        self.applied = [entry for entry in self.applied if entry.index <= self.storage.snapshot().index]
        self.node = Node(self.name, self.storage, chance=self._chance, limits=self._limits)

    def restart(self) -> None:
        self.storage = self.storage.restarted()
        self.start()

    def carry_out(self, ready: Ready) -> list[Message]:
        """All steps of a plan; returns the messages in the order in which they left."""
        self.storage.write(ready)
        if ready.install:
            self.applied = []
        self.applied += ready.committed
        self.reads += ready.reads
        self.lost += ready.reads_lost
        self.node.advance(ready)
        return [*ready.messages_first, *ready.messages]

    @property
    def data(self) -> list[bytes]:
        """The commands applied so far (since the last snapshot that was installed)."""
        return [entry.data for entry in self.applied if entry.kind is EntryKind.NORMAL]

    def log(self) -> list[tuple[int, int]]:
        """(index, term) of each entry on disk."""
        found = self.storage.entries(self.storage.first_index(), self.storage.last_index() + 1, 1 << 40)
        return [(entry.index, entry.term) for entry in found]


class Cluster:
    """Members by name. `drop` says which messages get lost."""

    def __init__(
        self,
        voters: Iterable[str] = "abc",
        learners: Iterable[str] = "",
        *,
        limits: Limits = LIMITS,
        config: Config | None = None,
    ) -> None:
        self.limits = limits
        self.config = config or Config.of(voters, learners)
        self.members: dict[str, Member] = {}
        self.post: list[Message] = []
        self.drop: Callable[[Message], bool] = lambda _: False
        for member in self.config.members:
            self.add(member.id, MemoryStorage(SnapshotMeta(config=self.config)))

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def add(self, name: str, storage: MemoryStorage | None = None) -> Member:
        """A server; without a storage one that waits to be added. Names make timeouts differ."""
        member = Member(name, storage or MemoryStorage(), len(self.members) % 10, self.limits)
        self.members[name] = member
        return member

    def collect(self) -> bool:
        """Carries out every plan; whether there was any."""
        any_ = False
        for member in self.members.values():
            while ready := member.node.ready():
                any_ = True
                self.post += member.carry_out(ready)
        return any_

    def deliver(self) -> None:
        post, self.post = self.post, []
        for message in post:
            if message.to in self.members and not self.drop(message):
                self[message.to].node.step(message)

    def settle(self) -> None:
        """Until nobody has anything to say."""
        for _ in range(ROUNDS_MAX):
            if not self.collect() and not self.post and not self.tell_commits():
                return
            self.deliver()
        raise AssertionError("the cluster does not come to rest")

    def tell_commits(self) -> bool:
        """As a driver does when no entries have come that carry the commit index; whether there was need."""
        untold = [member for member in self.members.values() if member.node.commit_untold]
        for member in untold:
            member.node.tell_commit()
        return bool(untold)

    def tick(self, count: int = 1, *names: str) -> None:
        """Time passes for all, or for those that are named; messages are delivered after each tick."""
        for _ in range(count):
            for name in names or tuple(self.members):
                self[name].node.tick()
            self.settle()

    def elect(self, name: str) -> Member:
        self.quiet()
        self[name].node.campaign()
        self.settle()
        assert self[name].node.role is Role.LEADER
        return self[name]

    def quiet(self) -> None:
        """Long enough that nobody remembers a leader, without anyone starting an election."""
        for member in self.members.values():
            server = member.node._server
            server.heard_at = min(server.heard_at, server.now - server.election_ticks)

    def cut_off(self, *names: str) -> None:
        """These and the others do not hear each other."""
        apart = set(names)
        self.drop = lambda message: (message.from_ in apart) != (message.to in apart)

    def heal(self) -> None:
        self.drop = lambda _: False

    def leaders(self) -> list[str]:
        return [name for name, member in self.members.items() if member.node.role is Role.LEADER]

    def write(self, *data: bytes) -> None:
        (leader,) = self.leaders()
        self.write_at(leader, *data)

    def write_at(self, leader: str, *data: bytes) -> None:
        self[leader].node.propose(data)
        self.settle()

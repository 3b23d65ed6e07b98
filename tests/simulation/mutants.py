"""Planted bugs: each breaks one rule of consensus in the core, or in the simulated driver, for one run.

A simulator that lets one of them live is not trusted. Nothing here is ever in product code; a mutant whose
target is renamed fails at once, as `mock.patch.object` demands that what it replaces exists.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from registry.raft import follower, node
from registry.raft.config import Change
from registry.raft.leader import Leader
from registry.raft.log import Log
from registry.raft.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    SnapshotMeta,
    Vote,
    VoteReply,
)
from registry.raft.ready import Ready, Role
from registry.raft.server import Server as Core

from .disk import Disk
from .machines import KvMachine
from .server import OUTGOING, Server
from .storage import DiskLog

Patch = AbstractContextManager[Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    breaks: str
    """The rule that it breaks."""
    plant: Callable[[], Patch]
    theme: str
    """Of the seeds that are likeliest to meet it; "" for any."""


MUTANTS: dict[str, Mutant] = {}


def mutant(breaks: str, theme: str = "") -> Callable[[Callable[[], Patch]], Callable[[], Patch]]:
    def add(plant: Callable[[], Patch]) -> Callable[[], Patch]:
        MUTANTS[plant.__name__] = Mutant(breaks, plant, theme)
        return plant

    return add


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug of that name is in force inside; "" plants none."""
    with ExitStack() as stack:
        if name:
            stack.enter_context(MUTANTS[name].plant())
        yield


def unmasked() -> ExitStack:
    """Without the rule that a server which may have heard a leader grants no vote (thesis 4.2.3), and
    without the lease reads that need it.

    That rule hides most bugs around votes: a server that comes back votes for nobody until the election
    that it disturbed is long over. Raft is correct without it, as the control shows.
    """
    stack = ExitStack()
    stack.enter_context(mock.patch.object(Core, "has_live_leader", lambda self: self.role is Role.LEADER))
    stack.enter_context(mock.patch.object(Leader, "lease_read", lambda self, now_tick: None))
    return stack


def unmasked_with(patch: Patch) -> Patch:
    stack = unmasked()
    stack.enter_context(patch)
    return stack


CONTROL = "control"
"""No bug at all, only what `unmasked` takes away: it has to survive."""


@mutant("nothing", "elections")
def control() -> Patch:
    return unmasked()


# The twelve of the list that the simulator is measured by


@mutant("term and vote are on disk before a message depends on them (§5.1)", "elections")
def forgets_the_vote() -> Patch:
    write = DiskLog.write

    def without_vote(self: DiskLog, hard_state: HardState | None, entries: tuple[Entry, ...]) -> None:
        write(self, hard_state and replace(hard_state, vote=""), entries)

    return unmasked_with(mock.patch.object(DiskLog, "write", without_vote))


@mutant("only entries of the current term are committed by counting (§5.4.2, figure 8)", "elections")
def commits_an_old_term_by_counting() -> Patch:
    advance_commit = Leader.advance_commit

    def any_term(self: Leader) -> None:
        own, self._first_own = self._first_own, 0
        try:
            advance_commit(self)
        finally:
            self._first_own = own

    return unmasked_with(mock.patch.object(Leader, "advance_commit", any_term))


@mutant("a new leader appends an entry of its own (§8)")
def leads_without_a_noop() -> Patch:
    append = Leader._append

    def no_noop(self: Leader, kind: EntryKind, data: Any) -> range:
        return append(self, kind, () if kind is EntryKind.NOOP else data)

    return mock.patch.object(Leader, "_append", no_noop)


@mutant("a vote goes to logs that are up to date only (§5.4.1)")
def votes_for_any_log() -> Patch:
    return mock.patch.object(Log, "is_up_to_date", lambda self, last_index, last_term: True)


@mutant("a follower truncates at a conflict of terms only (figure 2, AppendEntries 3)")
def truncates_blindly() -> Patch:
    return mock.patch.object(Log, "first_conflict", lambda self, entries: 0)


@mutant("a follower acknowledges entries that are synced (figure 2)", "elections")
def acknowledges_before_the_sync() -> Patch:
    sync_us = Server._sync_us

    def eager(self: Server) -> int:
        for ready in self._readies:
            self._send(tuple(it for it in ready.messages if isinstance(it, AppendReply)))
        return sync_us(self)

    return unmasked_with(mock.patch.object(Server, "_sync_us", eager))


@mutant("a follower commits what this message verified, at most (figure 2, AppendEntries 5)")
def commits_without_the_minimum() -> Patch:
    def careless(server: Core, asked: Append) -> None:
        follower.on_append(server, asked)
        server.log.commit_to(min(asked.commit, server.log.last_index))

    return mock.patch.dict(node._HANDLERS, {Append: careless})


@mutant("what is said to be committed counts for who has that very entry (§5.3, log matching)")
def believes_any_commit_index() -> Patch:
    def careless(self: Log, index: int, term: int) -> None:
        self.commit = max(self.commit, min(index, self.last_index))

    return mock.patch.object(Log, "learn_commit", careless)


@mutant("a lease ends while no follower can have given up on the leader (thesis 6.4.1)", "reads")
def reads_by_a_lease_without_end() -> Patch:
    def always(self: Leader, now_tick: int) -> int | None:
        return self._log.commit if self.has_own_commit else None

    return mock.patch.object(Leader, "lease_read", always)


@mutant("votes are on disk before they are sent (§5.1)", "elections")
def sends_before_the_hard_state() -> Patch:
    take = Server._take

    def eager(self: Server, ready: Ready) -> None:
        take(self, ready)
        self._send(tuple(it for it in ready.messages if isinstance(it, Vote | VoteReply)))

    return unmasked_with(mock.patch.object(Server, "_take", eager))


@mutant("a snapshot is durable before the log behind it is dropped (rule 8)")
def snapshot_drops_the_log_first() -> Patch:
    def careless(self: Server, meta: SnapshotMeta, data: bytes) -> Iterator[int]:
        self.log.begin_snapshot(OUTGOING)
        self.log.append_part(OUTGOING, data)
        self.disk.append(OUTGOING, meta)
        self.log.name_snapshot(OUTGOING, meta)
        self.log.adopt(meta)
        yield from self._trim()
        yield self._snapshot_step_us()
        self.disk.sync(f"snap-{meta.index:08}")
        self.log.sync_names()
        self._snapshotting = False

    return mock.patch.object(Server, "_make_snapshot", careless)


@mutant("a retried write is done once (rule 13)")
def applies_a_retry_again() -> Patch:
    def again(self: KvMachine, client: str, number: int) -> bool:
        return False

    return mock.patch.object(KvMachine, "_is_done", again)


@mutant("one membership change at a time (thesis 4.1)", "members")
def changes_members_hastily() -> Patch:
    def hasty(self: Leader, change: Change) -> int:
        config = self._log.config.after(change)
        index = self._append(EntryKind.CONFIG, (config.encode(),))[0]
        self._members_changed()
        self.advance_commit()
        return index

    return mock.patch.object(Leader, "propose_config", hasty)


# And more


@mutant("one vote per term (§5.2)")
def votes_twice() -> Patch:
    on_vote = node._HANDLERS[Vote]

    def generous(server: Core, asked: Vote) -> None:
        server.vote = ""
        on_vote(server, asked)

    return mock.patch.dict(node._HANDLERS, {Vote: generous})


@mutant("a read is confirmed by a majority (thesis 6.4)", "reads")
def confirms_reads_alone() -> Patch:
    return mock.patch.object(Leader, "_confirmed_round", lambda self: self.rounds.current)


@mutant("a leader reads once an entry of its own term is committed (§8)")
def reads_before_its_own_commit() -> Patch:
    return mock.patch.object(Leader, "has_own_commit", True)


@mutant("the ticks of a pause count (thesis 6.4.1)", "reads")
def sleeps_through_its_lease() -> Patch:
    def one_at_most(self: Server) -> None:
        if due := self._ticks_due():
            self._ticks_from_us += (due - 1) * self._cluster.options.tick_us
            self.current.tick(1)

    return mock.patch.object(Server, "_deliver_ticks", one_at_most)


@mutant("fsync is called")
def never_syncs() -> Patch:
    return mock.patch.object(DiskLog, "sync", lambda self: None)


@mutant("a server whose disk was emptied gets a new id (traps 19)", "members")
def returns_with_an_empty_disk() -> Patch:
    start = Server.start

    def again(self: Server) -> None:
        start(self)
        if self.damaged:
            self.disk, self.damaged = Disk(), False
            start(self)

    return mock.patch.object(Server, "start", again)

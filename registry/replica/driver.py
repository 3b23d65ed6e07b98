"""The one loop that carries out what the core plans, in the order that `raft.ready` states.

Plans are taken as soon as something happened: messages that depend on nothing leave at once, so a leader's
Appends travel while its own disk syncs. What is to be written queues up meanwhile and goes to the disk in
one frame with one sync; then what depends on it leaves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import structlog

from weft.pb.catalog.v1.command_pb2 import Command

from ..catalog.feature_level import refuse_too_new
from ..errors import DiskFull, NotReady, OutcomeUnknown
from ..raft.config import Config
from ..raft.messages import Entry, HardState, Message, SnapshotMeta
from ..raft.node import Node
from ..raft.ready import Ready, Soft
from ..raft.server import Chance
from . import limits
from .disk_thread import Runner
from .entries import Entries
from .errors import PeerRefused
from .machine import Machine
from .proposals import Proposals
from .reads import Reads
from .receiver import Receiver, decoded
from .records import ENTRY_HEAD_BYTES, Position
from .turn import Turn
from .wal import Wal, translated

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Outside(Protocol):
    """What the loop tells to others."""

    def send(self, message: Message) -> None:
        """Never blocks; may lose the message."""

    def changed(self, soft: Soft) -> None:
        """Role, term or leader."""

    def reconfigured(self, config: Config) -> None:
        """Another membership is in force."""

    def written(self, size_bytes: int) -> None:
        """The log grew."""

    def installing(self) -> None:
        """A leader's snapshot is about to replace the log: no snapshot of one's own is of use."""

    def failed_with(self, error: BaseException) -> None:
        """The loop has ended: the process must end."""


class Driver:
    """Owns the core and the disk. `run` is its writing half; everything else is called from the loop."""

    def __init__(
        self,
        server_id: str,
        wal: Wal,
        entries: Entries,
        machine: Machine,
        proposals: Proposals,
        outside: Outside,
        disk: Runner,
        turn: Turn,
        chance: Chance,
        election_ticks: int,
    ) -> None:
        self._server_id = server_id
        self._wal = wal
        self.entries = entries
        self._machine = machine
        self._proposals = proposals
        self._outside = outside
        self._disk = disk
        self._turn = turn
        turn.take_plans = self._take_plans
        self._chance = chance
        self._election_ticks = election_ticks
        self.reads = Reads()
        self._receiver = Receiver(wal.disk)
        self._writes: deque[Ready] = deque()
        self._writing = False
        self._alone: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._installs = 0
        self._loop = asyncio.get_running_loop()
        self._tell_alarm: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()  # for what `run` has to do
        self._trouble: DiskFull | None = None
        self._paused = False
        self._closed = False
        self.full: DiskFull | None = None
        self.node = self._core()

    def _core(self) -> Node:
        return Node(self._server_id, self.entries, chance=self._chance, election_ticks=self._election_ticks)

    # Input

    def tick(self, count: int) -> None:
        self._put_in(self.node.tick, count)

    def step(self, message: Message) -> None:
        """A message of an authenticated peer. A server with a full disk is as good as away."""
        self._put_in(self.node.step, message)

    def _put_in(self, take: Callable[[T], None], what: T) -> None:
        if self._paused or self.full or self._closed:
            return
        try:
            take(what)
        except Exception as error:  # the core found what cannot be: going on could make it worse
            self._fail(error)
        self.poke()

    def learn_commit(self, index: int, term: int) -> None:
        """The leader answered that it has applied the entry: no need to wait for its next message."""
        self._put_in(lambda at: self.node.learn_commit(*at), (index, term))

    def poke(self) -> None:
        """Something went into the core: its plan is looked at when this turn of the event loop ends."""
        if not self._closed:
            self._turn.plan()

    def check_open(self) -> None:
        """Raises DiskFull while the disk is known to be full."""
        if self.full:
            raise self.full

    def check_level(self, command: Command) -> None:
        """Raises InvalidCommand while a member could not apply the command (trap 21)."""
        members = self.node.config.members
        refuse_too_new(self._machine.state, (member.id for member in members), command)

    # Plans

    def _take_plans(self) -> None:
        try:
            while not self._paused and not self._closed and (ready := self.node.ready()):
                self._begin(ready)
            self._write_more()
            self._turn.flush()  # Appends travel while entries are applied
            if self._tell_alarm is None and self.node.commit_untold:
                self._tell_alarm = self._loop.call_later(limits.COMMIT_DELAY_S, self._tell_commit)
            self._machine.go()
        except Exception as error:
            self._fail(error)

    def _tell_commit(self) -> None:
        """No entries came that would have carried the commit index."""
        self._tell_alarm = None
        if not self._closed:
            self.node.tell_commit()
            self.poke()

    def _begin(self, ready: Ready) -> None:
        for message in ready.messages_first:
            self._outside.send(message)
        if ready.install:
            self._installs += 1
        elif not self._installs:
            self._machine.put(ready.committed)
        self._tell(ready)
        if self._writes or self._writing or self._trouble or _writes(ready):
            self._writes.append(ready)
        else:
            self._finish([ready])

    def _tell(self, ready: Ready) -> None:
        if ready.config is not None:
            self._outside.reconfigured(ready.config)
        if ready.soft is not None:
            if ready.soft.leader != self._server_id:
                self._proposals.fail(OutcomeUnknown("this server lost its leadership; the write may hold"))
            self._outside.changed(ready.soft)
        self.reads.confirm(ready.reads)
        self.reads.lose(ready.reads_lost)

    def _finish(self, batch: Iterable[Ready]) -> None:
        """What these plans asked to write is on disk."""
        for ready in batch:
            self.node.advance(ready)
            if self._installs:
                self._installs -= ready.install is not None
                self._machine.put(ready.committed)
            for message in ready.messages:
                self._outside.send(message)
        self.poke()

    # The writing half

    def _write_more(self) -> None:
        """Begins the next write, unless one is under way. What is no plain append is left to `run`."""
        if self._writing or self._closed or self._trouble:
            return
        if self._alone:
            self._begin_alone(*self._alone.popleft())
            return
        if not self._writes:
            return
        if _of_snapshot(self._writes[0]):
            self._wake.set()
            return
        batch = self._take_writes()
        entries, hard_state = _merged(batch)
        if not entries and not hard_state:
            self._finish(batch)
            return
        self._writing = True
        parts = list(_frames(entries))

        def written(found: int | BaseException | None) -> None:
            if found is None:
                append()
            else:
                self._turn.run(lambda: self._written(batch, parts, hard_state, found))

        def append() -> None:
            self._disk.submit(lambda: self._append(parts, hard_state), written)

        if len(parts) > 1 or not self._wal.begin(parts[0], hard_state, written):
            append()

    async def run_alone(self, work: Callable[[], T]) -> T:
        """Does something with the log's files while nothing is written to them; raises what `work` raises."""
        outcome: asyncio.Future[T] = self._loop.create_future()
        self._alone.append((work, outcome))
        self._write_more()
        return await outcome

    def _begin_alone(self, work: Callable[[], Any], outcome: "asyncio.Future[Any]") -> None:
        self._writing = True

        def done(found: Any) -> None:
            self._writing = False
            self._wake.set()
            if not outcome.done():
                if isinstance(found, BaseException):
                    outcome.set_exception(found)
                else:
                    outcome.set_result(found)
            self._turn.run(self._write_more)

        self._disk.submit(work, done)

    def _append(self, parts: list[list[Entry]], hard_state: HardState | None) -> int:
        """On the log's thread."""
        size = 0
        for part in parts:
            size += self._wal.append(part, hard_state)
            hard_state = None
        return size

    def _written(
        self,
        batch: list[Ready],
        parts: list[list[Entry]],
        hard_state: HardState | None,
        found: int | BaseException,
    ) -> None:
        self._writing = False
        if self._closed:
            self._wake.set()
        elif isinstance(found, DiskFull):
            self._trouble = found
            self._wake.set()
        elif isinstance(found, BaseException):
            self._fail(found)  # what is on disk is unknown: stop, as a crash would
        else:
            for part in parts:
                self.entries.note(part, hard_state)
            self._outside.written(found)
            self._finish(batch)

    async def run(self) -> None:
        """Does what takes longer than an append, until `close` or a failure."""
        try:
            while not self._closed:
                await self._wake.wait()
                self._wake.clear()
                await self._care()
            while self._writing:
                self._wake.clear()
                await self._wake.wait()
        except Exception as error:  # what is on disk is unknown: stop, as a crash would
            self._fail(error)

    async def _care(self) -> None:
        while self._may_take_in() and self._writes and _of_snapshot(self._writes[0]):
            await self._take_in(self._writes.popleft())
        if trouble := self._trouble:
            self._writing = True
            try:
                await self._outwait(trouble)
            finally:
                self._trouble, self._writing = None, False
        self.poke()

    def _may_take_in(self) -> bool:
        return not (self._closed or self._writing or self._trouble)

    async def _take_in(self, ready: Ready) -> None:
        """Pieces of a snapshot, and what comes with them."""
        self._writing = True
        try:
            await self._receive(ready)
            entries, hard_state = _merged([ready])
            parts = list(_frames(entries))
            if entries or hard_state:
                size = await self._disk.run(lambda: self._append(parts, hard_state))
                for part in parts:
                    self.entries.note(part, hard_state)
                self._outside.written(size)
            if not self._closed:
                self._turn.run(lambda: self._finish([ready]))
        except DiskFull as error:
            self._trouble = error
        except PeerRefused as error:
            log.error("snapshot refused", reason=str(error))
            await self._fall_silent(OutcomeUnknown("this server had to begin again; the write may hold"))
        finally:
            self._writing = False

    def _take_writes(self) -> list[Ready]:
        """Plans that share a sync; one with pieces of a snapshot is alone."""
        batch = [self._writes.popleft()]
        size = _size(batch[0])
        while self._writes and not _of_snapshot(batch[0]) and not _of_snapshot(self._writes[0]):
            size += _size(self._writes[0])
            if size > limits.BATCH_BYTES_MAX:
                break
            batch.append(self._writes.popleft())
        return batch

    async def _receive(self, ready: Ready) -> None:
        """Pieces of a leader's snapshot, and what they make when they are whole."""
        meta = ready.install
        if meta:
            self._outside.installing()
        records = await self._disk.run(lambda: self._write_chunks(ready))
        if meta:
            state = await decoded(records, meta)
            await self._disk.run(lambda: self._keep(meta))
            self.entries.replace(meta)
            self._machine.replace(state, meta.term)
            log.info("snapshot installed", index=meta.index)

    def _write_chunks(self, ready: Ready) -> list[bytes]:
        """On the log's thread. The records, once they are whole."""
        try:
            for chunk in ready.chunks:
                self._receiver.write(chunk)
            return self._receiver.records(ready.install) if ready.install else []
        except OSError as error:
            self._receiver.abort()
            raise translated(error) from None

    def _keep(self, meta: SnapshotMeta) -> None:
        """On the log's thread. The order is that of `wal`: whole, named, and only then the old log goes."""
        try:
            self._receiver.keep(meta)
        except OSError as error:
            self._receiver.abort()
            raise translated(error) from None
        self._wal.restart_after(Position(meta.index, meta.term))
        self._wal.drop_before(meta.index)

    # When the disk gives up

    async def _outwait(self, error: DiskFull) -> None:
        """Stays silent until the disk takes something again (trap 20)."""
        log.error("the disk is full: writes are refused", reason=str(error))
        self.full = error
        # What only this server could have is certainly not held; of the rest nobody knows.
        reason = error if self.is_sole_voter else OutcomeUnknown("the disk became full; the write may hold")
        while self.full and not self._closed:
            await self._fall_silent(reason)
            try:
                await self._disk.run(lambda: self._wal.resume(self.entries.hard_state()))
                self.full = None
            except DiskFull:
                continue
        log.info("the disk takes writes again")
        if self.is_sole_voter:
            self.node.campaign()
            self.poke()

    async def _fall_silent(self, reason: Exception) -> None:
        """Forgets what is not on disk, as a crash would, and is as good as away for a while."""
        self._paused = True
        self.reset(reason)
        await asyncio.sleep(limits.DISK_FULL_PAUSE_S)
        self._paused = False
        self.poke()

    def reset(self, reason: Exception) -> None:
        """Begins again from what is on disk. Open proposals get `reason`."""
        self._writes.clear()
        self._installs = 0
        self._proposals.fail(reason)
        self.reads.fail(NotReady("this server had to begin again; retry"))
        self.node = self._core()
        self._outside.changed(Soft(self.node.role, self.node.term, self.node.leader))
        self._outside.reconfigured(self.node.config)

    def begin(self, beginning: SnapshotMeta) -> None:
        """The beginning of a cluster is on disk."""
        self.entries.replace(beginning)
        self.reset(NotReady("the cluster begins; retry"))

    @property
    def is_sole_voter(self) -> bool:
        return self.node.config.voters == {self._server_id}

    def _fail(self, error: BaseException) -> None:
        self.close()
        self._outside.failed_with(error)

    def close(self) -> None:
        self._closed = True
        self._wake.set()


def _merged(batch: Iterable[Ready]) -> tuple[list[Entry], HardState | None]:
    """What these plans write, as if it were one: later entries replace those of their index and above."""
    entries: list[Entry] = []
    hard_state: HardState | None = None
    for ready in batch:
        if ready.entries and entries:
            del entries[max(0, ready.entries[0].index - entries[0].index) :]
        entries += ready.entries
        hard_state = ready.hard_state or hard_state
    return entries, hard_state


def _writes(ready: Ready) -> bool:
    return bool(ready.entries or ready.hard_state or _of_snapshot(ready))


def _of_snapshot(ready: Ready) -> bool:
    return bool(ready.chunks) or ready.install is not None


def _size(ready: Ready) -> int:
    return sum(len(entry.data) + ENTRY_HEAD_BYTES for entry in ready.entries)


def _frames(entries: list[Entry]) -> Iterable[list[Entry]]:
    """Runs of entries that fit a frame; one empty run when there are none."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.data) + ENTRY_HEAD_BYTES + 8
        if part and size > limits.BATCH_BYTES_MAX - 1024:
            yield part
            part, size = [], len(entry.data)
        part.append(entry)
    yield part

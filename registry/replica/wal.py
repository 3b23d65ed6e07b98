"""The durable log: segments and snapshots in one directory, and what may follow what.

    log-<sequence>       entries and votes, appended and synced batch by batch
    snapshot-<index>     the state at an index; makes the log up to there needless

Order of a snapshot: write tmp, sync, rename, sync the directory, and only then remove what it replaces.
An entry written again replaces those of its index and above, so that nothing is ever cut off but a torn
tail. Blocking: methods run on the log's own thread (`drop_before` and the writers of snapshots on others).
"""

import errno
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from weft.errors import InvariantBroken

from ..errors import DiskFull, LogCorrupt
from ..raft.messages import Entry, HardState, SnapshotMeta
from . import limits
from .disk import Disk, File
from .frames import Damage, Frame, frame, read_frames
from .records import (
    BEGINNING,
    HEAD_BYTES,
    Head,
    Position,
    read_head,
    read_record,
    write_entry,
    write_hard_state,
    write_head,
)
from .snapshots import SnapshotWriter, read_meta, read_snapshot

T = TypeVar("T")

_SEGMENT, _SNAPSHOT, _SCRATCH = "log-", "snapshot-", ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


NO_VOTE = HardState()


def segment_name(sequence: int) -> str:
    return f"{_SEGMENT}{sequence:016x}"


def snapshot_name(index: int) -> str:
    return f"{_SNAPSHOT}{index:016x}"


@dataclass(slots=True)
class Recovered:
    """What the directory holds: the newest snapshot, and the log behind `after`."""

    snapshot: SnapshotMeta | None = None
    rows: tuple[bytes, ...] = ()  # of the snapshot's state
    hard_state: HardState = NO_VOTE
    after: Position = BEGINNING
    entries: list[Entry] = field(default_factory=list)

    @property
    def last(self) -> Position:
        return Position(self.entries[-1].index, self.entries[-1].term) if self.entries else self.after

    def place(self, entry: Entry) -> None:
        """Adds an entry, replacing those of its index and above. Raises ValueError when it cannot follow."""
        at = entry.index - self.after.index - 1
        if entry.index < 1 or at > len(self.entries):
            raise ValueError(f"entry {entry.index} cannot follow entry {self.last.index}")
        if at < 0:  # what is replaced was in older segments, which a snapshot of later made needless
            self.after, at = Position(entry.index - 1), 0
        del self.entries[at:]
        self.entries.append(entry)

    def term(self, index: int) -> int | None:
        if index == self.after.index:
            return self.after.term
        at = index - self.after.index - 1
        return self.entries[at].term if 0 <= at < len(self.entries) else None


@dataclass(slots=True)
class _Open:
    """The segment that grows. `size` is what is known to be whole."""

    file: File
    name: str
    size: int
    reserved: int = 0


class Wal:
    """One writer at a time. After an exception other than DiskFull it must not be used again."""

    def __init__(
        self,
        disk: Disk,
        segment_bytes: int = limits.SEGMENT_BYTES,
        reserve_bytes: int = limits.RESERVE_BYTES,
    ) -> None:
        self.disk = disk
        self._segment_bytes = segment_bytes
        self._reserve_bytes = reserve_bytes
        self._open: _Open | None = None
        self._segments: dict[int, Position] = {}  # sequence -> what it comes after
        self._hard_state = NO_VOTE
        self._last = BEGINNING

    # Recovery

    def recover(self) -> Recovered:
        """Reads everything, cuts a torn tail, and makes ready for `append`. Raises LogCorrupt, OSError.

        Nothing is changed before all has been read and found whole.
        """
        leftovers = [name for name in self.disk.names() if name.endswith(_SCRATCH)]
        found = self._newest_snapshot()
        heads = self._heads(leftovers)
        kept = self._needed(heads, found.snapshot.index if found.snapshot else 0, leftovers)
        whole = HEAD_BYTES
        for head in kept:
            whole = self._read_segment(head, found, is_first=head is kept[0], is_last=head is kept[-1])
        replaced = _join(found)
        for name in leftovers:
            self.disk.remove(name)
        self._segments = {head.sequence: head.after for head in heads}
        self._hard_state, self._last = found.hard_state, found.last
        if kept:
            self._resume(segment_name(kept[-1].sequence), whole)
        if replaced or not kept:
            self.restart_after(found.after)
        return found

    def _newest_snapshot(self) -> Recovered:
        names = self._names(_SNAPSHOT)
        if not names:
            return Recovered()
        name = names[-1]
        meta, *rows = self._checked(name, read_snapshot(self.disk.read(name)))
        found = self._translated(name, read_meta, meta)
        if snapshot_name(found.index) != name:
            raise self._corrupt(name, 0, f"it says that it is of index {found.index}")
        return Recovered(found, tuple(rows))

    def _heads(self, leftovers: list[str]) -> list[Head]:
        """Heads of all segments, oldest first. A last one without a head was never in use."""
        heads: list[Head] = []
        names = self._names(_SEGMENT)
        for name in names:
            head = self._translated(name, read_head, self.disk.read(name))
            if head is None and name == names[-1]:
                leftovers.append(name)
            elif head is None:
                raise self._corrupt(name, 0, "the file has no head, but is not the last")
            elif segment_name(head.sequence) != name:
                raise self._corrupt(name, 0, f"it says that it is segment {head.sequence:x}")
            else:
                heads.append(head)
        return heads

    def _needed(self, heads: list[Head], base: int, leftovers: list[str]) -> list[Head]:
        """Segments from the newest that begins at or below the snapshot on.

        A crash may have left some of the older ones; nothing in them is of use.
        """
        first = max((at for at, head in enumerate(heads) if head.after.index <= base), default=None)
        if first is None and (heads or base):
            name = segment_name(heads[0].sequence if heads else 1)
            raise self._corrupt(name, 0, f"the log from entry {base + 1} on is not there")
        needed = heads[first or 0 :]
        for before, after in pairwise(needed):
            if after.sequence != before.sequence + 1:
                raise self._corrupt(segment_name(before.sequence + 1), 0, "the file is missing")
        leftovers += [segment_name(head.sequence) for head in heads[: first or 0]]
        del heads[: first or 0]
        return needed

    def _read_segment(self, head: Head, found: Recovered, *, is_first: bool, is_last: bool) -> int:
        """Adds what the segment holds; returns where what is whole of it ends."""
        name = segment_name(head.sequence)
        data = self.disk.read(name)
        if is_first or head.replaced:
            found.after, found.entries = head.after, []
        elif head.after != found.last:
            raise self._corrupt(name, 0, f"it does not continue at entry {found.last.index + 1}")
        found.hard_state = head.hard_state
        end = HEAD_BYTES
        for part in self._checked(name, read_frames(data, HEAD_BYTES)):
            self._add(name, end, part, found)
            end = part.end
        if any(data[end:]) and not is_last:  # zeros were reserved
            raise self._corrupt(name, end, "the file ends within a record, but is not the last")
        return end

    def _add(self, name: str, offset: int, part: Frame, found: Recovered) -> None:
        if part.next_index != found.last.index + 1:
            told = f"a record was written at entry {part.next_index}, not {found.last.index + 1}"
            raise self._corrupt(name, offset, told)
        try:
            for record in part.records:
                item = read_record(record)
                if isinstance(item, Entry):
                    found.place(item)
                else:
                    found.hard_state = item
        except ValueError as error:
            raise self._corrupt(name, offset, f"a record checks, but {error}") from None

    def _resume(self, name: str, whole: int) -> None:
        """Opens the last segment to append to it; what a crash tore off a write goes."""
        file = self.disk.open(name)
        if len(self.disk.read(name)) > whole:
            file.truncate(whole)
            file.sync()
        self._open = _Open(file, name, whole)

    def _translated(self, name: str, read: Callable[[bytes], T], data: bytes) -> T:
        try:
            return read(data)
        except Damage as damage:
            raise self._corrupt(name, damage.offset, damage.what) from None

    def _checked(self, name: str, parts: Iterator[T]) -> Iterator[T]:
        try:
            yield from parts
        except Damage as damage:
            raise self._corrupt(name, damage.offset, damage.what) from None

    def _corrupt(self, name: str, offset: int, what: str) -> LogCorrupt:
        return LogCorrupt(
            f"log file {name} is damaged at offset {offset}: {what}; nothing was changed. Restore the data "
            "directory from a backup, or move it away and start empty"
        )

    def _names(self, part: str) -> list[str]:
        names = self.disk.names()
        return sorted(name for name in names if name.startswith(part) and not name.endswith(_SCRATCH))

    # Writing

    def append(self, entries: Sequence[Entry], hard_state: HardState | None) -> int:
        """Writes both; returns the bytes once they are durable.

        Raises DiskFull when nothing was written, OSError when the outcome is unknown: then the process
        must end, because a sync that failed once may report success the next time.
        """
        data = self._frame(entries, hard_state)
        try:
            at = self._writable()
            self._reserve(at, len(data))
            at.file.append(data)
        except OSError as error:
            self._undo(error)
            raise translated(error) from None
        at.file.sync()
        return self._appended(at, data, entries, hard_state)

    def resume(self, hard_state: HardState | None) -> int:
        """`append` of the hard state after the disk was full. Raises DiskFull, too, while there is no room
        for what is reserved at a time: a disk that takes only a few bytes would be full again at once."""
        try:
            at = self._writable()
            at.file.reserve(at.size + self._reserve_bytes)
            at.reserved = max(at.reserved, at.size + self._reserve_bytes)
        except OSError as error:
            self._undo(error)
            raise translated(error) from None
        return self.append([], hard_state)

    def begin(
        self,
        entries: Sequence[Entry],
        hard_state: HardState | None,
        done: Callable[[int | OSError | None], None],
    ) -> bool:
        """`append` without waiting. `done` is told the bytes; an error after which the process must end; or
        None: nothing counts as written, `append` will say why. False when it cannot be done now: a new
        segment or more room is needed, or the disk does not have it."""
        at = self._open
        if at is None or at.size >= self._segment_bytes:
            return False
        data = self._frame(entries, hard_state)

        def written(result: int) -> None:
            if result == len(data):
                done(self._appended(at, data, entries, hard_state))
            elif result >= 0 or -result in _FULL:
                done(None)
            else:
                done(OSError(-result, os.strerror(-result)))

        return at.file.begin(data, written)

    def _frame(self, entries: Sequence[Entry], hard_state: HardState | None) -> bytes:
        records = [write_entry(entry) for entry in entries]
        if hard_state:
            records.append(write_hard_state(hard_state))
        return frame(self._last.index + 1, records)

    def _appended(
        self, at: _Open, data: bytes, entries: Sequence[Entry], hard_state: HardState | None
    ) -> int:
        at.size += len(data)
        self._hard_state = hard_state or self._hard_state
        if entries:
            self._last = Position(entries[-1].index, entries[-1].term)
        return len(data)

    def _reserve(self, at: _Open, size: int) -> None:
        if at.size + size <= at.reserved:
            return
        try:
            at.file.reserve(at.size + size + self._reserve_bytes)
            at.reserved = at.size + size + self._reserve_bytes
        except OSError as error:
            if error.errno not in _FULL:
                raise
            at.file.truncate(at.size)  # there may be room for the write itself
            at.reserved = at.size

    def restart_after(self, last: Position) -> None:
        """Begins the log anew behind a snapshot that replaces all of it. Raises DiskFull, OSError."""
        self._last = last
        try:
            self._begin(replaced=True)
        except OSError as error:
            self._undo(error)
            raise translated(error) from None

    def _undo(self, error: OSError) -> None:
        """Takes back what a full disk left of a write."""
        if self._open and error.errno in _FULL:
            self._open.file.truncate(self._open.size)
            self._open.file.sync()
            self._open.reserved = self._open.size

    def _writable(self) -> _Open:
        if not self._open or self._open.size >= self._segment_bytes:
            self._begin()
        if self._open is None:
            raise InvariantBroken("the log has no open segment")
        return self._open

    def _begin(self, *, replaced: bool = False) -> None:
        """Starts a segment. Its name is durable before anything in it is."""
        head = Head(max(self._segments, default=0) + 1, self._last, replaced, self._hard_state)
        name, data = segment_name(head.sequence), write_head(head)
        if name in self.disk.names():
            self.disk.remove(name)  # an attempt that a full disk ended
        file = self.disk.create(name, log=True)
        try:
            file.append(data)
            file.sync()
            self.disk.sync_names()
        except OSError:
            file.close()
            self.disk.remove(name)  # nothing was in it, so even a failed sync loses nothing
            raise
        if self._open:
            self._open.file.truncate(self._open.size)  # what was reserved and not used
            self._open.file.close()
        self._segments[head.sequence] = head.after
        self._open = _Open(file, name, len(data))

    def roll(self) -> None:
        """Starts a new segment unless the open one is empty, so that a snapshot can replace the old ones."""
        if self._open and self._open.size > HEAD_BYTES:
            self._begin()

    def snapshot_writer(self, index: int) -> SnapshotWriter:
        return SnapshotWriter(self.disk, snapshot_name(index))

    def drop_before(self, index: int, in_use: Collection[int] = ()) -> None:
        """Removes what a durable snapshot at `index` makes needless; not the snapshots `in_use`."""
        kept = {snapshot_name(it) for it in in_use}
        older = [name for name in self._names(_SNAPSHOT) if name < snapshot_name(index)]
        segments = sorted(self._segments.items())
        covered = [sequence for (sequence, _), (_, after) in pairwise(segments) if after.index <= index]
        for sequence in covered:
            self.disk.remove(segment_name(sequence))
            del self._segments[sequence]
        for name in older:
            if name not in kept:
                self.disk.remove(name)
        self.disk.sync_names()

    def close(self) -> None:
        if self._open:
            self._open.file.close()
            self._open = None


def translated(error: OSError) -> Exception:
    """DiskFull for a full disk; any other error stays what it is."""
    if error.errno in _FULL:
        return DiskFull("the disk with the data directory is full; make space, then retry")
    return error


def _join(found: Recovered) -> bool:
    """Fits log and snapshot together. True when the snapshot replaces the log as a whole (§7).

    Then it came from a leader, and the crash came before the log was begun anew behind it.
    """
    if found.snapshot is None:
        return False
    at = Position(found.snapshot.index, found.snapshot.term)
    if found.term(at.index) == at.term:
        del found.entries[: at.index - found.after.index]
        found.after = at
        return False
    found.after, found.entries = at, []
    return True

"""The durable log: segments and snapshots in one directory, and what may follow what.

    log-<first index>       commands, appended and synced batch by batch
    snapshot-<index>        the state at an index; makes every segment before it needless

Order of a snapshot: write tmp, sync, rename, sync the directory, and only then remove what it replaces.
Blocking: methods run on the log's own thread (the snapshot writer on a second one).
"""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar, cast

from weft.errors import invariant

from ..errors import DiskFull, LogCorrupt
from . import limits
from .disk import Disk, File
from .frames import HEAD_BYTES, Damage, Frame, frame, read_frames, read_head, segment_head
from .snapshots import SnapshotWriter, read_snapshot

T = TypeVar("T")

_SEGMENT, _SNAPSHOT, _SCRATCH = "log-", "snapshot-", ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def segment_name(first_index: int) -> str:
    return f"{_SEGMENT}{first_index:016x}"


def snapshot_name(index: int) -> str:
    return f"{_SNAPSHOT}{index:016x}"


@dataclass(slots=True)
class _Open:
    """The segment that grows. `size` is what is known to be whole."""

    file: File
    name: str
    size: int


class Store:
    """One writer at a time. After an exception other than DiskFull it must not be used again."""

    def __init__(self, disk: Disk, segment_bytes: int = limits.SEGMENT_BYTES) -> None:
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._open: _Open | None = None
        self._leftovers: list[str] = []  # removed once everything has been read and found whole

    # Recovery

    def snapshot(self) -> tuple[int, Iterator[bytes]]:
        """Index and records of the newest snapshot; 0 and nothing when there is none."""
        self._leftovers = [name for name in self._disk.names() if name.endswith(_SCRATCH)]
        names = self._names(_SNAPSHOT)
        if not names:
            return 0, iter(())
        return _index_of(names[-1]), self._checked(names[-1], read_snapshot(self._disk.read(names[-1])))

    def commands(self, after_index: int) -> Iterator[tuple[int, bytes]]:
        """Index and bytes of each command behind a snapshot, in order. Cuts a torn tail.

        Raises LogCorrupt. The store can be appended to once this is exhausted.
        """
        names = self._names(_SEGMENT)
        while len(names) > 1 and _index_of(names[1]) <= after_index + 1:
            self._leftovers.append(names.pop(0))  # the crash came before the removal
        expected = _index_of(names[0]) if names else after_index + 1
        if expected > after_index + 1:
            raise self._corrupt(names[0], 0, f"it begins at {expected}, after a gap from {after_index + 1}")
        for name in names:
            for found in self._frames(name, expected, is_last=name == names[-1]):
                yield from _numbered(found, after_index)
                expected = found.first_index + len(found.commands)
        if expected <= after_index:
            raise self._corrupt(
                names[-1], 0, f"it ends at {expected - 1}, before the snapshot's {after_index}"
            )
        for name in self._leftovers:
            self._disk.remove(name)
        if not self._open:
            self._begin(expected)

    def _frames(self, name: str, expected: int, *, is_last: bool) -> Iterator[Frame]:
        data = self._disk.read(name)
        end = HEAD_BYTES
        for found in self._checked(name, _whole(data, expected)):
            yield found
            end = found.end
        if len(data) == end:
            if is_last:
                self._open = _Open(self._disk.open(name), name, end)
        elif not is_last:
            raise self._corrupt(name, end, "the file ends within a record, but is not the last")
        elif len(data) < end or not any(data):
            self._leftovers.append(name)  # its creation was cut short: nothing was ever in it
        else:
            self._cut(name, end)

    def _cut(self, name: str, end: int) -> None:
        file = self._disk.open(name)
        file.truncate(end)
        file.sync()
        self._open = _Open(file, name, end)

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
        names = self._disk.names()
        return sorted(name for name in names if name.startswith(part) and not name.endswith(_SCRATCH))

    # Writing

    def append(self, first_index: int, commands: Sequence[bytes]) -> int:
        """Returns the bytes written once they are durable.

        Raises DiskFull when nothing was written, OSError when the outcome is unknown: then the process
        must end, because a sync that failed once may report success the next time.
        """
        data = frame(first_index, commands)
        try:
            at = self._writable(first_index)
            at.file.append(data)
        except OSError as error:
            self._undo(error)
            raise DiskFull("the disk with the data directory is full; make space, then retry") from error
        at.file.sync()
        at.size += len(data)
        return len(data)

    def _undo(self, error: OSError) -> None:
        """Takes back what a full disk left of a write; anything but a full disk is raised again."""
        if error.errno not in _FULL:
            raise error
        if self._open:
            self._open.file.truncate(self._open.size)
            self._open.file.sync()

    def _writable(self, first_index: int) -> _Open:
        if not self._open or self._open.size >= self._segment_bytes:
            self._begin(first_index)
        invariant(self._open is not None, "the log has no open segment")
        return cast(_Open, self._open)

    def _begin(self, first_index: int) -> None:
        """Starts a segment. Its name is durable before anything in it is."""
        name = segment_name(first_index)
        if name in self._disk.names():
            self._disk.remove(name)  # an attempt that a full disk ended
        file = self._disk.create(name)
        head = segment_head(first_index)
        try:
            file.append(head)
            file.sync()
            self._disk.sync_names()
        except OSError:
            file.close()
            self._disk.remove(name)  # nothing was in it, so even a failed sync loses nothing
            raise
        if self._open:
            self._open.file.close()
        self._open = _Open(file, name, len(head))

    def roll(self, next_index: int) -> None:
        """Starts a new segment unless the open one is empty, so that a snapshot can replace the old ones."""
        if self._open and self._open.size > HEAD_BYTES:
            self._begin(next_index)

    def snapshot_writer(self, index: int) -> SnapshotWriter:
        return SnapshotWriter(self._disk, snapshot_name(index))

    def drop_before(self, index: int) -> None:
        """Removes what a durable snapshot at `index` makes needless."""
        snapshots = [name for name in self._names(_SNAPSHOT) if _index_of(name) < index]
        segments = self._names(_SEGMENT)
        covered = [name for name, after in pairwise(segments) if _index_of(after) <= index + 1]
        for name in covered + snapshots:
            self._disk.remove(name)
        self._disk.sync_names()

    def close(self) -> None:
        if self._open:
            self._open.file.close()
            self._open = None


def _index_of(name: str) -> int:
    return int(name.rpartition("-")[2], 16)


def _whole(data: bytes, expected: int) -> Iterator[Frame]:
    first_index = read_head(data)
    if first_index is None:
        return
    if first_index != expected:
        raise Damage(0, f"it begins at index {first_index}, not {expected}")
    offset = HEAD_BYTES
    for found in read_frames(data):
        if found.first_index != expected:
            raise Damage(offset, f"a record has index {found.first_index}, not {expected}")
        expected += len(found.commands)
        offset = found.end
        yield found


def _numbered(found: Frame, after_index: int) -> Iterator[tuple[int, bytes]]:
    for index, command in enumerate(found.commands, found.first_index):
        if index > after_index:
            yield index, command

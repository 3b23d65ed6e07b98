"""A server's log and snapshots on the simulated disk: what the core reads, and what the driver writes.

Segments `wal-N` hold hard states and entries in the order of writing; a later entry replaces all from
its index on. `snap-INDEX` holds parts and, last, a `SnapshotMeta`. A snapshot is written under another
name, synced, renamed, the names are synced, and only then are segments dropped, oldest first.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from registry.raft.messages import Entry, HardState, SnapshotMeta
from registry.raft.storage import Chunk

from .disk import Disk, Record


class DiskDamaged(Exception):
    """What was synced is not there, or not intact. A server does not start on such a disk."""


@dataclass(frozen=True, slots=True)
class Reset:
    """In a segment: an installed snapshot replaced the log so far."""

    index: int


class DiskLog:
    """Implements `registry.raft.storage.Storage`. What is written shows at once; `sync` makes it durable."""

    def __init__(self, disk: Disk, segment_records: int) -> None:
        """Reads back what a crash left. Raises DiskDamaged."""
        self._disk = disk
        self._segment_records = segment_records
        self._hard_state = HardState()
        self._meta = SnapshotMeta()
        self._snapshots: dict[int, bytes] = {}
        self._log: list[Entry] = []
        self._first = 1
        self._segments: list[tuple[str, int]] = []  # name, greatest index that it is needed for
        self._recover()

    # What the core reads

    def hard_state(self) -> HardState:
        return self._hard_state

    def snapshot(self) -> SnapshotMeta:
        return self._meta

    def first_index(self) -> int:
        return self._first

    def last_index(self) -> int:
        return self._first + len(self._log) - 1

    def term(self, index: int) -> int | None:
        if self._first <= index < self._first + len(self._log):
            return self._log[index - self._first].term
        return self._meta.term if index == self._meta.index else None

    def entries(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        found = self._log[low - self._first : high - self._first]
        room = bytes_max
        for position, entry in enumerate(found):
            room -= len(entry.data)
            if room < 0:
                return found[: max(1, position)]
        return found

    def snapshot_chunk(self, meta: SnapshotMeta, offset: int, bytes_max: int) -> Chunk | None:
        data = self._snapshots.get(meta.index)
        if data is None:
            return None
        return Chunk(data[offset : offset + bytes_max], offset + bytes_max >= len(data))

    def snapshot_data(self) -> bytes | None:
        """The newest snapshot's state; None at the beginning."""
        return self._snapshots.get(self._meta.index)

    def entry(self, index: int) -> Entry | None:
        held = self._first <= index < self._first + len(self._log)
        return self._log[index - self._first] if held else None

    # Writing the log

    def write(self, hard_state: HardState | None, entries: tuple[Entry, ...]) -> None:
        name = self._segment()
        if hard_state is not None:
            self._hard_state = hard_state
            self._disk.append(name, hard_state)
        if entries:
            self._disk.append(name, *entries)
            self._put(entries)
            self._segments[-1] = (name, max(self._segments[-1][1], entries[-1].index))

    def sync(self) -> None:
        self._disk.sync(self._segments[-1][0])
        self._disk.sync_names()

    def _segment(self) -> str:
        if self._segments and len(self._disk.files[self._segments[-1][0]].records) < self._segment_records:
            return self._segments[-1][0]
        number = 1
        if self._segments:
            self._disk.sync(self._segments[-1][0])  # only the last segment may be torn
            number = int(self._segments[-1][0].removeprefix("wal-")) + 1
        name = f"wal-{number:06}"
        self._disk.create(name)
        self._disk.append(name, self._hard_state)
        self._segments.append((name, 0))
        return name

    def _put(self, entries: tuple[Entry, ...]) -> None:
        at = entries[0].index - self._first
        if not 0 <= at <= len(self._log):
            raise DiskDamaged(f"entry {entries[0].index} after {self.last_index()}")
        del self._log[at:]
        self._log.extend(entries)

    # Snapshots, step by step

    def begin_snapshot(self, name: str) -> None:
        self._disk.create(name)

    def append_part(self, name: str, part: bytes) -> None:
        self._disk.append(name, part)

    def part_bytes(self, name: str) -> int:
        file = self._disk.files.get(name)
        return sum(len(record.payload) for record in file.records) if file else 0

    def finish_parts(self, name: str, meta: SnapshotMeta) -> None:
        self._disk.append(name, meta)
        self._disk.sync(name)

    def name_snapshot(self, name: str, meta: SnapshotMeta) -> None:
        """Gives the finished snapshot its name; durable after `sync_names`."""
        self._disk.rename(name, _name(meta))

    def sync_names(self) -> None:
        self._disk.sync_names()

    def adopt(self, meta: SnapshotMeta) -> None:
        """The newest snapshot is this one from now on; the log stays."""
        self._meta = meta
        self._snapshots[meta.index] = _parts(self._disk.files[_name(meta)].records)

    def reset(self, meta: SnapshotMeta) -> None:
        """The installed snapshot replaces the complete log."""
        self.adopt(meta)
        self._log, self._first = [], meta.index + 1
        name = self._segment()
        self._disk.append(name, Reset(meta.index))
        self._segments = [(segment, min(last, meta.index)) for segment, last in self._segments]

    def drop_snapshots(self, keep: frozenset[int]) -> None:
        for index in sorted(self._snapshots):
            if index != self._meta.index and index not in keep:
                del self._snapshots[index]
                self._disk.remove(f"snap-{index:08}")

    def trim(self, first: int) -> Iterator[None]:
        """Drops entries before `first` and segments that hold no others; a step per segment."""
        first = min(first, self._meta.index + 1)
        if first > self._first:
            del self._log[: first - self._first]
            self._first = first
        while len(self._segments) > 1 and self._segments[0][1] < first:
            self._disk.remove(self._segments.pop(0)[0])
            yield
            self._disk.sync_names()  # one by one, so that a crash never leaves a gap

    # Starting

    def _recover(self) -> None:
        names = sorted(self._disk.files)
        for name in names:
            if name.startswith("tmp"):
                self._disk.remove(name)
        for name in names:
            if name.startswith("snap-"):
                self._read_snapshot(name)
        if self._meta.index:
            self._first = self._meta.index + 1
        self._read_segments([name for name in names if name.startswith("wal-")])
        self._disk.sync_names()

    def _read_snapshot(self, name: str) -> None:
        records = self._disk.files[name].records
        meta = records[-1].payload if records else None
        if not isinstance(meta, SnapshotMeta) or not all(record.intact for record in records):
            raise DiskDamaged(f"{name} is not intact")
        self._snapshots[meta.index] = _parts(records)
        if meta.index >= self._meta.index:
            self._meta = meta

    def _read_segments(self, names: list[str]) -> None:
        log: dict[int, Entry] = {}
        last = 0
        for position, name in enumerate(names):
            needed_for = 0
            for record in self._intact(name, is_last=position == len(names) - 1):
                payload = record.payload
                if isinstance(payload, HardState):
                    self._hard_state = payload
                elif isinstance(payload, Reset):
                    log.clear()
                    last = payload.index
                else:
                    for index in range(payload.index, last + 1):
                        log.pop(index, None)
                    log[payload.index] = payload
                    last = payload.index
                    needed_for = max(needed_for, last)
            self._segments.append((name, needed_for))
        self._adopt_log(log, last)

    def _intact(self, name: str, is_last: bool) -> list[Record]:
        file = self._disk.files[name]
        for position, record in enumerate(file.records):
            if not record.intact:
                if not is_last or position < len(file.records) - 1:
                    raise DiskDamaged(f"{name}: record {position} of {len(file.records)} is not intact")
                del file.records[position:]
                file.synced = len(file.records)
        return file.records

    def _adopt_log(self, log: dict[int, Entry], last: int) -> None:
        """Keeps what continues the snapshot: everything, unless the snapshot was installed over it."""
        meta = self._meta
        at = log.get(meta.index)
        if at is not None and at.term != meta.term:
            log, last = {}, meta.index  # the crash came before the Reset was durable
        first = last + 1
        while first - 1 in log:
            first -= 1
        if last > meta.index and first > meta.index + 1:
            raise DiskDamaged(f"entries {meta.index + 1} to {first - 1} are missing")
        if last < meta.index:
            return
        self._first = min(first, meta.index + 1)
        self._log = [log[index] for index in range(self._first, last + 1)]


def _name(meta: SnapshotMeta) -> str:
    return f"snap-{meta.index:08}"


def _parts(records: list[Record]) -> bytes:
    return b"".join(record.payload for record in records[:-1])

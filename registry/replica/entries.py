"""The log in memory: what the core reads, in step with what is on disk.

Entries that a snapshot covers stay a while, so that a follower that is a little behind gets them instead
of the whole snapshot.
"""

from collections.abc import Sequence

from ..raft.messages import Entry, HardState, SnapshotMeta
from ..raft.storage import Chunk
from . import limits
from .disk import Disk
from .records import Position
from .wal import Recovered, snapshot_name


class Entries:
    """A `raft.storage.Storage`. Changed only by the replica, after the disk was."""

    def __init__(self, disk: Disk, found: Recovered) -> None:
        self._disk = disk
        self._snapshot = found.snapshot or SnapshotMeta()
        self._hard_state = found.hard_state
        self._after = found.after
        self._entries = found.entries

    # What the core reads

    def hard_state(self) -> HardState:
        return self._hard_state

    def snapshot(self) -> SnapshotMeta:
        return self._snapshot

    def first_index(self) -> int:
        return self._after.index + 1

    def last_index(self) -> int:
        return self._after.index + len(self._entries)

    def term(self, index: int) -> int | None:
        at = index - self._after.index - 1
        if 0 <= at < len(self._entries):
            return self._entries[at].term
        if index == self._after.index:
            return self._after.term
        return self._snapshot.term if index == self._snapshot.index else None

    def entries(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        found: list[Entry] = []
        size = 0
        for at in range(low - self._after.index - 1, high - self._after.index - 1):
            size += len(self._entries[at].data)
            if found and size > bytes_max:
                break
            found.append(self._entries[at])
        return found

    def snapshot_chunk(self, meta: SnapshotMeta, offset: int, bytes_max: int) -> Chunk | None:
        try:
            data = self._disk.read_at(snapshot_name(meta.index), offset, bytes_max + 1)
        except (OSError, KeyError):
            return None
        return Chunk(data[:bytes_max], len(data) <= bytes_max)

    # What the replica notes

    def note(self, entries: Sequence[Entry], hard_state: HardState | None) -> None:
        """What has been written. The first entry replaces those of its index and above."""
        self._hard_state = hard_state or self._hard_state
        if entries:
            del self._entries[entries[0].index - self._after.index - 1 :]
            self._entries += entries

    def compact(self, meta: SnapshotMeta) -> None:
        """A snapshot of what was applied is on disk."""
        if meta.index <= self._snapshot.index:
            return
        self._snapshot = meta
        drop = meta.index - limits.ENTRIES_KEPT - self._after.index
        if drop > 0:
            last = self._entries[drop - 1]
            del self._entries[:drop]
            self._after = Position(last.index, last.term)

    def replace(self, meta: SnapshotMeta) -> None:
        """A leader's snapshot is on disk in place of the whole log."""
        self._snapshot = meta
        self._after = Position(meta.index, meta.term)
        self._entries = []

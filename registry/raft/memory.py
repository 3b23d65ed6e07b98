"""A `Storage` in memory: for a registry that ends with its process, and for tests of the core."""

from collections.abc import Sequence
from dataclasses import replace

from weft.errors import invariant

from .log import bounded
from .messages import Entry, HardState, InstallSnapshot, SnapshotMeta
from .ready import Ready
from .storage import Chunk

_BEGINNING = SnapshotMeta()


class MemoryStorage:
    """`write` carries out step 2 of a Ready; `compact` is what a driver does after it made a snapshot."""

    def __init__(self, beginning: SnapshotMeta = _BEGINNING) -> None:
        self._hard = HardState()
        self._meta = beginning
        self._encoded = b""  # the snapshot of _meta
        self._arriving = bytearray()
        self._entries: list[Entry] = []
        self._first = beginning.index + 1

    # Storage

    def hard_state(self) -> HardState:
        return self._hard

    def snapshot(self) -> SnapshotMeta:
        return self._meta

    def first_index(self) -> int:
        return self._first

    def last_index(self) -> int:
        return self._first + len(self._entries) - 1

    def term(self, index: int) -> int | None:
        at = index - self._first
        if 0 <= at < len(self._entries):
            return self._entries[at].term
        return self._meta.term if index == self._meta.index else None

    def entries(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        return bounded(self._entries[low - self._first : high - self._first], bytes_max)

    def snapshot_chunk(self, meta: SnapshotMeta, offset: int, bytes_max: int) -> Chunk | None:
        if meta != self._meta or offset > len(self._encoded):
            return None
        data = self._encoded[offset : offset + bytes_max]
        return Chunk(data, offset + len(data) == len(self._encoded))

    # What the driver does with it

    def write(self, ready: Ready) -> None:
        """What `ready` asks to write, in its order."""
        for chunk in ready.chunks:
            self._receive(chunk)
        if ready.install:
            self._meta, self._encoded = ready.install, bytes(self._arriving)
            self._entries, self._first = [], ready.install.index + 1
            self._arriving = bytearray()
        self._put(ready.entries)
        self._hard = ready.hard_state or self._hard

    def compact(self, meta: SnapshotMeta, encoded: bytes, keep_entries: int = 0) -> None:
        """A snapshot of an applied index was made: the log before it goes, but for `keep_entries`."""
        invariant(self._meta.index <= meta.index <= self.last_index(), f"snapshot of {meta.index}")
        self._meta, self._encoded = meta, encoded
        first = max(self._first, meta.index + 1 - keep_entries)
        del self._entries[: first - self._first]
        self._first = first

    def encoded_snapshot(self) -> bytes:
        return self._encoded

    def restarted(self) -> "MemoryStorage":
        """A copy, as a restart reads it: what was being received is gone."""
        copy = MemoryStorage(replace(self._meta))
        copy._hard, copy._encoded = self._hard, self._encoded
        copy._entries, copy._first = self._entries[:], self._first
        return copy

    def _receive(self, chunk: InstallSnapshot) -> None:
        if chunk.offset == 0:
            self._arriving = bytearray()
        invariant(chunk.offset == len(self._arriving), f"chunk at {chunk.offset}: one before it is missing")
        self._arriving += chunk.chunk

    def _put(self, entries: Sequence[Entry]) -> None:
        if entries:
            at = entries[0].index - self._first
            invariant(0 <= at <= len(self._entries), f"a gap before entry {entries[0].index}")
            self._entries[at:] = entries

"""What the core reads of this server's disk. It never writes: `Ready` says what to write."""

from typing import NamedTuple, Protocol

from .messages import Entry, HardState, SnapshotMeta


class Chunk(NamedTuple):
    """A piece of an encoded snapshot. `done`: nothing follows it."""

    data: bytes
    done: bool


class Storage(Protocol):
    """The durable part of the log, and the newest snapshot.

    It holds what was persisted up to the last Ready that was advanced, at least; the core asks for nothing
    newer. Reads are frequent and must not block: recent entries belong in memory.
    """

    def hard_state(self) -> HardState:
        """As last persisted; asked once, at the start."""

    def snapshot(self) -> SnapshotMeta:
        """The newest snapshot, or the beginning (index 0) with the bootstrap configuration."""

    def first_index(self) -> int:
        """The oldest entry that is held; last_index() + 1 when none is. At most snapshot().index + 1."""

    def last_index(self) -> int:
        """The newest entry that is held; snapshot().index when none is."""

    def term(self, index: int) -> int | None:
        """The term of an entry that is held, or of snapshot().index; None for any other."""

    def entries(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Entries low <= index < high, all of them held; fewer when the data of more than the first would
        exceed `bytes_max`."""

    def snapshot_chunk(self, meta: SnapshotMeta, offset: int, bytes_max: int) -> Chunk | None:
        """Bytes of that snapshot; None when it is no longer held (a newer one is sent from its start)."""

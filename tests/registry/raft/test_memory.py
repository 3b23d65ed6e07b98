"""The storage in memory behaves as `Storage` says."""

from dataclasses import replace

import pytest

from registry.raft.config import Config
from registry.raft.memory import MemoryStorage
from registry.raft.messages import Entry, EntryKind, HardState, InstallSnapshot, SnapshotMeta
from tests.support.raft import NOTHING, filled
from weft.errors import InvariantBroken

META = SnapshotMeta(5, 2, Config.of("ab"))


def chunk(offset: int, data: bytes) -> InstallSnapshot:
    return InstallSnapshot("b", "a", 2, META, offset, data, False, 1)


def test_an_empty_storage_is_the_beginning() -> None:
    storage = MemoryStorage()
    assert (storage.first_index(), storage.last_index(), storage.hard_state()) == (1, 0, HardState())
    assert (storage.term(0), storage.term(1), storage.snapshot()) == (0, None, SnapshotMeta())


def test_entries_replace_all_from_their_first_index_on() -> None:
    storage = filled([1, 1, 1])
    storage.write(replace(NOTHING, entries=(Entry(2, 2, EntryKind.NOOP, b""),)))
    assert [storage.term(index) for index in range(5)] == [0, 1, 2, None, None]
    with pytest.raises(InvariantBroken, match="a gap before entry 4"):
        storage.write(replace(NOTHING, entries=(Entry(2, 4, EntryKind.NOOP, b""),)))


def test_compaction_keeps_the_term_at_the_snapshot_and_what_is_asked_for() -> None:
    storage = filled([1, 1, 2, 2])
    storage.compact(SnapshotMeta(3, 2), b"state", keep_entries=1)
    assert (storage.first_index(), storage.last_index()) == (3, 4)
    assert [storage.term(index) for index in (1, 2, 3, 4)] == [None, None, 2, 2]
    storage.compact(SnapshotMeta(4, 2), b"state")
    assert (storage.first_index(), storage.last_index(), storage.term(4)) == (5, 4, 2)


def test_a_snapshot_is_received_in_chunks_and_sent_in_others() -> None:
    storage = filled([1])
    storage.write(replace(NOTHING, chunks=(chunk(0, b"lost"), chunk(0, b"abc"))))
    storage.write(replace(NOTHING, chunks=(chunk(3, b"de"),), install=META))
    assert (storage.first_index(), storage.last_index(), storage.term(5)) == (6, 5, 2)
    assert storage.snapshot_chunk(META, 0, 3) == (b"abc", False)
    assert storage.snapshot_chunk(META, 3, 3) == (b"de", True)
    assert storage.snapshot_chunk(SnapshotMeta(4, 2), 0, 3) is None
    with pytest.raises(InvariantBroken, match="one before it is missing"):
        storage.write(replace(NOTHING, chunks=(chunk(3, b"de"),)))


def test_a_restart_forgets_what_was_being_received() -> None:
    storage = filled([1, 1], term=3, vote="b")
    storage.write(replace(NOTHING, chunks=(chunk(0, b"abc"),)))
    again = storage.restarted()
    assert (again.hard_state(), again.last_index()) == (HardState(3, "b"), 2)
    with pytest.raises(InvariantBroken):
        again.write(replace(NOTHING, chunks=(chunk(3, b"de"),)))

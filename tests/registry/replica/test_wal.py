"""The durable log on a disk that forgets what was not synced."""

import random
from collections.abc import Callable

import pytest

from registry.errors import DiskFull, LogCorrupt
from registry.raft.config import Config
from registry.raft.messages import Entry, EntryKind, HardState, SnapshotMeta
from registry.replica import limits
from registry.replica.records import Position
from registry.replica.snapshots import write_meta
from registry.replica.wal import Recovered, Wal, segment_name, snapshot_name
from tests.support.sim_disk import SimDisk, SimFile

CONFIG = Config.of(["a", "b", "c"])


def _open(disk: SimDisk, segment_bytes: int = 600, reserve_bytes: int = 1500) -> tuple[Wal, Recovered]:
    wal = Wal(disk, segment_bytes, reserve_bytes)
    found = wal.recover()
    base = found.snapshot.index if found.snapshot else 0
    assert found.after.index == base
    assert [entry.index for entry in found.entries] == list(range(base + 1, base + 1 + len(found.entries)))
    return wal, found


def _snapshot(wal: Wal, index: int, term: int = 1) -> None:
    wal.roll()
    _write_snapshot(wal, index, term)
    wal.drop_before(index)


def _write_snapshot(wal: Wal, index: int, term: int) -> None:
    writer = wal.snapshot_writer(index)
    writer.write([write_meta(SnapshotMeta(index, term, CONFIG)), b"row"])
    writer.finish()


def _entry(index: int, term: int = 1) -> Entry:
    return Entry(term, index, EntryKind.NORMAL, f"command {index} of {term} ".encode() * (1 + index % 5))


def _entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [_entry(index, term) for index in range(first, last + 1)]


Make = Callable[[SimDisk], tuple[Wal, Recovered]]


def _work(disk: SimDisk, draw: random.Random, make: Make) -> tuple[list[Entry], int]:
    """Appends, replaces, votes, rolls and snapshots until a random moment.

    Answers the acknowledged entries behind the last snapshot, and the index of the last one of all.
    """
    wal, found = make(disk)
    log = {entry.index: entry for entry in found.entries}
    base, last, term = found.after.index, found.last.index, found.hard_state.term
    for _ in range(draw.randint(1, 12)):
        vote = None
        if last > base and draw.random() < 0.3:  # a new leader, whose log differs from some entry on
            last = draw.randint(base, last)
            term += 1
            vote = HardState(term, f"server-{term}", base)
        batch = _entries(last + 1, last + draw.randint(1, 4), term)
        wal.append(batch, vote)
        last = batch[-1].index
        log = {index: entry for index, entry in log.items() if index < batch[0].index}
        log |= {entry.index: entry for entry in batch}
        if draw.random() < 0.2:
            base = draw.randint(max(base, 1), last)
            if base in log:
                _snapshot(wal, base, log[base].term)
    return [log[index] for index in sorted(log) if index > base], last


def _lost_after_crashes(seed: int, make: Make) -> bool:
    """Whether something acknowledged was missing or changed after one of several crashes."""
    draw = random.Random(seed)
    disk = SimDisk()
    disk.reserves = seed % 2 == 1
    for _ in range(6):
        acknowledged, last = _work(disk, draw, make)
        disk = disk.crash(draw)
        try:
            _, found = make(disk)
        except (LogCorrupt, KeyError):
            return True
        held = {entry.index: entry for entry in found.entries}
        if any(entry.index > found.after.index and held.get(entry.index) != entry for entry in acknowledged):
            return True
        if found.last.index != last or found.hard_state.term < found.last.term:
            return True
    return False


def test_nothing_acknowledged_is_lost_in_a_crash() -> None:
    assert not [seed for seed in range(150) if _lost_after_crashes(seed, _open)]


class _AcknowledgesBeforeSync(Wal):
    """The mutant: answers when the bytes are written, not when they are durable."""

    def append(self, entries: list[Entry], hard_state: HardState | None) -> int:  # type: ignore[override]
        sync, SimFile.sync = SimFile.sync, lambda self: None  # type: ignore[method-assign]
        try:
            return super().append(entries, hard_state)
        finally:
            SimFile.sync = sync  # type: ignore[method-assign]


class _DropsTheLogFirst(Wal):
    """The mutant: removes segments before the snapshot that replaces them is durable."""

    def snapshot_writer(self, index: int) -> object:  # type: ignore[override]
        self.drop_before(index)
        writer = super().snapshot_writer(index)
        writer.finish = lambda: None  # type: ignore[method-assign]
        return writer


class _ForgetsTheVote(Wal):
    """The mutant: a new segment does not repeat the vote, and the old ones go with a snapshot."""

    def roll(self) -> None:
        self._hard_state = HardState()
        super().roll()


@pytest.mark.parametrize("mutant", [_AcknowledgesBeforeSync, _DropsTheLogFirst, _ForgetsTheVote])
def test_the_crash_test_kills_its_mutants(mutant: type[Wal]) -> None:
    """Acknowledging before fsync is caught; so is dropping the log before the snapshot is there."""

    def make(disk: SimDisk) -> tuple[Wal, Recovered]:
        wal = mutant(disk, 600)
        return wal, wal.recover()

    assert any(_lost_after_crashes(seed, make) for seed in range(60))


def test_an_entry_written_again_replaces_those_from_there_on() -> None:
    for segment_bytes in (150, 10_000):
        disk = SimDisk()
        wal, _ = _open(disk, segment_bytes)
        wal.append(_entries(1, 9, term=1), HardState(1, "a", 0))
        wal.append(_entries(4, 5, term=2), HardState(2, "b", 3))
        wal.append(_entries(6, 6, term=2), None)
        _, found = _open(disk, segment_bytes)
        assert found.entries == [*_entries(1, 3, term=1), *_entries(4, 6, term=2)]
        assert found.hard_state == HardState(2, "b", 3)


def test_the_vote_outlives_the_segment_it_was_written_in() -> None:
    disk = SimDisk()
    wal, _ = _open(disk, 10_000)
    wal.append([], HardState(7, "b", 0))
    wal.append(_entries(1, 5, term=7), None)
    _snapshot(wal, 5, term=7)
    assert disk.names() == [segment_name(3), snapshot_name(5)] or len(disk.names()) == 2
    _, found = _open(disk)
    assert found.hard_state == HardState(7, "b", 0)
    assert (found.snapshot, found.rows) == (SnapshotMeta(5, 7, CONFIG), (b"row",))


def test_a_leaders_snapshot_replaces_the_whole_log() -> None:
    """Entries behind it are another leader's, though their indices fit (§7)."""
    disk = SimDisk()
    wal, _ = _open(disk)
    wal.append(_entries(1, 20, term=1), HardState(1, "a", 0))
    _write_snapshot(wal, 10, term=3)
    wal.restart_after(Position(10, 3))
    wal.append(_entries(11, 12, term=3), HardState(3, "", 10))
    wal, found = _open(disk)
    assert found.entries == _entries(11, 12, term=3)
    wal.drop_before(10)
    _, found = _open(disk)
    assert found.entries == _entries(11, 12, term=3)


def test_a_crash_between_a_leaders_snapshot_and_the_new_log_finishes_it() -> None:
    for last in (5, 10, 20):
        disk = SimDisk()
        wal, _ = _open(disk)
        wal.append(_entries(1, last, term=1), HardState(3, "b", 0))
        _write_snapshot(wal, 10, term=3)
        wal, found = _open(disk)
        assert (found.after, found.entries) == (Position(10, 3), [])
        wal.append(_entries(11, 11, term=3), None)
        _, found = _open(disk)
        assert found.entries == _entries(11, 11, term=3)
        assert found.hard_state.vote == "b"


def test_append_returns_only_after_a_sync() -> None:
    disk = SimDisk()
    wal, _ = _open(disk)
    for index in range(1, 30):
        wal.append([_entry(index)], HardState(index, "a", 0) if index % 3 else None)
        assert disk.unsynced_bytes() == 0
        assert disk.calls[-1] == "sync"


def test_a_snapshot_is_durable_before_anything_is_removed() -> None:
    disk = SimDisk()
    wal, _ = _open(disk)
    for index in range(1, 40):
        wal.append([_entry(index)], None)
    disk.calls.clear()
    _snapshot(wal, 39)
    calls = disk.calls
    renamed = calls.index(f"rename {snapshot_name(39)}")
    assert calls[renamed - 1] == "sync"
    assert calls[renamed + 1] == "sync_names"
    removals = [at for at, call in enumerate(calls) if call.startswith("remove")]
    assert removals and min(removals) > renamed + 1
    assert len(disk.names()) == 2


def test_a_snapshot_that_is_being_sent_stays() -> None:
    disk = SimDisk()
    wal, _ = _open(disk)
    wal.append(_entries(1, 9), None)
    for index in (3, 6, 9):
        _write_snapshot(wal, index, 1)
    wal.drop_before(9, in_use=[3])
    assert [name for name in disk.names() if "snapshot" in name] == [snapshot_name(3), snapshot_name(9)]


def test_segments_are_rolled_by_size() -> None:
    disk = SimDisk()
    wal, _ = _open(disk)
    for index in range(1, 40):
        wal.append([_entry(index)], None)
    assert len(disk.names()) > 3
    assert _open(disk)[1].entries == _entries(1, 39)


def test_a_torn_tail_at_every_offset_recovers_and_takes_writes() -> None:
    disk = SimDisk()
    wal, _ = _open(disk, limits.SEGMENT_BYTES)
    for index in range(1, 6):
        wal.append([_entry(index)], None)
    [name] = disk.names()
    whole = disk.read(name)
    for size in range(len(whole)):
        torn = SimDisk()
        torn.create(name).append(whole[:size])
        wal, found = _open(torn)
        kept = len(found.entries)
        assert found.entries == _entries(1, kept)
        wal.append([_entry(kept + 1, term=9)], None)
        assert _open(torn)[1].entries == [*found.entries[:kept], _entry(kept + 1, term=9)]


def test_a_corrupt_middle_is_fatal_names_the_place_and_changes_nothing() -> None:
    disk = SimDisk()
    wal, _ = _open(disk)
    for index in range(1, 40):
        wal.append([_entry(index)], None)
    disk.create("snapshot-00.tmp")
    name = disk.names()[1]
    for offset in (3, 60, 300):
        disk.files[name].data[offset] ^= 0x55
        before = {it: disk.read(it) for it in disk.names()}
        with pytest.raises(LogCorrupt, match=rf"{name} is damaged at offset \d+.*backup"):
            _open(disk)
        assert {it: disk.read(it) for it in disk.names()} == before
        disk.files[name].data[offset] ^= 0x55


def test_a_missing_or_short_segment_is_fatal() -> None:
    for which in (0, 1):
        for damage in (
            lambda disk, name: disk.remove(name),
            lambda disk, name: disk.open(name).truncate(200),
        ):
            disk = SimDisk()
            wal, _ = _open(disk)
            for index in range(1, 40):
                wal.append([_entry(index)], None)
            damage(disk, disk.names()[which])
            with pytest.raises(LogCorrupt):
                _open(disk)


def test_a_snapshot_without_its_log_is_fatal() -> None:
    """The votes were in the log."""
    disk = SimDisk()
    wal, _ = _open(disk)
    wal.append(_entries(1, 3), None)
    _snapshot(wal, 3)
    disk.remove(disk.names()[0])
    with pytest.raises(LogCorrupt, match="from entry 4 on"):
        _open(disk)


def test_a_damaged_snapshot_is_fatal() -> None:
    disk = SimDisk()
    wal, _ = _open(disk)
    wal.append([_entry(1)], None)
    _snapshot(wal, 1)
    disk.files[snapshot_name(1)].data[12] ^= 0x55
    with pytest.raises(LogCorrupt, match=snapshot_name(1)):
        _open(disk)


@pytest.mark.parametrize("reserves", [False, True])
def test_trap_20_a_full_disk_refuses_the_write_and_keeps_the_rest(reserves: bool) -> None:
    for capacity in range(40, 900, 13):
        disk = SimDisk()
        disk.reserves = reserves
        wal, _ = _open(disk)
        disk.capacity_bytes = disk.used_bytes() + capacity
        index = 0
        with pytest.raises(DiskFull):
            while True:
                wal.append([_entry(index + 1)], None)
                index += 1
        with pytest.raises(DiskFull):
            wal.append([Entry(1, index + 1, EntryKind.NORMAL, b"x" * 1000)], None)
        disk.capacity_bytes = None
        wal.append([_entry(index + 1, term=5)], None)
        recovered = disk.crash(random.Random(capacity))
        assert _open(recovered)[1].entries == [*_entries(1, index), _entry(index + 1, term=5)]


def test_trap_20_a_little_room_does_not_end_a_full_disk() -> None:
    """Or a server would stand for election, take the next write and be full again, in turns."""
    disk = SimDisk()
    disk.reserves = True
    wal, _ = _open(disk)
    wal.append([_entry(1)], None)
    disk.capacity_bytes = disk.used_bytes() - 1000  # of the 1500 that are reserved
    with pytest.raises(DiskFull):
        wal.append([Entry(1, 2, EntryKind.NORMAL, b"x" * 10_000)], None)
    with pytest.raises(DiskFull):
        wal.resume(HardState(7, "s1", 1))
    disk.capacity_bytes = None
    wal.resume(HardState(7, "s1", 1))
    recovered = _open(disk.crash(random.Random(1)))[1]
    assert recovered.entries == _entries(1, 1)
    assert recovered.hard_state == HardState(7, "s1", 1)


def test_trap_20_a_failed_sync_is_not_survived() -> None:
    disk = SimDisk()
    wal, _ = _open(disk)
    wal.append([_entry(1)], None)
    disk.fail_syncs = True
    with pytest.raises(OSError, match="Input/output"):
        wal.append([_entry(2)], None)

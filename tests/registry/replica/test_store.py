"""The durable log on a disk that forgets what was not synced."""

import random
from collections.abc import Callable

import pytest

from registry.errors import DiskFull, LogCorrupt
from registry.replica import limits
from registry.replica.store import Store, segment_name, snapshot_name
from tests.support.sim_disk import SimDisk, SimFile


def _open(disk: SimDisk, segment_bytes: int = 300) -> tuple[Store, list[bytes]]:
    """A store ready to append, and the commands behind its snapshot."""
    store = Store(disk, segment_bytes)
    index, records = store.snapshot()
    assert [int(record) for record in records] == ([index] if index else [])
    found = list(store.commands(index))
    assert [number for number, _ in found] == list(range(index + 1, index + 1 + len(found)))
    return store, [command for _, command in found]


def _snapshot(store: Store, index: int) -> None:
    store.roll(index + 1)
    writer = store.snapshot_writer(index)
    writer.write([str(index).encode()])
    writer.finish()
    store.drop_before(index)


def _command(index: int) -> bytes:
    return f"command {index} ".encode() * (1 + index % 5)


def _work(disk: SimDisk, draw: random.Random, make: Callable[[SimDisk], tuple[Store, list[bytes]]]) -> int:
    """Appends, rolls and snapshots until a random moment; answers the last acknowledged index."""
    store, found = make(disk)
    index = store.snapshot()[0] + len(found)
    for _ in range(draw.randint(0, 12)):
        batch = [_command(index + 1 + it) for it in range(draw.randint(1, 4))]
        store.append(index + 1, batch)
        index += len(batch)
        if draw.random() < 0.2:
            _snapshot(store, index)
    store.append(index + 1, [_command(index + 1)])
    return index + 1


def _lost_after_crashes(seed: int, make: Callable[[SimDisk], tuple[Store, list[bytes]]]) -> bool:
    """Whether an acknowledged command was missing or changed after one of several crashes."""
    draw = random.Random(seed)
    disk = SimDisk()
    for _ in range(6):
        acknowledged = _work(disk, draw, make)
        disk = disk.crash(draw)
        try:
            _, found = make(disk)
        except (LogCorrupt, KeyError):
            return True
        base = Store(disk).snapshot()[0]
        if base + len(found) < acknowledged:
            return True
        if found != [_command(base + 1 + it) for it in range(len(found))]:
            return True
    return False


def test_nothing_acknowledged_is_lost_in_a_crash() -> None:
    assert not [seed for seed in range(150) if _lost_after_crashes(seed, _open)]


class _AcknowledgesBeforeSync(Store):
    """The mutant: answers when the bytes are written, not when they are durable."""

    def append(self, first_index: int, commands: list[bytes]) -> int:
        sync, SimFile.sync = SimFile.sync, lambda self: None  # type: ignore[method-assign]
        try:
            return super().append(first_index, commands)
        finally:
            SimFile.sync = sync  # type: ignore[method-assign]


class _DropsTheLogFirst(Store):
    """The mutant: removes segments before the snapshot that replaces them is durable."""

    def snapshot_writer(self, index: int) -> object:  # type: ignore[override]
        self.drop_before(index)
        writer = super().snapshot_writer(index)
        writer.finish = lambda: None  # type: ignore[method-assign]
        return writer


@pytest.mark.parametrize("mutant", [_AcknowledgesBeforeSync, _DropsTheLogFirst])
def test_the_crash_test_kills_its_mutants(mutant: type[Store]) -> None:
    """Acknowledging before fsync is caught; so is dropping the log before the snapshot is there."""

    def make(disk: SimDisk) -> tuple[Store, list[bytes]]:
        store = mutant(disk, 300)
        return store, [command for _, command in store.commands(store.snapshot()[0])]

    assert any(_lost_after_crashes(seed, make) for seed in range(40))


def test_append_returns_only_after_a_sync() -> None:
    disk = SimDisk()
    store, _ = _open(disk)
    for index in range(1, 30):
        store.append(index, [_command(index)])
        assert disk.unsynced_bytes() == 0
        assert disk.calls[-1] == "sync"


def test_a_snapshot_is_durable_before_anything_is_removed() -> None:
    disk = SimDisk()
    store, _ = _open(disk)
    for index in range(1, 40):
        store.append(index, [_command(index)])
    disk.calls.clear()
    _snapshot(store, 39)
    calls = disk.calls
    renamed = calls.index(f"rename {snapshot_name(39)}")
    assert calls[renamed - 1] == "sync"
    assert calls[renamed + 1] == "sync_names"
    removals = [at for at, call in enumerate(calls) if call.startswith("remove")]
    assert removals and min(removals) > renamed + 1
    assert disk.names() == [segment_name(40), snapshot_name(39)]


def test_segments_are_rolled_by_size() -> None:
    disk = SimDisk()
    store, _ = _open(disk)
    for index in range(1, 40):
        store.append(index, [_command(index)])
    assert len(disk.names()) > 3
    assert _open(disk)[1] == [_command(index) for index in range(1, 40)]


def test_a_torn_tail_at_every_offset_recovers_and_takes_writes() -> None:
    disk = SimDisk()
    store, _ = _open(disk, limits.SEGMENT_BYTES)
    for index in range(1, 6):
        store.append(index, [_command(index)])
    [name] = disk.names()
    whole = disk.read(name)
    for size in range(len(whole)):
        torn = SimDisk()
        torn.create(name).append(whole[:size])
        store, found = _open(torn)
        assert found == [_command(index) for index in range(1, len(found) + 1)]
        store.append(len(found) + 1, [b"new"])
        assert _open(torn)[1] == [*found, b"new"]


def test_a_corrupt_middle_is_fatal_names_the_place_and_changes_nothing() -> None:
    disk = SimDisk()
    store, _ = _open(disk)
    for index in range(1, 40):
        store.append(index, [_command(index)])
    disk.create("snapshot-00.tmp")
    name = disk.names()[1]
    disk.files[name].data[70] ^= 0x55
    before = {it: disk.read(it) for it in disk.names()}
    with pytest.raises(LogCorrupt, match=rf"{name} is damaged at offset \d+.*backup"):
        _open(disk)
    assert {it: disk.read(it) for it in disk.names()} == before


def test_a_missing_or_short_segment_in_the_middle_is_fatal() -> None:
    for damage in (lambda disk, name: disk.remove(name), lambda disk, name: disk.open(name).truncate(60)):
        disk = SimDisk()
        store, _ = _open(disk)
        for index in range(1, 40):
            store.append(index, [_command(index)])
        damage(disk, disk.names()[1])
        with pytest.raises(LogCorrupt):
            _open(disk)


def test_a_damaged_snapshot_is_fatal() -> None:
    disk = SimDisk()
    store, _ = _open(disk)
    store.append(1, [_command(1)])
    _snapshot(store, 1)
    disk.files[snapshot_name(1)].data[12] ^= 0x55
    with pytest.raises(LogCorrupt, match=snapshot_name(1)):
        _open(disk)


def test_trap_20_a_full_disk_refuses_the_write_and_keeps_the_rest() -> None:
    for capacity in range(40, 500, 7):
        disk = SimDisk()
        store, _ = _open(disk)
        disk.capacity_bytes = disk.used_bytes() + capacity
        index = 0
        with pytest.raises(DiskFull):
            while True:
                store.append(index + 1, [_command(index + 1)])
                index += 1
        with pytest.raises(DiskFull):
            store.append(index + 1, [b"x" * 600])
        disk.capacity_bytes = None
        store.append(index + 1, [b"after"])
        recovered = disk.crash(random.Random(capacity))
        assert _open(recovered)[1] == [*(_command(it) for it in range(1, index + 1)), b"after"]


def test_trap_20_a_failed_sync_is_not_survived() -> None:
    disk = SimDisk()
    store, _ = _open(disk)
    store.append(1, [_command(1)])
    disk.fail_syncs = True
    with pytest.raises(OSError, match="Input/output"):
        store.append(2, [_command(2)])

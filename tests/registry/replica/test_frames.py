"""Bytes of a segment: whole frames read back, torn ones are cut, damage is named."""

import pytest

from registry.raft.messages import Entry, EntryKind, HardState
from registry.replica.frames import Damage, frame, read_frames
from registry.replica.records import (
    HEAD_BYTES,
    Head,
    Position,
    read_head,
    read_record,
    write_entry,
    write_hard_state,
    write_head,
)
from registry.replica.snapshots import SnapshotWriter, read_snapshot
from tests.support.sim_disk import SimDisk

FRAMES = [
    frame(1, [b"first"]),
    frame(2, [b"second", b"x" * 700, b""]),
    frame(5, [b"last of all"]),
]
HEAD = Head(7, Position(41, 3), False, HardState(4, "a server", 40))
SEGMENT = write_head(HEAD) + b"".join(FRAMES)


def _records(data: bytes) -> list[bytes]:
    return [record for found in read_frames(data, HEAD_BYTES) for record in found.records]


def test_what_was_written_reads_back() -> None:
    assert read_head(SEGMENT) == HEAD
    assert [(it.next_index, it.records) for it in read_frames(SEGMENT, HEAD_BYTES)] == [
        (1, (b"first",)),
        (2, (b"second", b"x" * 700, b"")),
        (5, (b"last of all",)),
    ]


def test_entries_and_votes_read_back() -> None:
    for item in (
        Entry(3, 9, EntryKind.NORMAL, b"command"),
        Entry(2**40, 2**40, EntryKind.NOOP, b""),
        HardState(7, "a-server-id", 5),
        HardState(),
    ):
        record = write_entry(item) if isinstance(item, Entry) else write_hard_state(item)
        assert read_record(record) == item
    for wrong in (b"", b"\x03", b"\x01short", b"\x02"):
        with pytest.raises(ValueError):
            read_record(wrong)


def test_a_tail_torn_at_every_offset_is_cut() -> None:
    """However much of the last writes is missing, all whole frames before it are there."""
    for size in range(HEAD_BYTES, len(SEGMENT)):
        whole = [1, 4, 5]
        ends = [HEAD_BYTES + len(b"".join(FRAMES[: it + 1])) for it in range(3)]
        expected = max((count for count, end in zip(whole, ends, strict=True) if end <= size), default=0)
        assert len(_records(SEGMENT[:size])) == expected


def test_a_tail_with_any_sector_zeroed_is_cut() -> None:
    """The file has its length, but some sectors of the last, unsynced frame never reached the disk."""
    data = SEGMENT + frame(6, [b"x" * 3000])
    for start in range(len(SEGMENT) - len(SEGMENT) % 512, len(data), 512):
        first, last = max(start, len(SEGMENT)), min(start + 512, len(data))
        torn = data[:first] + bytes(last - first) + data[last:]
        assert _records(torn) == _records(SEGMENT)


def test_every_flipped_byte_of_a_synced_frame_is_damage() -> None:
    """Also of the last frame: a crash shortens or zeroes, it does not flip."""
    for offset in range(HEAD_BYTES, len(SEGMENT)):
        data = bytearray(SEGMENT)
        data[offset] ^= 0x55
        with pytest.raises(Damage) as caught:
            _records(bytes(data))
        assert caught.value.offset <= offset
        assert caught.value.offset in _starts()


def _starts() -> list[int]:
    return [HEAD_BYTES + len(b"".join(FRAMES[:it])) for it in range(3)]


def test_zeros_in_the_middle_are_damage() -> None:
    """A sector of zeros with a whole frame behind it was synced once, so it is no torn tail."""
    middle = _starts()[1]
    data = SEGMENT[:middle] + bytes(len(FRAMES[1])) + SEGMENT[middle + len(FRAMES[1]) :]
    with pytest.raises(Damage) as caught:
        _records(data)
    assert caught.value.offset == middle


def test_every_flipped_byte_of_a_head_is_damage() -> None:
    for offset in range(HEAD_BYTES):
        data = bytearray(SEGMENT)
        data[offset] ^= 0x55
        with pytest.raises(Damage):
            read_head(bytes(data))
    assert read_head(SEGMENT[: HEAD_BYTES - 1]) is None
    assert read_head(bytes(1000)) is None


def _snapshot(records: list[bytes]) -> bytes:
    disk = SimDisk()
    writer = SnapshotWriter(disk, "snapshot-1")
    writer.write(records)
    writer.finish()
    return disk.read("snapshot-1")


def test_a_snapshot_reads_back_or_is_damage() -> None:
    records = [b"head", b"", b"row" * 50]
    data = _snapshot(records)
    assert list(read_snapshot(data)) == records
    for size in range(len(data)):
        with pytest.raises(Damage):
            list(read_snapshot(data[:size]))
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= 0x55
        with pytest.raises(Damage):
            list(read_snapshot(bytes(damaged)))

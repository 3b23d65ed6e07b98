"""Bytes of a segment: whole frames read back, torn ones are cut, damage is named."""

import pytest

from registry.replica.frames import HEAD_BYTES, Damage, frame, read_frames, read_head, segment_head
from registry.replica.snapshots import SnapshotWriter, read_snapshot
from tests.support.sim_disk import SimDisk

FRAMES = [
    frame(1, [b"first"]),
    frame(2, [b"second", b"x" * 700, b""]),
    frame(5, [b"last of all"]),
]
SEGMENT = segment_head(1) + b"".join(FRAMES)


def _commands(data: bytes) -> list[bytes]:
    return [command for found in read_frames(data) for command in found.commands]


def test_what_was_written_reads_back() -> None:
    assert read_head(SEGMENT) == 1
    assert [(it.first_index, it.commands) for it in read_frames(SEGMENT)] == [
        (1, (b"first",)),
        (2, (b"second", b"x" * 700, b"")),
        (5, (b"last of all",)),
    ]


def test_a_tail_torn_at_every_offset_is_cut() -> None:
    """However much of the last writes is missing, all whole frames before it are there."""
    for size in range(HEAD_BYTES, len(SEGMENT)):
        whole = [1, 4, 5]
        ends = [HEAD_BYTES + len(b"".join(FRAMES[: it + 1])) for it in range(3)]
        expected = max((count for count, end in zip(whole, ends, strict=True) if end <= size), default=0)
        assert len(_commands(SEGMENT[:size])) == expected


def test_a_tail_with_any_sector_zeroed_is_cut() -> None:
    """The file has its length, but some sectors of the last, unsynced frame never reached the disk."""
    data = SEGMENT + frame(6, [b"x" * 3000])
    for start in range(len(SEGMENT) - len(SEGMENT) % 512, len(data), 512):
        first, last = max(start, len(SEGMENT)), min(start + 512, len(data))
        torn = data[:first] + bytes(last - first) + data[last:]
        assert _commands(torn) == _commands(SEGMENT)


def test_every_flipped_byte_of_a_synced_frame_is_damage() -> None:
    """Also of the last frame: a crash shortens or zeroes, it does not flip."""
    for offset in range(HEAD_BYTES, len(SEGMENT)):
        data = bytearray(SEGMENT)
        data[offset] ^= 0x55
        with pytest.raises(Damage) as caught:
            _commands(bytes(data))
        assert caught.value.offset <= offset
        assert caught.value.offset in _starts()


def _starts() -> list[int]:
    return [HEAD_BYTES + len(b"".join(FRAMES[:it])) for it in range(3)]


def test_zeros_in_the_middle_are_damage() -> None:
    """A sector of zeros with a whole frame behind it was synced once, so it is no torn tail."""
    middle = _starts()[1]
    data = SEGMENT[:middle] + bytes(len(FRAMES[1])) + SEGMENT[middle + len(FRAMES[1]) :]
    with pytest.raises(Damage) as caught:
        _commands(data)
    assert caught.value.offset == middle


def test_every_flipped_byte_of_a_head_is_damage() -> None:
    for offset in range(HEAD_BYTES):
        data = bytearray(SEGMENT)
        data[offset] ^= 0x55
        with pytest.raises(Damage):
            read_head(bytes(data))
    assert read_head(SEGMENT[: HEAD_BYTES - 1]) is None
    assert read_head(bytes(100)) is None


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

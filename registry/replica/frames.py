"""Bytes of a log segment behind its head: one frame per batch.

A frame holds the records that one fdatasync made durable, and the next frame is written only after
that. Hence a frame that does not read back is one of two things: the last, unsynced one, torn by a
crash (it is cut; nobody was answered), or damage to synced bytes (fatal; never skipped). A crash
leaves a file short, or sectors of it zero, because file systems do not show stale blocks; anything
else that does not check is damage.

Frame: payload bytes u32, records u32, where the log then went on (an entry's index) u64, CRC-32 of the
payload u32, CRC-32 of the fields before u32; then per record its length u32 and its bytes. Big-endian.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .limits import BATCH_BYTES_MAX

_FRAME = struct.Struct(">IIQI")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">I")
FRAME_BYTES = _FRAME.size + _CRC.size
_SECTOR_BYTES = 512  # what a disk writes whole or not at all


class Damage(Exception):
    """Synced bytes at `offset` do not read back."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset
        self.what = what


class Frame(NamedTuple):
    """A batch as it was written; `end` is the offset behind it."""

    next_index: int
    records: tuple[bytes, ...]
    end: int


def frame(next_index: int, records: Sequence[bytes]) -> bytes:
    """One batch as bytes."""
    payload = b"".join(part for record in records for part in (_LENGTH.pack(len(record)), record))
    fields = _FRAME.pack(len(payload), len(records), next_index, zlib.crc32(payload))
    return b"".join((fields, _CRC.pack(zlib.crc32(fields)), payload))


def read_frames(data: bytes, offset: int) -> Iterator[Frame]:
    """The whole frames from `offset` on, up to a torn tail. Raises Damage."""
    while offset < len(data):
        found = _read_frame(data, offset)
        if not found:
            return
        yield found
        offset = found.end


def _read_frame(data: bytes, offset: int) -> Frame | None:
    start = offset + FRAME_BYTES
    if start > len(data):
        return None
    fields = data[offset : offset + _FRAME.size]
    size, count, next_index, crc = _FRAME.unpack(fields)
    if _CRC.unpack_from(data, offset + _FRAME.size)[0] != zlib.crc32(fields) or size > BATCH_BYTES_MAX:
        _refuse_unless_torn(data, offset, start, "the head of a record does not check")
        return None
    end = start + size
    if end > len(data):
        return None
    payload = data[start:end]
    if zlib.crc32(payload) != crc:
        _refuse_unless_torn(data, offset, end, "a record does not check")
        return None
    return Frame(next_index, _split(payload, count, offset), end)


def _refuse_unless_torn(data: bytes, offset: int, end: int, what: str) -> None:
    """Returns if the bytes look like the last write before a crash, else raises Damage.

    Zeroed sectors are a tear only when nothing but zeros or the same frame follows: the next frame
    would only have been written once this one was synced.
    """
    if not any(data[offset:]):
        return
    chunk = offset
    while chunk < end:
        boundary = min(end, chunk - chunk % _SECTOR_BYTES + _SECTOR_BYTES)
        if not any(data[chunk:boundary]) and not _frame_follows(data, offset):
            return
        chunk = boundary
    raise Damage(offset, what)


def _frame_follows(data: bytes, offset: int) -> bool:
    """Whether a later frame checks: then the bytes at `offset` were synced once."""
    for at in range(offset + 1, len(data) - FRAME_BYTES + 1):
        fields = data[at : at + _FRAME.size]
        if _CRC.unpack_from(data, at + _FRAME.size)[0] == zlib.crc32(fields):
            size, count, next_index, crc = _FRAME.unpack(fields)
            start = at + FRAME_BYTES
            if count and next_index and zlib.crc32(data[start : start + size]) == crc:
                return True
    return False


def _split(payload: bytes, count: int, offset: int) -> tuple[bytes, ...]:
    records = []
    at = 0
    while at + _LENGTH.size <= len(payload):
        (size,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size
        records.append(payload[at : at + size])
        at += size
    if at != len(payload) or len(records) != count:
        raise Damage(offset, "a record checks but does not hold what it says")
    return tuple(records)

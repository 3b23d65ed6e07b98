"""What a log segment says: in its head where the log stood when it was begun, then entries and votes.

Head: magic, sequence u64, index and term of the entry before the segment u64 each, whether the log was
replaced by a snapshot u8, term and commit index of the hard state u64 each, the vote (zero-padded),
CRC-32 of all before. So every older segment may be dropped without losing the vote.

Record: kind u8, then either index u64, term u64, kind of entry u8 and its data, or term u64, commit u64
and the vote. Big-endian. An entry replaces those of its index and above.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from ..raft.config import ID_BYTES_MAX
from ..raft.messages import Entry, EntryKind, HardState
from .frames import Damage

SEGMENT_MAGIC = b"WEFTLOG2"
_HEAD = struct.Struct(f">8sQQQBQQ{ID_BYTES_MAX}s")
_CRC = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _CRC.size
_ENTRY = struct.Struct(">BQQB")
_HARD_STATE = struct.Struct(">BQQ")
_ENTRY_KIND, _HARD_STATE_KIND = 1, 2
ENTRY_HEAD_BYTES = _ENTRY.size


@dataclass(frozen=True, slots=True)
class Position:
    """An entry of the log by index and term; (0, 0) is before the first."""

    index: int = 0
    term: int = 0


BEGINNING = Position()


class Head(NamedTuple):
    """`after` is the last entry before the segment; `replaced`: nothing of the older segments holds."""

    sequence: int
    after: Position
    replaced: bool
    hard_state: HardState


def write_head(head: Head) -> bytes:
    state = head.hard_state
    fields = _HEAD.pack(
        SEGMENT_MAGIC,
        head.sequence,
        head.after.index,
        head.after.term,
        head.replaced,
        state.term,
        state.commit,
        state.vote.encode(),
    )
    return fields + _CRC.pack(zlib.crc32(fields))


def read_head(data: bytes) -> Head | None:
    """The head of a segment; None when a crash cut its creation short. Raises Damage."""
    if len(data) < HEAD_BYTES or not any(data[:HEAD_BYTES]):
        return None
    if (
        not data.startswith(SEGMENT_MAGIC)
        or _CRC.pack(zlib.crc32(data[: _HEAD.size])) != data[_HEAD.size : HEAD_BYTES]
    ):
        raise Damage(0, "the head of the file does not check")
    _, sequence, index, term, replaced, voted_in, commit, vote = _HEAD.unpack_from(data)
    return Head(sequence, Position(index, term), bool(replaced), HardState(voted_in, _text(vote), commit))


def write_entry(entry: Entry) -> bytes:
    return _ENTRY.pack(_ENTRY_KIND, entry.index, entry.term, entry.kind) + entry.data


def write_hard_state(state: HardState) -> bytes:
    return _HARD_STATE.pack(_HARD_STATE_KIND, state.term, state.commit) + state.vote.encode()


def read_record(record: bytes) -> Entry | HardState:
    """Raises ValueError for what neither `write_entry` nor `write_hard_state` writes."""
    if record[:1] == bytes((_ENTRY_KIND,)) and len(record) >= _ENTRY.size:
        _, index, term, kind = _ENTRY.unpack_from(record)
        return Entry(term, index, EntryKind(kind), record[_ENTRY.size :])
    if record[:1] == bytes((_HARD_STATE_KIND,)) and len(record) >= _HARD_STATE.size:
        _, term, commit = _HARD_STATE.unpack_from(record)
        return HardState(term, _text(record[_HARD_STATE.size :]), commit)
    raise ValueError("neither an entry nor a vote")


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode()

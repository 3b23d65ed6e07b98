"""Keys keep the order of numbers; values are read back or refused."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import LogCorrupt
from registry.replica.etcd import layout
from registry.replica.etcd.limits import REQUEST_BYTES_MAX
from registry.replica.etcd.order import Batch
from weft.pb.etcd.v1.log_pb2 import Format, Snapshot

INDEXES = st.integers(1, 2**63)
KEYS = layout.Keys("weft/dc1")


@given(INDEXES, INDEXES)
def test_the_order_of_keys_is_the_order_of_indexes(a: int, b: int) -> None:
    assert (KEYS.log(a) < KEYS.log(b)) == (a < b)
    assert (KEYS.chunks_of(a) < KEYS.chunk(b, 0)) == (a <= b)
    assert KEYS.first_index(KEYS.log(a)) == a


def test_no_range_holds_keys_of_another_kind() -> None:
    kinds = [KEYS.logs, KEYS.parts, KEYS.chunks, KEYS.servers]
    keys = [KEYS.log(1), KEYS.part(1, 2, 3), KEYS.chunk(1, 0), KEYS.server("x")]
    keys += [KEYS.format, KEYS.tail, KEYS.leader, KEYS.snapshot]
    for kind in kinds:
        within = [key for key in keys if kind <= key < layout.after_prefix(kind)]
        assert within == [key for key in keys if key.startswith(kind)] and len(within) == 1
    assert not any(key.startswith(layout.Keys("weft/dc").logs) for key in keys)


def test_a_small_batch_is_one_value_and_a_large_command_is_in_parts() -> None:
    small = Batch(1, 7, (b"a", b"b"))
    assert layout.parts_of(small) == []
    assert list(layout.read_batch(layout.batch_value(small), b"k").commands) == [b"a", b"b"]
    large = Batch(1, 7, (b"x" * (2 * REQUEST_BYTES_MAX + 1),))
    parts = layout.parts_of(large)
    assert [len(part) for part in parts] == [REQUEST_BYTES_MAX, REQUEST_BYTES_MAX, 1]
    assert layout.read_batch(layout.batch_value(large), b"k").parts == 3


def test_what_does_not_read_is_refused() -> None:
    for value in (b"", b"\xff", b"nonsense"):
        with pytest.raises(LogCorrupt):
            layout.read_batch(value, b"k")
        with pytest.raises(LogCorrupt, match="format"):
            layout.read_format(value)
        with pytest.raises(LogCorrupt):
            layout.read_tail(value)
    with pytest.raises(LogCorrupt, match="format 2"):
        layout.read_format(Format(version=2).SerializeToString())
    for key in (KEYS.logs, KEYS.logs + b"x" * 20, KEYS.logs + b"1"):
        with pytest.raises(LogCorrupt, match="not of the log"):
            KEYS.first_index(key)


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 30))
def test_records_survive_being_cut_into_chunks(records: list[bytes], size: int) -> None:
    data = layout.pack(records)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    meta = Snapshot(index=1, chunks=len(chunks), size=len(data), crc=zlib.crc32(data))
    assert list(layout.unpack(chunks, meta)) == records
    if chunks:
        with pytest.raises(LogCorrupt, match="not what was written"):
            list(layout.unpack(chunks[1:], meta))
        with pytest.raises(LogCorrupt, match="not what was written"):
            list(layout.unpack([bytes([chunks[0][0] ^ 1]) + chunks[0][1:], *chunks[1:]], meta))

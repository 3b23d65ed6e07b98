"""The memoising encoder: what it inserts, when its table goes still, and that `hpack` reads it."""

import hpack
import pytest

from sidecar.h2.block import Extra, Literal, NeverIndexed
from sidecar.h2.encoder import MEMO_BLOCK_BYTES_MAX, MEMO_BYTES_MAX, MEMO_ENTRIES_MAX, SEEN_MAX, Encoder
from tests.support.hpack_peer import Field, literal, string

REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/orders.Orders/Get"),
    (b":authority", b"orders"),
    (b"te", b"trailers"),
)


class Pair:
    """An encoder and the `hpack` library that reads it, strictly."""

    def __init__(self) -> None:
        self.encoder = Encoder()
        self.decoder = hpack.Decoder()

    def send(self, fields: tuple[Field, ...], extra: bytes = b"") -> bytes:
        """Checks that hpack reads `fields` and returns the block."""
        block = self.encoder.encode(fields, Extra(extra))
        read = [tuple(field) for field in self.decoder.decode(block, raw=True)]
        assert read[: len(fields)] == [tuple(field) for field in fields]
        return block

    @property
    def table(self) -> list[Field]:
        return list(self.decoder.header_table.dynamic_entries)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_what_repeats_is_inserted_and_then_the_block_is_still(pair: Pair) -> None:
    first = pair.send(REQUEST)
    assert pair.table == []
    second = pair.send(REQUEST)
    assert len(pair.table) == 3  # method and scheme are in the static table
    third = pair.send(REQUEST)
    assert len(third) == len(REQUEST)
    assert first != second != third
    assert pair.send(REQUEST) is third
    assert pair.encoder.memo[id(REQUEST)] is third


def test_lists_share_the_table(pair: Pair) -> None:
    other = (*REQUEST[:2], (b":path", b"/orders.Orders/List"), *REQUEST[3:])
    for _ in range(3):
        pair.send(REQUEST)
    assert len(pair.send(other)) > 5
    pair.send(other)
    assert len(pair.send(other)) == 5
    assert len(pair.send(REQUEST)) == 5


def test_an_insertion_makes_memoised_blocks_void(pair: Pair) -> None:
    for _ in range(3):
        before = pair.send(REQUEST)
    for _ in range(2):
        pair.send((*REQUEST[:2], (b":path", b"/"), (b":authority", b"payments")))
    assert pair.send(REQUEST) != before


@pytest.mark.parametrize(
    "name",
    [b"authorization", b"cookie", b"set-cookie", b"proxy-authorization", b"x-vault-token", b"x-api-key"],
)
def test_trap_13_secrets_never_enter_a_dynamic_table(pair: Pair, name: bytes) -> None:
    for _ in range(4):
        block = pair.send((*REQUEST, (name, b"hunter2")))
    assert all(field[0] != name for field in pair.table)
    assert block.endswith(string(b"hunter2"))
    read = list(pair.decoder.decode(block, raw=True))
    assert isinstance(read[-1], hpack.NeverIndexedHeaderTuple)


def test_trap_13_never_indexed_stays_never_indexed(pair: Pair) -> None:
    fields = (*REQUEST, NeverIndexed((b"x-user", b"ann")), NeverIndexed((b":method", b"GET")))
    for _ in range(4):
        block = pair.send(fields)
        read = list(pair.decoder.decode(block, raw=True))
        assert [isinstance(field, hpack.NeverIndexedHeaderTuple) for field in read[-2:]] == [True, True]
    assert (b"x-user", b"ann") not in pair.table


@pytest.mark.parametrize(
    "name", [b"traceparent", b"grpc-timeout", b"x-request-id", b"content-length", b"date", b"grpc-message"]
)
def test_what_varies_per_request_never_enters_the_table(pair: Pair, name: bytes) -> None:
    fields = (*REQUEST, (name, b"1"))
    for _ in range(4):
        block = pair.send(fields)
    assert (name, b"1") not in pair.table
    assert pair.send(fields) is block  # but the block may be remembered


def test_the_table_never_evicts(pair: Pair) -> None:
    """RFC 7541 section 4.4 would evict the oldest; ours stops, so that blocks stay as they are."""
    lists = [(*REQUEST, (b"x-large", bytes([97 + number]) * 300)) for number in range(20)]
    for _ in range(3):
        blocks = [pair.send(fields) for fields in lists]
    assert sum(len(name) + len(value) + 32 for name, value in pair.table) <= 4096
    assert pair.table[-1] in REQUEST
    assert [pair.send(fields) for fields in lists] == blocks


def test_extra_goes_on_as_octets(pair: Pair) -> None:
    wire = literal(b"x-a", b"1", huffman=True) + literal(b"x-b", b"2", never=True)
    for _ in range(4):
        assert pair.send(REQUEST, wire).endswith(wire)


def test_extra_can_be_taken_apart_and_put_together() -> None:
    wire = (
        literal(b"x-a", b"1", huffman=True) + literal(b"x-b", b"2", never=True) + b"\x0f\x2b" + string(b"me")
    )
    extra = Extra(wire)
    assert list(extra) == [
        Literal(b"x-a", string(b"1", True), False),
        Literal(b"x-b", string(b"2"), True),
        Literal(b"user-agent", string(b"me"), False),
    ]
    assert list(Extra.of(extra)) == list(extra)
    assert Extra.of(field for field in extra if field.name == b"x-b").wire == literal(
        b"x-b", b"2", never=True
    )


def test_a_smaller_table_is_announced_and_obeyed(pair: Pair) -> None:
    for _ in range(3):
        pair.send(REQUEST)
    pair.decoder.max_allowed_table_size = 100
    pair.encoder.set_table_size(100)
    assert pair.send(REQUEST)[:2] == b"\x3f\x45"
    for _ in range(3):
        pair.send(REQUEST)
    newest = [(b"te", b"trailers"), (b":authority", b"orders")]
    assert pair.table[-2:] == newest
    pair.decoder.max_allowed_table_size = 4096
    pair.encoder.set_table_size(4096)
    assert pair.send(REQUEST).startswith(b"\x3f\xe1\x1f")  # the smaller size was announced before
    assert pair.table[-2:] == newest


def test_no_table_at_all(pair: Pair) -> None:
    pair.send(REQUEST)
    pair.decoder.max_allowed_table_size = 0
    pair.encoder.set_table_size(0)
    assert pair.send(REQUEST)[:1] == b"\x20"
    block = pair.send(REQUEST)
    assert pair.send(REQUEST) is block
    assert pair.table == []


def test_the_smallest_size_in_between_is_announced(pair: Pair) -> None:
    """RFC 7541 section 4.2."""
    for _ in range(3):
        pair.send(REQUEST)
    for size in (0, 200, 4096):
        pair.encoder.set_table_size(size)
    block = pair.send(REQUEST)
    assert block.startswith(b"\x20\x3f\xe1\x1f")
    for _ in range(3):
        block = pair.send(REQUEST)
    assert len(block) == len(REQUEST)


def test_a_larger_setting_is_not_used_beyond_our_own_bound(pair: Pair) -> None:
    for _ in range(3):
        block = pair.send(REQUEST)
    pair.encoder.set_table_size(65536)
    assert pair.send(REQUEST) is block


def test_the_memos_are_bounded(pair: Pair) -> None:
    for number in range(3 * SEEN_MAX):
        pair.send(((b":status", b"200"), (b"x-novel", b"%d" % number)))
        pair.send(((b":status", b"200"), (b"date", b"%d" % number)))
        assert len(pair.encoder.memo) == len(pair.encoder._kept) <= MEMO_ENTRIES_MAX
        assert len(pair.encoder._seen) <= SEEN_MAX
    for number in range(100):
        pair.send(((b":status", b"200"), (b"date", b"%d" % number + b"v" * 3000)))
        assert 0 < sum(map(len, pair.encoder.memo.values())) <= MEMO_BYTES_MAX
    pair.send(((b":status", b"200"), (b"date", b"v" * MEMO_BLOCK_BYTES_MAX)))
    assert all(len(block) <= MEMO_BLOCK_BYTES_MAX for block in pair.encoder.memo.values())


def test_a_memoised_list_stays_alive_so_that_its_identity_cannot_be_taken() -> None:
    encoder = Encoder()
    decoder = hpack.Decoder()
    for number in range(500):
        fields = ((b":status", b"200"), (b"date", b"%d" % number))
        assert list(decoder.decode(encoder.encode(fields), raw=True))[1] == fields[1]
        del fields

"""The codec against the `hpack` library, on streams of blocks in every representation.

A memo may only be a faster way to the same answer: memoised, unmemoised and oracle must agree on every
block, whatever was inserted, evicted, resized or refused in between.
"""

import hpack
from hypothesis import given
from hypothesis import strategies as st

from sidecar.h2.block import Block, NeverIndexed
from sidecar.h2.decoder import Decoder
from sidecar.h2.encoder import Encoder
from sidecar.h2.errors import ConnectionFault, ErrorCode, StreamFault
from sidecar.h2.reader import Reader
from tests.support.hpack_peer import Field, How, Peer, Saying, literal

POST = ((b":method", b"POST"), (b":scheme", b"http"))
PATHS = st.sampled_from([b"/", b"/orders.Orders/Get", b"/orders.Orders/List"])
AUTHORITIES = st.sampled_from([b"orders", b"payments:443"])
NAMES = st.sampled_from(
    [
        b"x-a",
        b"x-b",
        b"x-" + b"long" * 40,
        b"grpc-timeout",
        b"traceparent",
        b"cookie",
        b"authorization",
        b"user-agent",
        b"x-promoted",
    ]
)
VALUES = st.one_of(
    st.sampled_from([b"", b"1", b"2", b"a b", b"v" * 130, b"w" * 1500]),
    st.text("abcXYZ019-_=;é", max_size=12).map(str.encode),
)
FIELDS = st.tuples(NAMES, VALUES)
PROMOTED = frozenset({b"x-promoted"})


@st.composite
def spoken(draw: st.DrawFn, field: Field) -> Saying:
    return Saying(
        field, draw(st.sampled_from(How)), name_by_index=draw(st.booleans()), huffman=draw(st.booleans())
    )


@st.composite
def requests(draw: st.DrawFn) -> list[Saying]:
    pseudo = [*POST, (b":path", draw(PATHS)), (b":authority", draw(AUTHORITIES))]
    return [draw(spoken(field)) for field in (*pseudo, *draw(st.lists(FIELDS, max_size=5)))]


Step = list[Saying] | int  # a request, or a table size update before the next one
# Requests come from a small pool, as those of real clients do: otherwise no memo would be hit.
CONVERSATIONS = st.lists(requests(), min_size=1, max_size=4).flatmap(
    lambda pool: st.lists(
        st.one_of(
            st.sampled_from(pool),
            st.sampled_from(pool),
            requests(),
            st.sampled_from([0, 60, 300, 4096]),
        ),
        max_size=12,
    )
)


def flat(block: Block) -> list[Field]:
    return [*block.head.fields, *((literal.name, literal.value()) for literal in block.extra)]


def never_indexed(block: Block) -> set[Field]:
    head = {(field[0], field[1]) for field in block.head.fields if type(field) is NeverIndexed}
    return head | {(literal.name, literal.value()) for literal in block.extra if literal.never_indexed}


def by_name(fields: list[Field]) -> dict[bytes, list[bytes]]:
    """A header list up to the order of fields of different names (RFC 9110 section 5.3)."""
    grouped: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        grouped.setdefault(name, []).append(value)
    return grouped


def blocks_of(conversation: list[Step]) -> list[bytes]:
    peer = Peer()
    blocks = []
    update = b""
    for step in conversation:
        if isinstance(step, int):
            update += peer.resize(step)
        else:
            blocks.append(update + peer.say(step))
            update = b""
    return blocks


@given(CONVERSATIONS)
def test_any_stream_decodes_as_hpack_decodes_it(conversation: list[Step]) -> None:
    oracle = hpack.Decoder()
    decoder = Decoder(requests=True, promoted=PROMOTED)
    said = [step for step in conversation if not isinstance(step, int)]
    for step, octets in zip(said, blocks_of(conversation), strict=True):
        block = decoder.memo.get(octets) or decoder.decode(octets)
        fields = flat(block)
        read = oracle.decode(octets, raw=True)
        assert by_name(fields) == by_name([(field[0], field[1]) for field in read])
        assert [(field[0], field[1]) for field in fields[:4]] == [saying.field for saying in step[:4]]
        assert block.head.path == step[2].field[1]
        assert all(field.name not in PROMOTED for field in block.extra)
        expected = {tuple(field) for field in read if isinstance(field, hpack.NeverIndexedHeaderTuple)}
        assert expected <= never_indexed(block)
        assert table_of(decoder._reader) == list(oracle.header_table.dynamic_entries)


@given(CONVERSATIONS)
def test_memo_on_is_memo_off(conversation: list[Step]) -> None:
    warm, cold = (Decoder(requests=True, promoted=PROMOTED) for _ in range(2))
    for octets in blocks_of(conversation):
        fast = warm.memo.get(octets) or warm.decode(octets)
        cold.promote(PROMOTED)  # which forgets everything
        full = cold.decode(octets)
        assert fast.head.fields == full.head.fields
        assert fast.extra.wire == full.extra.wire
        assert warm.decode(octets).head is fast.head if octets in warm.memo else True


@given(CONVERSATIONS, st.lists(st.sampled_from([0, 60, 300, 4096]), max_size=3))
def test_what_we_pass_on_is_what_hpack_reads(conversation: list[Step], sizes: list[int]) -> None:
    """Through decoder and encoder, as a proxy does it, with a peer that changes its table."""
    decoder, encoder = Decoder(requests=True, promoted=PROMOTED), Encoder()
    far = hpack.Decoder()
    for number, octets in enumerate(blocks_of(conversation)):
        if number < len(sizes):
            far.max_allowed_table_size = sizes[number]
            encoder.set_table_size(sizes[number])
        block = decoder.memo.get(octets) or decoder.decode(octets)
        read = far.decode(encoder.encode(block.head.fields, block.extra), raw=True)
        assert [(field[0], field[1]) for field in read] == [(field[0], field[1]) for field in flat(block)]
        marked = {tuple(field) for field in read if isinstance(field, hpack.NeverIndexedHeaderTuple)}
        assert never_indexed(block) <= marked
        assert not {b"cookie", b"authorization", b"traceparent"} & {
            name for name, _ in far.header_table.dynamic_entries
        }


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_octets_end_in_a_fault_or_in_what_hpack_reads(blocks: list[bytes]) -> None:
    decoder, oracle = Decoder(requests=False), hpack.Decoder()
    oracle.max_allowed_table_size = 4096
    for octets in blocks:
        try:
            fields = flat(decoder.trailer_memo.get(octets) or decoder.decode(octets, trailers=True))
        except StreamFault:
            oracle.decode(octets, raw=True)
        except ConnectionFault as fault:
            assert fault.code is ErrorCode.COMPRESSION_ERROR
            return
        else:
            assert by_name(fields) == by_name(
                [(field[0], field[1]) for field in oracle.decode(octets, raw=True)]
            )
        assert table_of(decoder._reader) == list(oracle.header_table.dynamic_entries)


ENDINGS = st.lists(
    st.tuples(
        st.sampled_from([b"x-a", b"x-b", b"x-promoted"]),
        st.text("ab \t\n", min_size=1, max_size=3).map(str.encode),
        st.sampled_from(["plain", "plain", "never", "huffman", "inserted"]),
    ),
    min_size=1,
    max_size=2,
)
BEGINNINGS = st.sampled_from([b"\x83\x86\xbf\xbe", b"\x83\x87\xbf\xbe", b"\x82\x86\x84\xbe", b"\x83\x86\xbf"])
FLIPS = st.none() | st.none() | st.none() | st.tuples(st.integers(0, 99), st.integers(1, 255))


@given(st.lists(st.tuples(BEGINNINGS, ENDINGS, FLIPS), max_size=25))
def test_shapes_and_beginnings_admit_what_the_full_path_admits(
    blocks: list[tuple[bytes, list[tuple[bytes, bytes, str]], tuple[int, int] | None]],
) -> None:
    """Valid, invalid and damaged blocks of the same few lengths, on which the memos of parts thrive."""
    warm, cold = (Decoder(requests=True, promoted=PROMOTED) for _ in range(2))
    opening = Peer().say([Saying(field) for field in (*POST, (b":path", b"/a"), (b":authority", b"orders"))])
    assert warm.decode(opening).head.fields == cold.decode(opening).head.fields
    for beginning, ending, flip in blocks:
        octets = bytearray(beginning)
        for name, value, how in ending:
            field = literal(name, value, never=how == "never", huffman=how == "huffman")
            octets += b"\x40" + field[1:] if how == "inserted" else field
        if flip is not None:
            octets[flip[0] % len(octets)] ^= flip[1]
        cold.promote(PROMOTED)  # which forgets everything
        expected, found = (outcome(decoder, bytes(octets)) for decoder in (cold, warm))
        assert found == expected
        if expected is ErrorCode.COMPRESSION_ERROR:
            return
        assert table_of(warm._reader) == table_of(cold._reader)


def outcome(decoder: Decoder, octets: bytes) -> object:
    try:
        block = decoder.memo.get(octets) or decoder.decode(octets)
    except (StreamFault, ConnectionFault) as fault:
        return fault.code
    return block.head.fields, block.extra.wire


def table_of(reader: Reader) -> list[Field]:
    return [entry.field for entry in reader._table.entries[62:]]

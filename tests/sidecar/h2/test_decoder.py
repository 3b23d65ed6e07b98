"""The memoising decoder: what it says, what it refuses, and what it may remember."""

import pytest

from sidecar.h2.block import NO_TRACE, Block, Kind, NeverIndexed
from sidecar.h2.decoder import BLOCK_PER_LIST_MAX, HEADER_LIST_BYTES_MAX, Decoder
from sidecar.h2.errors import ConnectionFault, ErrorCode, HeaderListTooLarge, StreamFault
from sidecar.h2.memos import (
    BEGINNINGS_MAX,
    HEADS_MAX,
    MEMO_BLOCK_BYTES_MAX,
    MEMO_BYTES_MAX,
    MEMO_ENTRIES_MAX,
    SHAPES_MAX,
)
from tests.support.hpack_peer import Field, How, Peer, Saying, integer, literal, string

POST = b"\x83\x86\x44\x02/a\x41\x06orders"  # the second half inserts
POST_FIELDS = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"orders"))
STABLE = b"\x83\x86\xbf\xbe"  # the same after POST


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder(requests=True)
    assert decoder.decode(POST).head.fields == POST_FIELDS
    return decoder


def extras(block: Block) -> list[Field]:
    return [(literal.name, literal.value()) for literal in block.extra]


class TestMeaning:
    def test_literals_that_nobody_reads_stand_beside_the_head(self, decoder: Decoder) -> None:
        block = decoder.decode(
            STABLE + literal(b"x-a", b"1") + literal(b"x-b", b"2", huffman=True, never=True)
        )
        assert block.head.fields == POST_FIELDS
        assert extras(block) == [(b"x-a", b"1"), (b"x-b", b"2")]
        assert [field.never_indexed for field in block.extra] == [False, True]
        assert block.extra.value(b"x-b") == b"2"
        assert block.extra.value(b"x-c") is None

    def test_equal_heads_are_one_object(self, decoder: Decoder) -> None:
        first = decoder.decode(STABLE + literal(b"x-a", b"1"))
        second = decoder.decode(STABLE + literal(b"x-a", b"2"))
        respelt = decoder.decode(b"\x83\x86\x04\x02/a\x01\x06orders")
        assert first.head is second.head is respelt.head

    def test_heads_stay_when_the_table_changes(self, decoder: Decoder) -> None:
        before = decoder.decode(STABLE).head
        after = decoder.decode(STABLE + b"\x40" + string(b"traceparent") + string(b"00-1")).head
        assert after is before
        assert decoder.decode(b"\x83\x86\xc0\xbf").head is before

    def test_a_trace_id_stands_beside_the_head_even_when_inserted(self, decoder: Decoder) -> None:
        block = decoder.decode(STABLE + b"\x40" + string(b"traceparent") + string(b"00-1"))
        assert extras(block) == [(b"traceparent", b"00-1")]

    def test_grpc_status_and_content_length_are_in_the_head(self) -> None:
        decoder = Decoder(requests=False)
        opening = decoder.decode(b"\x88" + literal(b"content-length", b"5") + literal(b"grpc-status", b"7"))
        assert (opening.head.status, opening.head.content_length, opening.head.grpc_status) == (200, 5, 7)
        trailers = decoder.decode(literal(b"grpc-status", b"14") + literal(b"grpc-message", b"gone"), True)
        assert (trailers.head.kind, trailers.head.grpc_status) == (Kind.TRAILERS, 14)
        assert extras(trailers) == [(b"grpc-message", b"gone")]

    def test_position_decides_what_the_same_octets_mean(self) -> None:
        decoder = Decoder(requests=False)
        decoder.decode(b"\x88")
        with pytest.raises(StreamFault, match="not known"):
            decoder.decode(b"\x88", trailers=True)
        assert decoder.trailer_memo == {}

    def test_names_by_dynamic_index_go_on_in_full(self, decoder: Decoder) -> None:
        """The next hop has another table."""
        decoder.decode(STABLE + b"\x40" + string(b"x-a") + string(b"1"))
        block = decoder.decode(b"\x83\x86\xc0\xbf" + integer(62, 4, 0x10) + string(b"2", huffman=True))
        assert block.extra.wire == b"\x10" + string(b"x-a") + string(b"2", huffman=True)

    def test_fields_of_one_name_keep_their_order(self, decoder: Decoder) -> None:
        inserted = b"\x40" + string(b"x-a") + string(b"2")
        block = decoder.decode(STABLE + literal(b"x-b", b"0") + literal(b"x-a", b"1") + inserted)
        assert block.head.fields == (*POST_FIELDS, (b"x-b", b"0"), (b"x-a", b"1"), (b"x-a", b"2"))
        assert not block.extra

    def test_fields_of_other_names_may_change_places(self, decoder: Decoder) -> None:
        block = decoder.decode(STABLE + literal(b"x-b", b"0") + b"\x40" + string(b"x-a") + string(b"2"))
        assert block.head.fields == (*POST_FIELDS, (b"x-a", b"2"))
        assert extras(block) == [(b"x-b", b"0")]

    def test_promoted_names_are_always_in_the_head(self, decoder: Decoder) -> None:
        octets = STABLE + literal(b"x-user", b"ann")
        assert extras(decoder.decode(octets)) == [(b"x-user", b"ann")]
        decoder.promote(frozenset({b"x-user"}))
        assert octets not in decoder.memo
        assert decoder.decode(octets).head.fields == (*POST_FIELDS, (b"x-user", b"ann"))
        assert decoder.decode(STABLE + literal(b"x-user", b"bob")).head.value(b"x-user") == b"bob"
        decoder.promote(frozenset())
        assert extras(decoder.decode(octets)) == [(b"x-user", b"ann")]

    def test_promotion_reaches_names_in_the_dynamic_table(self, decoder: Decoder) -> None:
        decoder.decode(STABLE + b"\x40" + string(b"x-user") + string(b"ann"))
        decoder.promote(frozenset({b"x-user"}))
        block = decoder.decode(b"\x83\x86\xc0\xbf" + integer(62, 4, 0) + string(b"bob"))
        assert block.head.value(b"x-user") == b"bob"
        assert not block.extra

    def test_an_empty_block_is_a_request_without_method(self) -> None:
        with pytest.raises(StreamFault, match=":method"):
            Decoder(requests=True).decode(b"")
        assert Decoder(requests=True).decode(b"", trailers=True).head.fields == ()


class TestTraps:
    """traps 11 to 13: what a memo may hold, and what is looked at before it is copied."""

    def test_trap_11_a_memo_belongs_to_one_decoder(self, decoder: Decoder) -> None:
        decoder.decode(STABLE)
        other = Decoder(requests=True)
        other.decode(POST.replace(b"orders", b"secret"))
        assert STABLE not in other.memo
        assert other.decode(STABLE).head.authority == b"secret"

    @pytest.mark.parametrize(
        "block",
        [
            STABLE + b"\x40" + string(b"x-a") + string(b"1"),
            STABLE + b"\x7a" + string(b"a"),  # name by index
            b"\x20" + b"\x83\x86\x04\x02/a",
            b"\x3f\xe1\x1f" + STABLE,  # an update that changes nothing
        ],
        ids=["insert", "insert by name index", "resize to 0", "resize to the same"],
    )
    def test_trap_12_a_block_that_touches_the_table_is_never_memoised(
        self, decoder: Decoder, block: bytes
    ) -> None:
        decoder.decode(STABLE)
        decoder.decode(block)
        assert decoder.memo == {}
        assert block not in decoder.memo

    def test_trap_12_a_change_of_the_table_empties_the_memos(self, decoder: Decoder) -> None:
        memo, trailer_memo = decoder.memo, decoder.trailer_memo
        decoder.decode(STABLE + literal(b"x-a", b"1"))
        decoder.decode(literal(b"x-t", b"1"), trailers=True)
        assert memo
        assert trailer_memo
        decoder.decode(b"\x83\x86\x44\x02/b\x41\x06orders")
        assert decoder.memo is memo
        assert decoder.trailer_memo is trailer_memo
        assert memo == trailer_memo == {}
        assert decoder.decode(STABLE + literal(b"x-a", b"1")).head.path == b"/b"

    def test_trap_12_a_malformed_block_still_updates_the_table(self, decoder: Decoder) -> None:
        bad = b"\x40" + string(b"Bad Name") + string(b"1") + b"\x40" + string(b"x-a") + string(b"2")
        with pytest.raises(StreamFault, match="Bad Name"):
            decoder.decode(STABLE + bad)
        assert decoder.decode(b"\x83\x86\xc1\xc0\xbe").head.value(b"x-a") == b"2"

    def test_trap_12_a_malformed_block_is_malformed_each_time(self, decoder: Decoder) -> None:
        for _ in range(3):
            with pytest.raises(StreamFault):
                decoder.decode(STABLE + literal(b"x-a", b"1\r\n"))
        assert decoder.memo == {}

    @pytest.mark.parametrize("warm", [False, True], ids=["first", "after a good one"])
    @pytest.mark.parametrize(
        "bad",
        [
            literal(b"x-a", b"1\r\nx-admin: 1"),
            literal(b"x-a", b"1\r\nx-admin: 1", huffman=True),
            literal(b"x-a", b"\0"),
            literal(b"x-a", b" 1"),
            literal(b"x-a", b"1 "),
            literal(b"X-A", b"1"),
            literal(b"x a", b"1"),
            literal(b"", b"1"),
            literal(b":path", b"/admin"),
            literal(b":method", b"GET", huffman=True),
            literal(b"host", b"admin"),
            literal(b"connection", b"close"),
            literal(b"transfer-encoding", b"chunked"),
            literal(b"te", b"gzip"),
            literal(b"content-length", b"x"),
            literal(b"x-b", b"2") + literal(b":path", b"/admin"),
            literal(b"x-b", b"2") + b"\x84",
        ],
    )
    def test_trap_13_every_new_string_is_validated(self, decoder: Decoder, bad: bytes, warm: bool) -> None:
        if warm:
            decoder.decode(STABLE + literal(b"x-a", b"1"))
            decoder.decode(STABLE + literal(b"x-a", b"2"))
        with pytest.raises(StreamFault) as fault:
            decoder.decode(STABLE + bad)
        assert fault.value.code is ErrorCode.PROTOCOL_ERROR
        with pytest.raises(StreamFault):
            decoder.decode(STABLE + literal(b"x-a", b"1") + bad)

    def test_trap_13_a_pseudo_header_field_after_a_regular_one(self, decoder: Decoder) -> None:
        """Although the head, which is kept apart, would be in order."""
        for _ in range(2):
            with pytest.raises(StreamFault, match="not at this place"):
                decoder.decode(b"\x83\x86\xbe" + literal(b"x-a", b"1") + b"\xbf")

    def test_trap_12_a_known_name_may_still_be_inserted(self, decoder: Decoder) -> None:
        for number in range(3):
            decoder.decode(STABLE + literal(b"x-a", b"%d" % number))
        inserted = b"\x40" + string(b"x-a") + string(b"3")
        assert decoder.decode(STABLE + inserted).head.value(b"x-a") == b"3"
        assert decoder.decode(b"\x83\x86\xc0\xbf\xbe").head.value(b"x-a") == b"3"

    def test_trap_12_a_beginning_is_known_without_what_followed_it(self, decoder: Decoder) -> None:
        te = literal(b"te", b"trailers")
        assert decoder.decode(STABLE + literal(b"x-a", b"1") + te).head.value(b"te") == b"trailers"
        assert decoder.decode(STABLE + literal(b"x-a", b"2")).head.value(b"te") is None

    def test_trap_13_broken_huffman_padding_ends_the_connection(self, decoder: Decoder) -> None:
        decoder.decode(STABLE + literal(b"x-a", b"1"))
        with pytest.raises(ConnectionFault, match="padding") as fault:
            decoder.decode(STABLE + b"\0" + string(b"x-a") + b"\x81\x18")
        assert fault.value.code is ErrorCode.COMPRESSION_ERROR

    def test_trap_13_never_indexed_stays_never_indexed(self, decoder: Decoder) -> None:
        decoder.promote(frozenset({b"x-key"}))
        for _ in range(2):
            plain = decoder.decode(STABLE + literal(b"x-key", b"1"))
            never = decoder.decode(STABLE + literal(b"x-key", b"1", never=True))
            assert type(never.head.fields[-1]) is NeverIndexed
            assert type(plain.head.fields[-1]) is tuple
            assert plain.head is not never.head

    def test_trap_13_tokens_that_a_peer_inserted_go_on_never_indexed(self, decoder: Decoder) -> None:
        block = decoder.decode(STABLE + b"\x40" + string(b"authorization") + string(b"Bearer x"))
        assert block.extra.wire == literal(b"authorization", b"Bearer x", never=True)

    def test_spaces_inside_a_value_are_fine(self, decoder: Decoder) -> None:
        for value in (b"identity, deflate", b"a\tb"):
            assert extras(decoder.decode(STABLE + literal(b"x-a", value))) == [(b"x-a", value)]


class TestShapes:
    """Values of a known length are compared, not walked: only what is surely right may pass that way."""

    def known(self, decoder: Decoder) -> None:
        for number in range(3):
            decoder.decode(STABLE + literal(b"x-a", b"a b%d" % number) + literal(b"x-b", b"%d" % number))
        assert decoder._header_section.shapes

    def test_new_values_of_the_old_length(self, decoder: Decoder) -> None:
        self.known(decoder)
        block = decoder.decode(STABLE + literal(b"x-a", b"c d4") + literal(b"x-b", b"5"))
        assert extras(block) == [(b"x-a", b"c d4"), (b"x-b", b"5")]
        assert block.head is decoder.decode(STABLE).head

    @pytest.mark.parametrize("before", [b"", literal(b"grpc-timeout", b"1S")])
    def test_they_say_where_a_traceparent_ends(self, decoder: Decoder, before: bytes) -> None:
        for number in range(5):
            value = b"00-%032x-%016x-0%d" % (number + 1, number + 1, number % 2)
            extra = decoder.decode(STABLE + before + literal(b"traceparent", value)).extra
        assert extra.trace_at > 0 and extra.wire[: extra.trace_at + 1].endswith(value)
        for _ in range(3):
            extra = decoder.decode(STABLE + before + literal(b"traceparent", value[:-3])).extra
        assert extra.trace_at == 0, "another version, perhaps"

    def test_they_say_that_there_is_no_context(self, decoder: Decoder) -> None:
        def last(name: bytes, value: bytes = b"%dS") -> int:
            blocks = [STABLE + literal(name, value % number) for number in range(1, 6)]
            return [decoder.decode(block).extra.trace_at for block in blocks][-1]

        assert last(b"grpc-timeout") == NO_TRACE
        assert last(b"b3", b"4bf92f3577%d") == 0, "as long as the deadline was, and a context perhaps"
        assert last(b"x-b3-traceid") == 0

    def test_the_beginning_may_be_any_known_one(self, decoder: Decoder) -> None:
        self.known(decoder)
        for octets in (STABLE, b"\x83\x87\xbf\xbe", STABLE, b"\x83\x87\xbf\xbe"):
            block = decoder.decode(octets + literal(b"x-a", b"c d5") + literal(b"x-b", b"6"))
            assert block.head.scheme == {0x86: b"http", 0x87: b"https"}[octets[1]]

    @pytest.mark.parametrize(
        "octets",
        [
            literal(b"x-a", b"a\nb0") + literal(b"x-b", b"0"),
            literal(b"x-a", b"a b\r") + literal(b"x-b", b"0"),
            literal(b"x-a", b"a b ") + literal(b"x-b", b"0"),
            literal(b"x-a", b" a b") + literal(b"x-b", b"0"),
            literal(b"x-a", b"a b0") + literal(b"x-b", b"\0"),
            literal(b"x-a", b"a b0") + literal(b"x-b", b"\t"),
            literal(b"x-A", b"a b0") + literal(b"x-b", b"0"),
            literal(b"x-a", b"a b0") + literal(b"x:b", b"0"),
            literal(b"x-a", b"a b0") + literal(b"te", b"00"),
            literal(b":me", b"a b0") + literal(b"x-b", b"0"),
        ],
    )
    def test_trap_13_bad_octets_of_the_old_length(self, decoder: Decoder, octets: bytes) -> None:
        self.known(decoder)
        with pytest.raises(StreamFault):
            decoder.decode(STABLE + octets)

    def test_another_split_of_the_same_length(self, decoder: Decoder) -> None:
        self.known(decoder)
        block = decoder.decode(STABLE + literal(b"x-a", b"a") + literal(b"x-b", b"0234"))
        assert extras(block) == [(b"x-a", b"a"), (b"x-b", b"0234")]
        never = decoder.decode(STABLE + literal(b"x-a", b"a b0", never=True) + literal(b"x-b", b"0"))
        assert [field.never_indexed for field in never.extra] == [True, False]

    def test_huffman_coded_values_are_always_decoded(self, decoder: Decoder) -> None:
        for number in range(3):
            decoder.decode(STABLE + literal(b"x-a", b"%d" % number, huffman=True))
        with pytest.raises(ConnectionFault, match="padding"):
            decoder.decode(STABLE + b"\0" + string(b"x-a", True) + b"\x81\x06")

    def test_a_larger_head_leaves_less_room(self) -> None:
        decoder = Decoder(requests=True, header_list_max=600)
        decoder.decode(POST)
        decoder.decode(b"\x83\x86\xbf\x41" + string(b"o" * 400))
        large = b"\x83\x86\xc0\xbe"
        for number in range(3):
            decoder.decode(b"\x83\x86\xc0\xbf" + literal(b"x-a", b"1234%d" % number))
        assert decoder.decode(large).head.size + 40 > 600
        with pytest.raises(HeaderListTooLarge):
            decoder.decode(large + literal(b"x-a", b"12345"))

    def test_trap_12_a_change_of_the_table_empties_them(self, decoder: Decoder) -> None:
        self.known(decoder)
        decoder.decode(b"\x83\x86\x44\x02/b\x41\x06orders")
        assert decoder._header_section.shapes == {}
        assert decoder.decode(STABLE + literal(b"x-a", b"a b9") + literal(b"x-b", b"9")).head.path == b"/b"

    def test_trap_11_promotion_empties_them(self, decoder: Decoder) -> None:
        self.known(decoder)
        decoder.promote(frozenset({b"x-b"}))
        decoder.decode(STABLE)
        for user in (b"1", b"2", b"3", b"2"):
            block = decoder.decode(STABLE + literal(b"x-a", b"a b9") + literal(b"x-b", user))
            assert block.head.value(b"x-b") == user


class TestCompressionErrors:
    @pytest.mark.parametrize(
        "octets",
        [
            b"\x80",
            b"\xff\x00\x00"[:1],
            b"\xc0",  # beyond the table
            b"\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x7f\xff\xff\xff\x01\x01a",
            b"\x00",
            b"\x00\x03ab",
            b"\x00\x01a",
            b"\x00\x01a\x05bc",
            b"\x00\x7f",
            b"\x0f",
            b"\x0f\xf0\x01\x00",
            b"\x3f\xe2\x1f",  # 4097
            STABLE + b"\x20",
            literal(b"x-a", b"1") + b"\x20",
            STABLE + literal(b"x-a", b"1")[:-1],
            STABLE + literal(b"x-a", b"1") + b"\x00",
            STABLE + literal(b"x-a", b"1") + b"\x00\x03x-a",
            STABLE + literal(b"x-a", b"1") + b"\x00\x03x-a\x7f",
        ],
    )
    def test_they_end_the_connection(self, decoder: Decoder, octets: bytes) -> None:
        decoder.decode(STABLE + literal(b"x-a", b"1"))
        with pytest.raises(ConnectionFault) as fault:
            decoder.decode(octets)
        assert fault.value.code is ErrorCode.COMPRESSION_ERROR

    def test_our_setting_bounds_the_table(self) -> None:
        decoder = Decoder(requests=True, table_size_max=8192)
        peer = Peer()
        assert decoder.decode(peer.resize(8192) + b"\x83\x86\x84").head.path == b"/"
        with pytest.raises(ConnectionFault, match="SETTINGS_HEADER_TABLE_SIZE"):
            decoder.decode(peer.resize(8193) + b"\x83\x86\x84")


class TestLimits:
    def test_the_header_list_has_a_bound_and_the_table_survives_it(self) -> None:
        decoder = Decoder(requests=True, header_list_max=300)
        decoder.decode(POST)  # 170 octets by RFC 9113 section 6.5.2
        inserted = b"\x40" + string(b"x-a") + string(b"1")  # 36
        for octets in (literal(b"x-b", b"2" * 60), literal(b"grpc-status", b"1" * 60)):
            with pytest.raises(HeaderListTooLarge):
                decoder.decode(b"\x83\x86\xbf\xbe" + literal(b"x-b", b"2" * 60) + octets)
        with pytest.raises(HeaderListTooLarge):
            decoder.decode(STABLE + inserted + literal(b"x-b", b"2" * 60))
        assert decoder.decode(b"\x83\x86\xc0\xbf\xbe").head.value(b"x-a") == b"1"

    def test_the_bound_is_exact(self) -> None:
        decoder = Decoder(requests=True)
        size = decoder.decode(POST).head.size
        for limit, warm in ((size + 36, False), (size + 36, True)):
            decoder = Decoder(requests=True, header_list_max=limit)
            decoder.decode(POST)
            if warm:
                decoder.decode(STABLE + literal(b"x-a", b"0"))
            assert extras(decoder.decode(STABLE + literal(b"x-a", b"1"))) == [(b"x-a", b"1")]
            for huffman in (False, True):
                with pytest.raises(HeaderListTooLarge):
                    decoder.decode(STABLE + literal(b"x-a", b"12", huffman=huffman))

    def test_an_index_bomb_is_too_large(self, decoder: Decoder) -> None:
        with pytest.raises(HeaderListTooLarge):
            decoder.decode(b"\x90" * 8000)
        assert decoder.decode(STABLE).head.authority == b"orders"

    def test_one_of_octets_only_ends_the_connection(self, decoder: Decoder) -> None:
        with pytest.raises(ConnectionFault) as fault:
            decoder.decode(b"\x90" * 16_000)
        assert fault.value.code is ErrorCode.ENHANCE_YOUR_CALM

    def test_a_table_entry_may_be_repeated_up_to_the_bound_only(self) -> None:
        decoder = Decoder(requests=True)
        decoder.decode(POST)
        decoder.decode(STABLE + b"\x40" + string(b"x-a") + string(b"v" * 3000))
        with pytest.raises(HeaderListTooLarge):
            decoder.decode(b"\x83\x86\xc0\xbf" + b"\xbe" * 30)

    def test_an_absurd_block_is_not_even_walked(self) -> None:
        decoder = Decoder(requests=True, header_list_max=100)
        with pytest.raises(ConnectionFault) as fault:
            decoder.decode(b"\x82" * (HEADER_LIST_BYTES_MAX * BLOCK_PER_LIST_MAX + 1))
        assert fault.value.code is ErrorCode.ENHANCE_YOUR_CALM

    def test_a_flood_of_novel_blocks_leaves_the_memos_small(self, decoder: Decoder) -> None:
        for number in range(3 * MEMO_ENTRIES_MAX):
            text = b"%d" % number
            decoder.decode(STABLE + literal(b"x-a", text) + literal(b"x-" + text, text))
            decoder.decode(b"\x83\x86\xbe\x04" + string(b"/" + text))
        assert len(decoder.memo) <= MEMO_ENTRIES_MAX
        section = decoder._header_section
        assert len(section.beginnings) <= BEGINNINGS_MAX
        assert len(section.shapes) <= SHAPES_MAX
        assert len(section.heads) <= HEADS_MAX
        assert len(decoder._reader.free_names) <= len(decoder._reader._names) <= MEMO_ENTRIES_MAX

    @pytest.mark.parametrize("vary", ["value", "length", "path"])
    def test_the_memo_is_bounded_in_octets(self, decoder: Decoder, vary: str) -> None:
        for number in range(100):
            large = literal(
                b"x-a", b"%03d" % number + b"v" * (number if vary == "length" else 0) + b"v" * 3000
            )
            path = b"\x04" + string(b"/%d" % number) if vary == "path" else b"\xbf"
            decoder.decode(b"\x83\x86" + path + b"\xbe" + large)
            assert 0 < sum(map(len, decoder.memo)) <= MEMO_BYTES_MAX

    def test_large_blocks_are_not_memoised(self, decoder: Decoder) -> None:
        decoder.decode(STABLE + literal(b"x-a", b"v" * MEMO_BLOCK_BYTES_MAX))
        decoder.decode(STABLE + literal(b"te", b"trailers") + literal(b"x-a", b"v" * MEMO_BLOCK_BYTES_MAX))
        assert decoder.memo == {}


class TestAppendixC:
    """RFC 7541 appendix C.3 to C.6: the worked examples."""

    REQUESTS = (
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    )
    REQUESTS_HUFFMAN = (
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    )

    @pytest.mark.parametrize("octets", [REQUESTS, REQUESTS_HUFFMAN], ids=["C.3", "C.4"])
    def test_requests(self, octets: tuple[str, str, str]) -> None:
        decoder = Decoder(requests=True)
        start = (
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"www.example.com"),
        )
        first, second, third = [decoder.decode(bytes.fromhex(text)).head for text in octets]
        assert first.fields == start
        assert second.fields == (*start, (b"cache-control", b"no-cache"))
        assert third.fields == (
            start[0],
            (b":scheme", b"https"),
            (b":path", b"/index.html"),
            start[3],
            (b"custom-key", b"custom-value"),
        )

    RESPONSES = (
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
        "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d"
        "4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b20766572"
        "73696f6e3d31",
    )
    RESPONSES_HUFFMAN = (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b"
        "97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdf"
        "cd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    )

    @pytest.mark.parametrize("octets", [RESPONSES, RESPONSES_HUFFMAN], ids=["C.5", "C.6"])
    def test_responses_with_eviction(self, octets: tuple[str, str, str]) -> None:
        decoder = Decoder(requests=False)
        decoder.decode(integer(256, 5, 0x20) + b"\x88")
        first, second, third = [decoder.decode(bytes.fromhex(text)) for text in octets]
        assert first.head.status == 302
        assert first.head.value(b"location") == b"https://www.example.com"
        assert extras(first) == [(b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")]
        assert second.head.status == 307
        assert second.head.value(b"date") == b"Mon, 21 Oct 2013 20:13:21 GMT"
        assert third.head.fields == (
            (b":status", b"200"),
            (b"cache-control", b"private"),
            (b"location", b"https://www.example.com"),
            (b"content-encoding", b"gzip"),
        )
        assert extras(third) == [
            (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
            (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
        ]


def test_a_whole_conversation_is_said_in_any_way() -> None:
    """Each representation of the same list is the same head."""
    fields = [*POST_FIELDS, (b"te", b"trailers"), (b"user-agent", b"x")]
    peer, decoder = Peer(), Decoder(requests=True, promoted=frozenset({b"user-agent"}))
    heads = {
        id(decoder.decode(peer.say([Saying(field, how, by_index, huffman) for field in fields])).head)
        for how in (How.PLAIN, How.INSERTED, How.INDEXED)
        for by_index in (False, True)
        for huffman in (False, True)
    }
    assert len(heads) == 1

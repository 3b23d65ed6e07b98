"""RFC 7541: what a header block may be made of, as the decoder reads it and as a connection ends by it.

A key begins with its section.
"""

import asyncio

import pytest
from hpack.table import HeaderTable

from sidecar.h2.block import Block
from sidecar.h2.decoder import Decoder
from sidecar.h2.errors import ConnectionFault, ErrorCode
from sidecar.h2.primitives import decode_integer, encode_integer
from sidecar.h2.static import STATIC_TABLE
from tests.support.hpack_peer import integer, literal, string
from tests.support.link import Link
from tests.support.wire import END_HEADERS, GRPC, HEAD_OK, HEADERS, frame

# A request that says nothing but what it must: POST, http, /, authority "a".
HEAD = b"\x83\x86\x84\x01\x01a"

BROKEN: dict[str, bytes] = {
    "2.3.3 an index beyond both tables": HEAD + b"\xbe",
    "2.3.3 an index far beyond": HEAD + integer(1 << 30, 7, 0x80),
    "2.3.3 the name of an entry beyond": HEAD + b"\x7f\x00\x01v",
    "4.2 a size update after a field": HEAD + b"\x20",
    "4.2 a size update over our setting": integer(4097, 5, 0x20) + HEAD,
    "5.1 an integer that does not end": HEAD + b"\xff\x80\x80\x80\x80\x80\x80\x01",
    "5.1 an integer of 2^70": HEAD + b"\x7f" + b"\xff" * 9 + b"\x7f",
    "5.1 an integer cut off": HEAD + b"\xff\x80",
    "5.1 a length over all bounds": HEAD + b"\x00\x7f\xff\xff\xff\xff\x0f",
    "5.2 a string longer than its block": HEAD + b"\x00\x05abc",
    "5.2 a value longer than its block": HEAD + b"\x00\x01a\x05abc",
    "5.2 a name without its value": HEAD + b"\x00\x01a",
    "5.2 padding of a whole octet": HEAD + b"\x00\x01a\x82\x1f\xff",
    "5.2 padding that is not of ones": HEAD + b"\x00\x01a\x81\x00",
    "5.2 EOS within a string": HEAD + b"\x00\x01a\x84\xff\xff\xff\xff",
    "6.1 index 0": HEAD + b"\x80",
    "6.2.1 an insertion cut off": HEAD + b"\x40",
    "6.2.2 a literal cut off": HEAD + b"\x0f",
    "6.2.3 a never-indexed literal cut off": HEAD + b"\x1f\xff",
    "6.3 a size update cut off": b"\x3f\xff",
}


@pytest.mark.parametrize("block", BROKEN.values(), ids=BROKEN.keys())
def test_blocks_that_do_not_decode(block: bytes) -> None:
    """RFC 7541 sections 2.3.3, 4.2, 5.1, 5.2, 6.1 and 6.3: decoding errors, even where a memo knows the
    beginning."""
    fresh, warm = Decoder(requests=True), Decoder(requests=True)
    for more in (b"", literal(b"x-a", b"1"), literal(b"x-b", b"22")):
        warm.decode(HEAD + more)
    for decoder in (fresh, warm):
        with pytest.raises(ConnectionFault) as fault:
            decoder.decode(block)
        assert fault.value.code is ErrorCode.COMPRESSION_ERROR


async def test_they_end_a_connection_of_a_caller(server: Link) -> None:
    """RFC 7541 section 2.2, RFC 9113 section 4.3: COMPRESSION_ERROR, whatever the stream was."""

    async def wrong(name: str, block: bytes) -> str:
        caller = await server.caller()
        await caller.pinged()
        caller.send(frame(HEADERS, END_HEADERS, 1, block))
        try:
            await caller.goaway(ErrorCode.COMPRESSION_ERROR)
        except AssertionError as error:
            return f"{name}: {error}"
        return ""

    said = await asyncio.gather(*(wrong(*case) for case in BROKEN.items()))
    assert [problem for problem in said if problem] == []
    assert server.app.requests() == 0


async def test_they_end_a_connection_of_an_application(client: Link) -> None:
    """RFC 9113 section 4.3: in responses, trailers, and on streams that are no more."""
    caller = await client.caller()
    for number, block in enumerate((b"\x88\xff\x80", b"\x88\x80", b"\x88\x00\x01a\x81\x00")):
        sid = 6 * number + 1
        app, there = await client.request(caller, sid)
        app.send(frame(HEADERS, END_HEADERS, there, block))
        await app.goaway(ErrorCode.COMPRESSION_ERROR)
        app, there = await client.request(caller, sid + 2)
        app.headers(there, HEAD_OK)
        app.send(frame(HEADERS, END_HEADERS | 1, there, block))
        await app.goaway(ErrorCode.COMPRESSION_ERROR)
        app, there = await client.request(caller, sid + 4)
        caller.reset(sid + 4)
        await app.over(there)
        app.send(frame(HEADERS, END_HEADERS | 1, there, block))
        await app.goaway(ErrorCode.COMPRESSION_ERROR)
    assert not caller.goaways


def fields(block: Block) -> list[tuple[bytes, bytes]]:
    return [*map(tuple, block.head.fields), *((one.name, one.value()) for one in block.extra)]  # type: ignore[list-item]


def test_the_static_table() -> None:
    """RFC 7541 section 2.3.1 and appendix A: 61 entries, as another implementation knows them."""
    assert list(STATIC_TABLE) == list(HeaderTable.STATIC_TABLE)
    decoder = Decoder(requests=False)
    for index, (name, value) in enumerate(STATIC_TABLE, 1):
        if not name.startswith(b":") and name not in (b"transfer-encoding", b"content-length"):
            read = fields(decoder.decode(b"\x88" + integer(index, 7, 0x80)))
            assert read == [(b":status", b"200"), (name, value)]


def test_the_dynamic_table_is_first_in_first_out() -> None:
    """RFC 7541 sections 2.3.2, 2.3.3 and 3.2: index 62 is the newest, duplicates stay, order is kept."""
    decoder = Decoder(requests=True)
    decoder.decode(HEAD + b"\x40" + string(b"x-a") + string(b"1") + b"\x40" + string(b"x-b") + string(b"2"))
    decoder.decode(HEAD + b"\x40" + string(b"x-a") + string(b"1"))
    read = fields(decoder.decode(HEAD + b"\xbe\xbf\xc0"))[4:]
    assert read == [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"1")]
    with pytest.raises(ConnectionFault):
        decoder.decode(HEAD + b"\xc1")


def test_sizes_and_eviction() -> None:
    """RFC 7541 sections 4.1 and 4.4: 32 octets on top of name and value; what no longer fits goes, oldest
    first; an entry larger than the table empties it, and is no error."""
    decoder = Decoder(requests=True)
    decoder.decode(integer(32 + 4 + 32 + 4, 5, 0x20) + HEAD)
    insert = lambda name: b"\x40" + string(name) + string(b"v")  # noqa: E731
    decoder.decode(HEAD + insert(b"x-a") + insert(b"x-b"))
    assert fields(decoder.decode(HEAD + b"\xbf"))[4:] == [(b"x-a", b"v")]
    decoder.decode(HEAD + insert(b"x-c"))
    assert fields(decoder.decode(HEAD + b"\xbe\xbf"))[4:] == [(b"x-c", b"v"), (b"x-b", b"v")]
    decoder.decode(HEAD + b"\x40" + string(b"x-d") + string(b"v" * 100))
    with pytest.raises(ConnectionFault):
        decoder.decode(HEAD + b"\xbe")


def test_a_new_entry_may_take_its_name_from_one_it_evicts() -> None:
    """RFC 7541 section 4.4: the name must be taken before the entry goes."""
    decoder = Decoder(requests=True)
    decoder.decode(integer(40, 5, 0x20) + HEAD + b"\x40" + string(b"x-a") + string(b"1"))
    decoder.decode(HEAD + b"\x7e" + string(b"2"))
    assert fields(decoder.decode(HEAD + b"\xbe"))[4:] == [(b"x-a", b"2")]


def test_size_updates() -> None:
    """RFC 7541 sections 4.2, 4.3 and 6.3: two before a block, of which the smaller evicts; 0 empties; up to
    our setting again."""
    decoder = Decoder(requests=True)
    decoder.decode(HEAD + b"\x40" + string(b"x-a") + string(b"1"))
    decoder.decode(b"\x20" + integer(4096, 5, 0x20) + HEAD)
    with pytest.raises(ConnectionFault):
        decoder.decode(HEAD + b"\xbe")


def test_integers() -> None:
    """RFC 7541 section 5.1 and appendix C.1: 10 and 1337 with 5 bits, 42 with 8; zeros may be added."""
    for value, bits, octets in ((10, 5, b"\x0a"), (1337, 5, b"\x1f\x9a\x0a"), (42, 8, b"\x2a")):
        assert encode_integer(value, bits) == octets
        assert decode_integer(octets, 0, (1 << bits) - 1) == (value, len(octets))
    assert decode_integer(b"\x1f\x80\x80\x00", 0, 31) == (31, 4)


def test_representations() -> None:
    """RFC 7541 sections 6.1, 6.2.1, 6.2.2 and 6.2.3, appendix C.2: each form, name by index and by string."""
    decoder = Decoder(requests=True)
    for octets, expected, inserted in (
        (b"\x40\x0acustom-key\x0dcustom-header", (b"custom-key", b"custom-header"), True),
        (b"\x0f\x02\x05gzip!", (b"accept-language", b"gzip!"), False),
        (b"\x10\x08password\x06secret", (b"password", b"secret"), False),
        (b"\x10\x82\x94\xe7\x01x", (b"foo", b"x"), False),
        (b"\x7a\x01u", (b"user-agent", b"u"), True),
    ):
        size = len(decoder._reader._table.entries)
        assert fields(decoder.decode(HEAD + octets))[4:] == [expected]
        assert (len(decoder._reader._table.entries) > size) is inserted


async def test_never_indexed_all_the_way(link: Link) -> None:
    """RFC 7541 sections 6.2.3 and 7.1.3: an intermediary keeps the representation, both ways."""
    caller = await link.caller()
    block = caller.block([*GRPC, ("x-tag", "never")]) + b"\x10" + string(b"x-secret") + string(b"42")
    caller.send(frame(HEADERS, END_HEADERS | 1, 1, block))
    app, sid = await link.find("never")
    app.send(frame(HEADERS, END_HEADERS | 1, sid, b"\x88\x10" + string(b"x-secret") + string(b"43")))
    await caller.over(1)
    for wire, stream, value in ((app, sid, b"42"), (caller, 1, b"43")):
        (sent,) = [payload for kind, _, s, payload in wire.frames if (kind, s) == (HEADERS, stream)]
        assert b"\x10" + string(b"x-secret") + string(value) in sent


async def test_their_table_size_is_obeyed(link: Link) -> None:
    """RFC 7541 sections 4.2 and 4.3: a smaller SETTINGS_HEADER_TABLE_SIZE is announced in the next block; the
    oracle's decoder would fail otherwise."""
    caller = await link.caller()
    link.app._values = ((1, 0),)
    app, sid = await link.request(caller, 1)
    for number, size in enumerate((4096, 100, 0, 64, 4096)):
        for wire in (caller, app):
            wire.send(frame(4, 0, 0, b"\x00\x01" + size.to_bytes(4, "big")))
            await wire.pinged()
            wire._decoder.max_allowed_table_size = size
        for more in (3, 5):
            ours = 10 * number + more
            app, sid = await link.request(caller, ours, [*GRPC, ("x-repeats", "v" * 60)])
            app.headers(sid, [*HEAD_OK, ("x-repeats", "v" * 60)], end=True)
            assert (await caller.over(ours)).blocks[0]["x-repeats"] == "v" * 60
    assert not caller.goaways and not app.goaways

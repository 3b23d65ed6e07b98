"""RFC 9113 sections 4 and 6: each frame type's sizes, stream ids and flags, as server and as client.

A key begins with its section; the error is what that section names.
"""

import asyncio

from sidecar.h2.errors import ErrorCode
from tests.support.link import Link
from tests.support.waiting import until
from tests.support.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    GRPC,
    HEAD_OK,
    HEADERS,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    TRAILERS_OK,
    WINDOW_UPDATE,
    frame,
    settings,
    u32,
)

P, F, S = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR, ErrorCode.STREAM_CLOSED
FC, C = ErrorCode.FLOW_CONTROL_ERROR, ErrorCode.COMPRESSION_ERROR

# What ends a connection whoever sends it. Stream 1 is open where the engine is the client, idle where it is
# the server; stream 99 is idle everywhere.
EITHER_WAY = {
    "4.2 a frame over SETTINGS_MAX_FRAME_SIZE": (frame(DATA, 0, 1, bytes(16_385)), F),
    "4.2 an unknown frame over the size": (frame(0xEE, 0, 0, bytes(16_385)), F),
    "4.2 DATA too short for its pad length": (frame(DATA, PADDED, 99, b""), P),
    "4.2 HEADERS too short for its pad length": (frame(HEADERS, END_HEADERS | PADDED, 1), F),
    "4.2 HEADERS too short for its priority": (frame(HEADERS, END_HEADERS | PRIORITISED, 1, bytes(4)), F),
    "4.3 a block that does not decode": (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\x7f"), C),
    "4.3 a block that ends in a field": (frame(HEADERS, END_HEADERS, 1, b"\x82\x40\x03ab"), C),
    "5.1 DATA on an idle stream": (frame(DATA, 0, 99, b"x"), P),
    "6.1 DATA on stream 0": (frame(DATA, 0, 0, b"x"), P),
    "6.2 HEADERS on stream 0": (frame(HEADERS, END_HEADERS, 0, b"\x82"), P),
    "6.2 padding longer than HEADERS": (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09\x82"), P),
    "6.2 padding that leaves no priority": (
        frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, b"\x01" + bytes(5)),
        P,
    ),
    "6.3 PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), P),
    "6.3 PRIORITY of 4 octets": (frame(PRIORITY, 0, 99, bytes(4)), F),
    "6.4 RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, u32(8)), P),
    "6.4 RST_STREAM on an idle stream": (frame(RST_STREAM, 0, 99, u32(8)), P),
    "6.4 RST_STREAM of 3 octets": (frame(RST_STREAM, 0, 1, bytes(3)), F),
    "6.4 RST_STREAM of 5 octets": (frame(RST_STREAM, 0, 1, bytes(5)), F),
    "6.5 SETTINGS on a stream": (frame(SETTINGS, 0, 1, b""), P),
    "6.5 SETTINGS of 5 octets": (frame(SETTINGS, 0, 0, bytes(5)), F),
    "6.5 SETTINGS acknowledgement with a payload": (frame(SETTINGS, 1, 0, bytes(6)), F),
    "6.5.2 ENABLE_PUSH 2": (settings((2, 2)), P),
    "6.5.2 INITIAL_WINDOW_SIZE 2^31": (settings((4, 2**31)), FC),
    "6.5.2 MAX_FRAME_SIZE 16383": (settings((5, 16_383)), P),
    "6.5.2 MAX_FRAME_SIZE 2^24": (settings((5, 2**24)), P),
    "6.6 PUSH_PROMISE, which nobody may send us": (frame(PUSH_PROMISE, END_HEADERS, 1, u32(2)), P),
    "6.7 PING on a stream": (frame(PING, 0, 1, bytes(8)), P),
    "6.7 PING of 7 octets": (frame(PING, 0, 0, bytes(7)), F),
    "6.7 PING of 9 octets": (frame(PING, 0, 0, bytes(9)), F),
    "6.8 GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), P),
    "6.8 GOAWAY of 7 octets": (frame(GOAWAY, 0, 0, bytes(7)), F),
    "6.9 WINDOW_UPDATE of 0 for the connection": (frame(WINDOW_UPDATE, 0, 0, u32(0)), P),
    "6.9 WINDOW_UPDATE of 3 octets": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), F),
    "6.9 WINDOW_UPDATE of 5 octets": (frame(WINDOW_UPDATE, 0, 1, bytes(5)), F),
    "6.9 WINDOW_UPDATE on an idle stream": (frame(WINDOW_UPDATE, 0, 99, u32(1)), P),
    "6.9.1 connection window over 2^31-1": (frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)), FC),
    "6.10 CONTINUATION after nothing": (frame(CONTINUATION, END_HEADERS, 1, b""), P),
    "6.10 CONTINUATION on stream 0": (frame(CONTINUATION, END_HEADERS, 0, b""), P),
    "6.10 CONTINUATION after a whole block": (
        frame(HEADERS, END_HEADERS, 1, b"\x88") + frame(CONTINUATION, END_HEADERS, 1, b""),
        P,
    ),
    "6.10 a block interrupted": (frame(HEADERS, 0, 1, b"\x82") + frame(PING, 0, 0, bytes(8)), P),
    "6.10 a block interrupted by DATA": (frame(HEADERS, 0, 1, b"\x82") + frame(DATA, 0, 1, b""), P),
    "6.10 a block interrupted by an unknown frame": (frame(HEADERS, 0, 1, b"\x82") + frame(0xEE), P),
    "6.10 a block continued elsewhere": (
        frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, END_HEADERS, 3, b""),
        P,
    ),
}
FROM_CLIENTS = {
    "5.1.1 a client opens an even stream": (frame(HEADERS, END_HEADERS, 2, b"\x82\x86\x84"), P),
}
FROM_SERVERS = {
    "5.1.1 a server opens a stream": (frame(HEADERS, END_HEADERS, 2, b"\x88"), P),
    "5.1.1 a server answers what was not asked": (frame(HEADERS, END_HEADERS, 99, b"\x88"), P),
    "6.1 padding longer than DATA": (frame(DATA, PADDED, 1, b"\x05abcd"), P),
    "6.1 DATA without its pad length": (frame(DATA, PADDED, 1, b""), F),
    "6.5.2 ENABLE_PUSH from a server": (settings((2, 1)), P),
}


async def test_what_clients_may_not_send(server: Link) -> None:
    """RFC 9113 section 5.4.1: GOAWAY with the code, then the end; other connections are not touched."""

    async def wrong(name: str, sent: bytes, code: ErrorCode) -> str:
        caller = await server.caller()
        await caller.pinged()
        caller.send(sent)
        try:
            await caller.goaway(code)
        except AssertionError as error:
            return f"{name}: {error}"
        return ""

    cases = EITHER_WAY | FROM_CLIENTS
    said = await asyncio.gather(*(wrong(name, *case) for name, case in cases.items()))
    assert [problem for problem in said if problem] == []
    await server.serves()


async def test_what_servers_may_not_send(client: Link) -> None:
    """RFC 9113 section 5.4.1: the request that ran ends as failed, and the next is served on a new
    connection."""
    caller = await client.caller()
    wrong = []
    for number, (name, (sent, code)) in enumerate((EITHER_WAY | FROM_SERVERS).items()):
        app, sid = await client.request(caller, 2 * number + 1)
        assert sid == 1, f"{name}: not on a connection of its own"
        app.send(sent)
        try:
            await app.goaway(code)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
        heard = await caller.over(2 * number + 1)
        assert heard.blocks and heard.blocks[-1]["grpc-status"] != "0", name
    assert wrong == []
    assert not caller.goaways
    await client.serves()


async def test_padding_of_a_request(server: Link) -> None:
    """RFC 9113 section 6.1: more than is left ends the connection; section 4.2: and so does its absence."""
    for payload, code in ((b"\x05abcd", P), (b"", F), (b"\x00", None), (b"\x04abcd", None)):
        caller, app, sid = await server.opened()
        caller.send(frame(DATA, PADDED | END_STREAM, 1, payload))
        if code is not None:
            await caller.goaway(code)
        else:
            assert (await app.over(sid)).data == b""


async def test_unknown_frames_and_flags_are_ignored(link: Link) -> None:
    """RFC 9113 sections 4.1, 5.5 and 6.2: unknown types anywhere but in a block, undefined flags, and the
    reserved bit of stream ids; both ways."""
    caller = await link.caller()
    caller.send(frame(0xBE, 0xFF, 7, b"?"))
    fields = [*GRPC, ("x-tag", "reserved")]
    caller.send(frame(HEADERS, END_HEADERS | 0x40, 0x8000_0001, caller.block(fields)))
    caller.send(frame(DATA, 0xF0 & ~PADDED, 0x8000_0001, b"reserved bit"))
    app, sid = await link.find("reserved")
    caller.send(frame(PING, 0xFE, 0x8000_0000, bytes(8)))
    caller.send(frame(WINDOW_UPDATE, 0xFF, 0x8000_0001, u32(0x8000_0001)))
    caller.data(1, b"", end=True)
    assert (await app.over(sid)).data == b"reserved bit"
    app.send(frame(0xBE, 0xFF, sid, b"?"))
    app.send(frame(HEADERS, END_HEADERS | 0x42, 0x8000_0000 | sid, app.block(HEAD_OK)))
    app.send(frame(SETTINGS, 0xFE, 0x8000_0000, b""))
    app.data(sid, b"back")
    app.headers(sid, TRAILERS_OK, end=True)
    heard = await caller.over(1)
    assert heard.data == b"back" and not caller.goaways and not app.goaways


async def test_header_blocks_in_every_cut(link: Link) -> None:
    """RFC 9113 sections 4.3, 6.2, 6.10: padding, priority and CONTINUATION, even empty, change nothing."""
    caller = await link.caller()
    sid = -1
    for flags, before, after in (
        (0, b"", b""),
        (PADDED, b"\x03", bytes(3)),
        (PRIORITISED, bytes(5), b""),
        (PADDED | PRIORITISED, b"\x02" + bytes(5), bytes(2)),
    ):
        for pieces in (1, 2, 4):
            sid += 2
            tag = f"cut-{sid}"
            block = caller.block([*GRPC, ("x-tag", tag)])
            size = -(-len(block) // pieces)
            parts = [block[at : at + size] for at in range(0, len(block), size)]
            parts[1:1] = [b""] if pieces > 1 else []
            whole = END_HEADERS if len(parts) == 1 else 0
            caller.send(frame(HEADERS, flags | whole | END_STREAM, sid, before + parts[0] + after))
            for number, part in enumerate(parts[1:], 2):
                last = END_HEADERS if number == len(parts) else 0
                caller.send(frame(CONTINUATION, last, sid, part))
            app, there = await link.find(tag)
            await until(lambda app=app, there=there: app.heard(there).ended, "END_STREAM")  # type: ignore[misc]
    assert not caller.goaways


async def test_frames_go_on_in_order_however_they_are_cut(server: Link) -> None:
    """RFC 9113 section 4.1: octets may come in any pieces."""
    caller = await server.caller()
    await caller.pinged()
    for octet in frame(HEADERS, END_HEADERS, 1, caller.block([*GRPC, ("x-tag", "octets")])) + frame(
        DATA, END_STREAM, 1, b"body"
    ):
        caller.send(bytes((octet,)))
        await asyncio.sleep(0)  # a turn of the loop: each octet is read alone
    app, sid = await server.find("octets")
    assert (await app.over(sid)).data == b"body"


async def test_nothing_that_we_send_is_larger_than_allowed(link: Link) -> None:
    """RFC 9113 section 4.2: the largest frame that every peer takes is 16,384 octets, heads included."""
    caller, app, sid = await link.opened([*GRPC, *((f"x-{number}", "v" * 4000) for number in range(10))])
    app.headers(sid, [*HEAD_OK, *((f"x-{number}", "w" * 4000) for number in range(10))])
    sent = 0
    for size in (8192, 8192, 16_384, 8192, 8192):  # as the windows of an answer let it begin
        app.data(sid, bytes(size))
        sent += size
        await until(lambda: len(caller.heard(1).data) == sent, "it arrives")  # noqa: B023
    app.headers(sid, TRAILERS_OK, end=True)
    assert len((await caller.over(1)).data) == 3 * 16_384
    assert app.heard(sid).blocks[0]["x-9"] == "v" * 4000
    assert caller.heard(1).blocks[0]["x-9"] == "w" * 4000
    for wire in (caller, app):
        assert max(len(payload) for _, _, _, payload in wire.frames) <= 16_384
        assert any(kind == CONTINUATION for kind, _, _, _ in wire.frames)


async def test_ping_is_answered_with_its_octets(link: Link) -> None:
    """RFC 9113 section 6.7: ahead of what waits, and an answer is not answered."""
    caller, app, _ = await link.opened()
    for wire in (caller, app):
        before = len(wire.frames)
        wire.send(frame(PING, 0, 0, b"12345678") + frame(PING, 1, 0, b"unasked!"))
        await wire.pinged()
        answers = [payload for kind, flags, _, payload in wire.frames[before:] if kind == PING and flags & 1]
        assert answers == [b"12345678", b"areyouok"]


async def test_settings_are_acknowledged_in_order(link: Link) -> None:
    """RFC 9113 sections 6.5 and 6.5.3: each once, unknown ones ignored; a value of each kind is taken."""
    caller, app, _ = await link.opened()
    for wire in (caller, app):
        before = [flags for kind, flags, _, _ in wire.frames if kind == SETTINGS].count(1)
        wire.send(settings((1, 0), (3, 10), (4, 1000), (5, 16_777_215), (6, 100), (0xABCD, 7)) * 3)
        await wire.pinged()
        acknowledged = [flags for kind, flags, _, _ in wire.frames if kind == SETTINGS].count(1)
        assert acknowledged - before == 3 and not wire.goaways


async def test_goaway_from_a_caller_lets_streams_end(server: Link) -> None:
    """RFC 9113 section 6.8: it refuses streams of ours, of which there are none; its own go on."""
    caller, app, sid = await server.opened()
    caller.send(frame(GOAWAY, 0, 0, u32(0) + u32(0) + b"debug data"))
    app.headers(sid, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await caller.over(1)).ended


async def test_errors_of_no_known_code(link: Link) -> None:
    """RFC 9113 section 7: an unknown code in RST_STREAM or GOAWAY is no special case."""
    caller, app, sid = await link.opened()
    caller.reset(1, 0xFFFF_FFFF)
    assert (await app.over(sid)).reset == ErrorCode.CANCEL
    other, app, sid = await link.opened()
    app.reset(sid, 0xABCD)
    heard = await other.over(1)
    assert heard.reset is not None and not other.goaways
    app.send(frame(GOAWAY, 0, 0, u32(2**31 - 1) + u32(0xABCD)))
    await link.serves()

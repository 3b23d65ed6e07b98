"""RFC 9113 section 5: what each state takes, as a table, for streams of callers and for those we open."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sidecar.h2.errors import ErrorCode
from sidecar.h2.settings import STREAMS_MAX
from sidecar.proxy.pool import CONNECTIONS_PER_INSTANCE_MAX
from tests.support.link import Link
from tests.support.waiting import until
from tests.support.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    GRPC,
    HEAD_OK,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    TRAILERS_OK,
    WINDOW_UPDATE,
    Wire,
    dial,
    frame,
    settings,
    u32,
)


class Error(NamedTuple):
    """What is expected: the code, of the connection or of the stream only."""

    whole: bool
    code: ErrorCode


OK = None
CONN = Error(True, ErrorCode.PROTOCOL_ERROR)
GONE = Error(True, ErrorCode.STREAM_CLOSED)
ENDED = Error(False, ErrorCode.STREAM_CLOSED)
WRONG = Error(False, ErrorCode.PROTOCOL_ERROR)

Bytes = Callable[[Wire, int], bytes]
FRAMES: dict[str, Bytes] = {
    "DATA": lambda wire, sid: frame(DATA, 0, sid, b"x"),
    "trailers": lambda wire, sid: frame(HEADERS, 5, sid, wire.block([("x-t", "1")])),
    "HEADERS": lambda wire, sid: frame(HEADERS, 4, sid, wire.block([("x-t", "1")])),
    "PRIORITY": lambda wire, sid: frame(PRIORITY, 0, sid, bytes(5)),
    "RST_STREAM": lambda wire, sid: frame(RST_STREAM, 0, sid, u32(8)),
    "WINDOW_UPDATE": lambda wire, sid: frame(WINDOW_UPDATE, 0, sid, u32(1)),
    "CONTINUATION": lambda wire, sid: frame(CONTINUATION, END_HEADERS, sid, b""),
    "PUSH_PROMISE": lambda wire, sid: frame(PUSH_PROMISE, END_HEADERS, sid, u32(2)),
}
# fmt: off
#                        DATA   trailers HEADERS PRIORITY RST  WINDOW_U. CONTIN. PUSH_P.
TABLE: dict[str, tuple[Error | None, ...]] = {
    "idle":              (CONN, OK,      OK,     OK,      CONN, CONN,    CONN,   CONN),
    "open":              (OK,   OK,      WRONG,  OK,      OK,   OK,      CONN,   CONN),
    "half-closed local": (OK,   OK,      WRONG,  OK,      OK,   OK,      CONN,   CONN),
    "half-closed remote": (ENDED, ENDED, ENDED,  OK,      OK,   OK,      CONN,   CONN),
    "closed":            (GONE, GONE,    GONE,   OK,      OK,   OK,      CONN,   CONN),
    "reset by us":       (OK,   OK,      OK,     OK,      OK,   OK,      CONN,   CONN),
    "reset by them":     (GONE, GONE,    GONE,   OK,      OK,   OK,      CONN,   CONN),
}
# fmt: on


async def test_states_of_callers_streams(server: Link) -> None:
    """RFC 9113 section 5.1, figure 2, as a server; without push (section 8.4) nothing is reserved."""
    cells = [
        _cell(state, name, expected, lambda state=state: _of_caller(server, state))  # type: ignore[misc]
        for state, row in TABLE.items()
        for name, expected in zip(FRAMES, row, strict=True)
        if not (state == "idle" and name in ("trailers", "HEADERS"))  # opens a stream: next test
    ]
    said = await asyncio.gather(*cells)
    assert [problem for problem in said if problem] == []
    await server.serves()


async def test_states_of_our_streams(client: Link) -> None:
    """RFC 9113 section 5.1, figure 2, as a client."""
    caller = await client.caller()
    problems = []
    for state, row in TABLE.items():
        for name, expected in zip(FRAMES, row, strict=True):
            if name in ("CONTINUATION", "PUSH_PROMISE") and state not in ("open", "idle"):
                continue
            if state == "idle" and name in ("trailers", "HEADERS"):
                expected = CONN
            problems.append(
                await _cell(state, name, expected, lambda state=state: _of_app(client, caller, state))  # type: ignore[misc]
            )
    assert [problem for problem in problems if problem] == []
    assert not caller.goaways
    await client.serves()


async def _cell(
    state: str, name: str, expected: Error | None, reach: Callable[[], Awaitable[tuple[Wire, int]]]
) -> str:
    wire, sid = await reach()
    before = wire.heard(sid).reset
    wire.send(FRAMES[name](wire, sid))
    try:
        if expected is None:
            await wire.pinged()
            assert not wire.goaways and wire.heard(sid).reset == before, "not taken"
        elif expected.whole:
            await wire.goaway(expected.code)
        else:
            await until(lambda: wire.heard(sid).reset is not None, "RST_STREAM", deadline_s=3)
            assert wire.heard(sid).reset == expected.code and not wire.goaways
    except AssertionError as error:
        return f"{state}, {name}: {error}; {wire.goaways} {wire.heard(sid).reset}"
    return ""


async def _of_caller(link: Link, state: str) -> tuple[Wire, int]:
    """A caller, and a stream of it in `state` as the engine sees it."""
    if state == "idle":
        caller = await link.caller()
        await caller.pinged()
        return caller, 1
    caller, app, sid = await link.opened()
    if state in ("half-closed remote", "closed"):
        caller.data(1, b"", end=True)
        await until(lambda: app.heard(sid).ended, "the end of the request")
    if state in ("half-closed local", "closed"):
        app.headers(sid, HEAD_OK)
        app.headers(sid, TRAILERS_OK, end=True)
        await until(lambda: caller.heard(1).ended, "the end of the answer")
    if state == "reset by us":
        app.reset(sid)
        await caller.over(1)
    if state == "reset by them":
        caller.reset(1)
        await until(lambda: app.heard(sid).reset is not None, "the reset goes on")
    return caller, 1


async def _of_app(link: Link, caller: Wire, state: str) -> tuple[Wire, int]:
    """A connection of the engine, and a stream that it opened, in `state` as the engine sees it."""
    ours = max((sid for sid in caller.streams if sid), default=-1) + 2
    caller.heard(ours)
    app, sid = await link.request(caller, ours)
    if state == "idle":
        return app, sid + 2
    if state != "reset by us":
        app.headers(sid, HEAD_OK)
        await until(lambda: caller.heard(ours).blocks, "the head")
    if state in ("half-closed local", "closed"):
        caller.data(ours, b"", end=True)
        await until(lambda: app.heard(sid).ended, "the end of the request")
    if state in ("half-closed remote", "closed"):
        app.headers(sid, TRAILERS_OK, end=True)
        await until(lambda: caller.heard(ours).ended, "the end of the answer")
    if state == "reset by us":
        caller.reset(ours)
        await until(lambda: app.heard(sid).reset is not None, "the reset goes on")
    if state == "reset by them":
        app.reset(sid)
        await caller.over(ours)
    return app, sid


async def test_headers_open_a_stream_in_any_of_its_ways(server: Link) -> None:
    """RFC 9113 sections 5.1 and 5.1.1: with and without END_STREAM; ids may be left out."""
    caller = await server.caller()
    for sid, end in ((1, False), (3, True), (101, False), (2**31 - 1, True)):
        app, there = await server.request(caller, sid, end=end)
        assert app.heard(there).ended is end
    assert not caller.goaways


async def test_stream_ids_only_grow(server: Link) -> None:
    """RFC 9113 section 5.1.1: what is below the highest was closed by it, whether it was used or not."""
    caller = await server.caller()
    await server.request(caller, 5)
    caller.headers(3, GRPC)
    await caller.goaway(ErrorCode.STREAM_CLOSED)


async def test_ids_that_we_choose_are_odd_and_grow(client: Link) -> None:
    """RFC 9113 section 5.1.1: and none is used twice."""
    caller = await client.caller()
    for number in range(20):
        _, _ = await client.request(caller, 2 * number + 1)
    assert client.app.wires[0].requests() == [2 * number + 1 for number in range(20)]


async def test_streams_over_our_limit_are_refused(server: Link) -> None:
    """RFC 9113 section 5.1.2: REFUSED_STREAM, which is safe to send again; what is open goes on. A place is
    free again when a stream has ended."""
    caller, _, _ = await server.opened()
    caller.headers(3)
    repeated = caller.block(GRPC)
    for number in range(2, STREAMS_MAX + 3):
        caller.send(frame(HEADERS, END_HEADERS, 2 * number + 1, repeated))
    await caller.pinged()
    refused = [sid for sid, heard in caller.streams.items() if heard.reset == ErrorCode.REFUSED_STREAM]
    over = [sid for sid in refused if sid > 2 * STREAMS_MAX]
    assert over == [2 * STREAMS_MAX + 1, 2 * STREAMS_MAX + 3, 2 * STREAMS_MAX + 5]
    assert not caller.goaways
    caller.reset(1)
    caller.send(frame(HEADERS, END_HEADERS, 2 * STREAMS_MAX + 7, repeated))
    await caller.pinged()
    assert caller.heard(2 * STREAMS_MAX + 7).reset is None
    assert (3, STREAMS_MAX) in _announced(caller)


async def test_we_keep_to_the_limit_of_the_other_side(client: Link) -> None:
    """RFC 9113 section 5.1.2: requests wait, and go on when a stream has ended or the setting rises."""
    client.app._values = ((3, 2),)
    caller = await client.caller()
    count = 2 * CONNECTIONS_PER_INSTANCE_MAX + 5
    for number in range(count):
        caller.headers(2 * number + 1, end=True)
    await until(lambda: client.app.requests() == count - 5, "as many requests as are allowed")
    for app in client.app.wires:
        await app.pinged()
        assert len(app.requests()) == 2
    app = client.app.wires[0]
    app.headers(1, [(":status", "200"), ("grpc-status", "0")], end=True)
    await until(lambda: len(app.requests()) == 3, "another one")
    app.send(settings((3, 100)))
    await until(lambda: client.app.requests() == count, "all of them")


async def test_priority_changes_nothing(link: Link) -> None:
    """RFC 9113 sections 5.3.1, 5.3.2 and 6.3: deprecated, so ignored; even of a stream on itself, or idle."""
    for side in (0, 1):
        caller, app, sid = await link.opened()
        wire, stream = ((caller, 1), (app, sid))[side]
        for on in (0, stream, 99, 2**31 - 1):
            wire.send(frame(PRIORITY, 0, stream, u32(0x8000_0000 | on) + b"\xff"))
            wire.send(frame(PRIORITY, 0, 77, u32(on) + b"\x00"))
        await wire.pinged()
        assert not wire.goaways and wire.heard(stream).reset is None
        wire.send(frame(PRIORITY, 0, stream, bytes(6)))
        assert (await wire.over(stream)).reset == ErrorCode.FRAME_SIZE_ERROR and not wire.goaways


async def test_a_stream_error_is_of_that_stream_only(link: Link) -> None:
    """RFC 9113 section 5.4.2: RST_STREAM is not answered with RST_STREAM, and siblings go on."""
    caller = await link.caller()
    app, first = await link.request(caller, 1)
    _, second = await link.request(caller, 3)
    caller.send(frame(WINDOW_UPDATE, 0, 1, u32(0)))
    assert (await caller.over(1)).reset == ErrorCode.PROTOCOL_ERROR
    await until(lambda: app.heard(first).reset == ErrorCode.CANCEL, "the other half is cancelled")
    app.reset(first)
    caller.reset(1)
    await app.pinged()
    await caller.pinged()
    for wire, sid in ((caller, 1), (app, first)):
        assert sum(1 for kind, _, stream, _ in wire.frames if (kind, stream) == (RST_STREAM, sid)) == 1
    app.headers(second, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await caller.over(3)).ended


async def test_a_connection_error_says_what_was_served(server: Link) -> None:
    """RFC 9113 sections 5.4.1 and 6.8: GOAWAY names the last stream that may have been processed, and why."""
    caller = await server.caller()
    await server.request(caller, 1)
    await server.request(caller, 7)
    caller.send(frame(SETTINGS, 0, 0, b"?"))
    await until(lambda: caller.closed, "the end")
    assert caller.goaways == [(7, ErrorCode.FRAME_SIZE_ERROR)]
    (debug,) = [payload[8:] for kind, _, _, payload in caller.frames if kind == GOAWAY]
    assert b"SETTINGS" in debug


async def test_an_end_without_goaway_cancels_what_runs(server: Link) -> None:
    """RFC 9113 section 5.4.3: a connection may end without a word."""
    caller, app, sid = await server.opened()
    caller.close()
    assert (await app.over(sid)).reset == ErrorCode.CANCEL
    await server.serves()


def _announced(wire: Wire) -> list[tuple[int, int]]:
    payload = next(payload for kind, flags, _, payload in wire.frames if kind == SETTINGS and not flags)
    return [
        (int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
        for at in range(0, len(payload), 6)
    ]


async def test_what_comes_before_a_request(server: Link) -> None:
    """RFC 9113 sections 3.3, 3.4 and 6.5: with prior knowledge the connection begins with our SETTINGS, and
    what we announce is what we hold to."""
    caller = await server.caller()
    await caller.pinged()
    kind, flags, sid, _ = caller.frames[0]
    assert (kind, flags, sid) == (SETTINGS, 0, 0)
    assert dict(_announced(caller)) == {3: STREAMS_MAX, 6: 65_536, 8: 1}


async def test_what_is_no_preface(server: Link) -> None:
    """RFC 9113 sections 3.2, 3.4 and 8.6: HTTP/1.1, an upgrade from it, or any other first frame."""
    for first in (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSX" + bytes(30),
        PREFACE + frame(PING, 0, 0, bytes(8)),
        PREFACE + frame(SETTINGS, 1),
        PREFACE + frame(SETTINGS, 0, 1),
        PREFACE + frame(HEADERS, 5, 1, b"\x82\x86\x84"),
    ):
        caller = await server.caller(first)
        await caller.goaway(ErrorCode.PROTOCOL_ERROR)


async def test_what_we_begin_with_as_a_client(client: Link) -> None:
    """RFC 9113 sections 3.4 and 8.4: the preface octet for octet (the wire checks it), then SETTINGS with
    push disabled."""
    _, app, _ = await client.opened()
    assert app.frames[0][0] == SETTINGS
    assert dict(_announced(app)) == {2: 0, 6: 65_536}


async def test_a_server_that_begins_with_something_else(client: Link) -> None:
    """RFC 9113 section 3.4: its first frame must be SETTINGS."""
    seen: list[Wire] = []

    def setup(wire: Wire) -> None:
        wire._preface = frame(0x8, 0, 0, u32(1))
        seen.append(wire)

    client.app.setup = setup
    caller = await client.caller()
    caller.headers(1, end=True)
    heard = await caller.over(1)
    assert heard.reset == ErrorCode.REFUSED_STREAM or heard.blocks[-1]["grpc-status"] == "14"
    assert {code for wire in seen for _, code in wire.goaways} == {ErrorCode.PROTOCOL_ERROR}


async def test_mtls_connections_say_h2(server: Link) -> None:
    """RFC 9113 sections 3.1, 3.2 and 9.2.3: ALPN "h2" and TLS 1.3; without ALPN nobody is served."""
    if server.tls is None:
        return
    caller = await server.caller()
    tls = caller.transport.get_extra_info("ssl_object")
    assert (tls.selected_alpn_protocol(), tls.version()) == ("h2", "TLSv1.3")
    other = await dial(server.port, ssl=server.without_alpn())
    await until(lambda: other.closed, "the connection is cut")
    assert not other.frames


async def test_connections_are_kept_and_shared(client: Link) -> None:
    """RFC 9113 section 9.1: one connection carries the calls of all callers, and stays when they go."""
    for _ in range(3):
        await client.serves()
    assert len(client.app.wires) == 1 and not client.app.wires[0].closed

"""RFC 9113 section 8: what a message may say, in requests, responses and trailers.

A key begins with its section. A malformed message ends its stream, goes no further, and spoils nothing else.
"""

import asyncio

from sidecar.h2.errors import ErrorCode
from tests.support.link import Link
from tests.support.waiting import until
from tests.support.wire import END_HEADERS, GRPC, HEAD_OK, HEADERS, TRAILERS_OK, Header, Wire, frame, settings

P = ErrorCode.PROTOCOL_ERROR


def request(*changed: Header, without: str = "") -> list[Header]:
    """A sound request, but for these fields."""
    names = {name for name, _ in changed}
    kept = [field for field in GRPC if field[0] not in names | {without}]
    pseudo = [field for field in changed if field[0].startswith(":")]
    return [*pseudo, *kept, *(field for field in changed if field not in pseudo)]


REQUESTS: dict[str, list[Header]] = {
    "8.1.1 content-length above the DATA": request(("content-length", "5")),
    "8.1.1 two content-lengths": request(("content-length", "0"), ("content-length", "0")),
    "8.1.1 a content-length that is no number": request(("content-length", "+0")),
    "8.2.1 an upper-case name": request(("X-Upper", "v")),
    "8.2.1 a name with a space": request(("x upper", "v")),
    "8.2.1 a name with a colon": request(("x:y", "v")),
    "8.2.1 a name with a control": request(("x\x01", "v")),
    "8.2.1 a name beyond ASCII": request(("x\x80", "v")),
    "8.2.1 an empty name": request(("", "v")),
    "8.2.1 NUL in a value": request(("x-v", "a\0b")),
    "8.2.1 LF in a value": request(("x-v", "a\nb")),
    "8.2.1 CR in a value": request(("x-v", "a\rb")),
    "8.2.1 a value that begins with a space": request(("x-v", " a")),
    "8.2.1 a value that ends in a tab": request(("x-v", "a\t")),
    "8.2.2 connection": request(("connection", "close")),
    "8.2.2 proxy-connection": request(("proxy-connection", "close")),
    "8.2.2 keep-alive": request(("keep-alive", "timeout=5")),
    "8.2.2 transfer-encoding": request(("transfer-encoding", "chunked")),
    "8.2.2 upgrade": request(("upgrade", "h2c")),
    "8.2.2 te that is not trailers": request(("te", "trailers, gzip")),
    "8.3 a pseudo-header field after a regular one": [*GRPC[1:], (":method", "POST")],
    "8.3 an unknown pseudo-header field": request((":version", "2")),
    "8.3 a pseudo-header field of responses": request((":status", "200")),
    "8.3 a pseudo-header field twice": [(":path", "/"), *GRPC],
    "8.3.1 no method": request(without=":method"),
    "8.3.1 no scheme": request(without=":scheme"),
    "8.3.1 no path": request(without=":path"),
    "8.3.1 an empty path": request((":path", "")),
    "8.3.1 a path without its slash": request((":path", "s/m")),
    "8.3.1 * but not of OPTIONS": request((":path", "*")),
    "8.3.1 userinfo in the authority": request((":authority", "me@orders")),
    "8.3.1 Host unlike :authority": request(("host", "elsewhere")),
    "8.5 CONNECT with a path": request((":method", "CONNECT")),
    "10.3 a request within a value": request(("x-v", "a\r\nx-smuggled: b")),
    "10.3 a request within the method": request((":method", "GET / HTTP/1.1\r\n")),
    "10.3 a request within the path": request((":path", "/ HTTP/1.1\r\nx: y")),
}

RESPONSES: dict[str, list[Header]] = {
    "8.1.1 content-length without DATA": [(":status", "200"), ("content-length", "5")],
    "8.1.1 a content-length that is no number": [(":status", "200"), ("content-length", "five")],
    "8.2.1 an upper-case name": [*HEAD_OK, ("X-Upper", "v")],
    "8.2.1 LF in a value": [*HEAD_OK, ("x-v", "a\nb")],
    "8.2.2 connection": [*HEAD_OK, ("connection", "close")],
    "8.2.2 transfer-encoding": [*HEAD_OK, ("transfer-encoding", "chunked")],
    "8.3 a pseudo-header field after a regular one": [HEAD_OK[1], HEAD_OK[0]],
    "8.3 a pseudo-header field of requests": [*HEAD_OK[:1], (":path", "/"), *HEAD_OK[1:]],
    "8.3.2 no status": [HEAD_OK[1]],
    "8.3.2 two": [(":status", "200"), (":status", "200")],
    "8.3.2 a status of two digits": [(":status", "20")],
    "8.3.2 a status below 100": [(":status", "099")],
    "8.1 an interim response that ends": [(":status", "103")],
    "8.6 101 does not exist": [(":status", "101")],
}

TRAILERS: dict[str, list[Header]] = {
    "8.1 a pseudo-header field in trailers": [(":status", "200")],
    "8.2.1 an upper-case name in trailers": [("X-Upper", "v")],
    "8.2.2 connection in trailers": [("connection", "close")],
}


async def test_malformed_requests(server: Link) -> None:
    """RFC 9113 section 8.1.1: the stream is reset, the application never hears of it, others go on."""
    caller = await server.caller()
    for number, fields in enumerate(REQUESTS.values()):
        caller.headers(2 * number + 1, fields, end=True)
    wrong = [
        name
        for number, name in enumerate(REQUESTS)
        if (await caller.over(2 * number + 1)).reset != P or caller.heard(2 * number + 1).blocks
    ]
    assert wrong == []
    app, _ = await server.request(caller, 2 * len(REQUESTS) + 1)
    assert server.app.requests() == 1 and not caller.goaways and not app.goaways


async def test_connect(server: Link) -> None:
    """RFC 9113 section 8.5: not offered to our own application. A peer opens streams of bytes with it, which
    are refused where the application is declared to speak HTTP; it never hears of them."""
    caller = await server.caller()
    caller.headers(1, [(":method", "CONNECT"), (":authority", "orders:80")])
    heard = await caller.over(1)
    if server.tls is None:
        assert heard.reset == P and not heard.blocks
    else:
        assert heard.blocks[0][":status"] == "403"
    await server.request(caller, 3)
    assert server.app.requests() == 1 and len(server.app.wires) == 1


async def test_malformed_responses(client: Link) -> None:
    """RFC 9113 section 8.1.1: the application's stream is reset, and the caller is told so with an answer of
    our own."""
    caller = await client.caller()
    wrong = []
    for number, (name, fields) in enumerate(RESPONSES.items()):
        app, sid = await client.request(caller, 2 * number + 1)
        app.headers(sid, fields, end=True)
        heard = await caller.over(2 * number + 1)
        await until(lambda app=app, sid=sid: app.heard(sid).reset is not None, f"{name}: the reset")  # type: ignore[misc]
        if app.heard(sid).reset != P or heard.blocks[0].get("grpc-status") != "13":
            wrong.append(name)
    assert wrong == [] and len(client.app.wires) == 1


async def test_malformed_trailers(link: Link) -> None:
    """RFC 9113 sections 8.1 and 8.1.1: of requests and of responses."""
    caller = await link.caller()
    sid = -1
    for name, fields in TRAILERS.items():
        sid += 2
        app, there = await link.request(caller, sid)
        caller.headers(sid, fields, end=True)
        assert (await caller.over(sid)).reset == P, name
        assert (await app.over(there)).reset == ErrorCode.CANCEL, name
        sid += 2
        app, there = await link.request(caller, sid)
        app.headers(there, HEAD_OK)
        app.headers(there, fields, end=True)
        assert (await app.over(there)).reset == P, name
        assert (await caller.over(sid)).blocks[-1]["grpc-status"] == "13", name
    assert not caller.goaways


async def test_lengths_that_lie(link: Link) -> None:
    """RFC 9113 section 8.1.1: content-length is the sum of DATA, of requests and of responses; more, less,
    and less with trailers."""
    caller = await link.caller()
    sid = -1
    for said, trailers in (("2", False), ("4", False), ("4", True)):
        sid += 2
        app, there = await link.request(caller, sid, request(("content-length", said)))
        caller.data(sid, b"abc", end=not trailers)
        if trailers:
            caller.headers(sid, [("x-t", "1")], end=True)
        assert (await caller.over(sid)).reset == P
        assert (await app.over(there)).reset == ErrorCode.CANCEL
        assert not app.heard(there).ended
        sid += 2
        app, there = await link.request(caller, sid)
        app.headers(there, [*HEAD_OK, ("content-length", said)])
        app.data(there, b"abc", end=not trailers)
        if trailers:
            app.headers(there, TRAILERS_OK, end=True)
        await until(lambda app=app, there=there: app.heard(there).reset == P, "the response is reset")  # type: ignore[misc]
        assert (await caller.over(sid)).blocks[-1].get("grpc-status") == "13"


async def test_lengths_that_hold(link: Link) -> None:
    """RFC 9113 section 8.1.1: padding does not count, 0 needs no DATA, and HEAD has none."""
    caller = await link.caller()
    app, there = await link.request(caller, 1, request(("content-length", "3")))
    caller.send(frame(0, 8, 1, b"\x02abc\0\0"))
    caller.data(1, b"", end=True)
    assert (await app.over(there)).data == b"abc"
    app.headers(there, [(":status", "200"), ("content-length", "0")], end=True)
    assert (await caller.over(1)).blocks[0]["content-length"] == "0"
    app, there = await link.request(
        caller, 3, request((":method", "HEAD"), ("content-length", "0")), end=True
    )
    app.headers(there, [(":status", "200"), ("content-length", "42")], end=True)
    assert (await caller.over(3)).blocks[0]["content-length"] == "42"
    app, there = await link.request(caller, 5, request((":method", "HEAD")), end=True)
    app.headers(there, [(":status", "200"), ("content-length", "42")])
    app.data(there, b"content", end=True)
    await until(lambda: app.heard(there).reset == P, "content where none may be")


async def test_the_order_of_a_message(link: Link) -> None:
    """RFC 9113 sections 8.1 and 8.8: interim responses, head, content, trailers, both ways, as they came."""
    caller, app, sid = await link.opened([(":method", "PUT"), *GRPC[1:], ("expect", "100-continue")])
    app.headers(sid, [(":status", "100")])
    app.headers(sid, [(":status", "103"), ("link", "</a>")])
    await until(lambda: len(caller.heard(1).blocks) == 2, "both interim responses")
    caller.data(1, b"a")
    caller.data(1, b"b")
    caller.headers(1, [("x-sum", "ab")], end=True)
    heard = await app.over(sid)
    assert (heard.data, heard.blocks[1]) == (b"ab", {"x-sum": "ab"})
    app.headers(sid, HEAD_OK)
    app.data(sid, b"c")
    app.headers(sid, TRAILERS_OK, end=True)
    heard = await caller.over(1)
    assert [block.get(":status") for block in heard.blocks] == ["100", "103", "200", None]
    assert heard.data == b"c" and heard.blocks[3] == dict(TRAILERS_OK)


async def test_a_response_before_the_end_of_the_request(link: Link) -> None:
    """RFC 9113 section 8.1: a server may answer and then stop the request with NO_ERROR."""
    caller, app, sid = await link.opened()
    caller.data(1, b"some")
    app.headers(sid, [(":status", "200"), ("grpc-status", "8")], end=True)
    app.reset(sid, ErrorCode.NO_ERROR)
    heard = await caller.over(1)
    assert heard.blocks[0]["grpc-status"] == "8"
    await until(lambda: caller.heard(1).reset is not None, "the reset follows")
    assert caller.heard(1).reset == ErrorCode.NO_ERROR


async def test_fields_go_on_as_they_came(link: Link) -> None:
    """RFC 9113 sections 8.2, 8.2.3 and 8.3.1: order of one name, crumbs of cookies, empty and repeated
    values, any scheme, OPTIONS of the whole server, a Host that agrees."""
    fields = request(
        (":scheme", "ftp+x"), (":path", "/a?b=c%20d"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-e", ""),
        ("x-m", "1"), ("x-n", "0"), ("x-m", "2"), ("host", "ORDERS"), ("x-o", "\x80\xff"),
    )  # fmt: skip
    _, app, sid = await link.opened(fields)
    got = app.heard(sid).fields
    assert [field for field in got if field[0] == "cookie"] == [("cookie", "a=b"), ("cookie", "c=d")]
    assert [value for name, value in got if name == "x-m"] == ["1", "2"]
    assert {name: value for name, value in fields if name != "x-o"}.items() <= dict(got).items()
    await link.opened(request((":method", "OPTIONS"), (":path", "*")))


async def test_push_is_off(link: Link) -> None:
    """RFC 9113 section 8.4: nobody is pushed to, whatever a caller allows."""
    caller = await link.caller()
    caller.send(settings((2, 1)))
    app, sid = await link.request(caller, 1)
    assert (2, 0) in _settings_of(app)
    app.headers(sid, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await caller.over(1)).ended
    assert {sid for _, _, sid, _ in caller.frames} <= {0, 1}


def _settings_of(wire: Wire) -> list[tuple[int, int]]:
    payload = next(payload for kind, flags, _, payload in wire.frames if kind == 4 and not flags)
    return [
        (int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
        for at in range(0, len(payload), 6)
    ]


async def test_what_was_not_processed_may_be_sent_again(client: Link) -> None:
    """RFC 9113 sections 6.8 and 8.7: above GOAWAY's last id nothing was done, so the request goes on a new
    connection; what was at or below it is answered."""
    caller = await client.caller()
    app, first = await client.request(caller, 1, end=True)
    caller.headers(3, [*GRPC, ("x-tag", "again")], end=True)
    _, second = await client.find("again")
    app.send(frame(7, 0, 0, first.to_bytes(4, "big") + bytes(4)))
    other = await client.app.wire(1)
    assert len(await other.asked()) == 1 and second > first
    other.headers(1, [(":status", "200"), ("grpc-status", "0")], end=True)
    app.headers(first, [(":status", "200"), ("grpc-status", "5")], end=True)
    assert (await caller.over(3)).blocks[0]["grpc-status"] == "0"
    assert (await caller.over(1)).blocks[0]["grpc-status"] == "5"


async def test_refused_streams_are_not_sent_twice_to_who_answered(client: Link) -> None:
    """RFC 9113 section 8.7: REFUSED_STREAM after a head is no promise any more."""
    caller, app, sid = await client.opened(end=True)
    app.headers(sid, HEAD_OK)
    app.reset(sid, ErrorCode.REFUSED_STREAM)
    heard = await caller.over(1)
    assert heard.ended or heard.reset is not None
    await asyncio.sleep(0)
    assert client.app.requests() == 1


async def test_interim_then_nothing(client: Link) -> None:
    """RFC 9113 section 8.1: DATA after an interim response is not content of anything."""
    caller, app, sid = await client.opened()
    app.headers(sid, [(":status", "103")])
    app.data(sid, b"x")
    assert (await app.over(sid)).reset == P
    assert (await caller.over(1)).blocks[-1]["grpc-status"] == "13"


async def test_a_block_of_a_malformed_request_still_counts(server: Link) -> None:
    """RFC 9113 section 4.3, RFC 7541 section 2.2: one table per connection, whatever becomes of streams."""
    caller = await server.caller()
    block = caller.block([*request(("connection", "close")), ("x-kept", "in the table")])
    caller.send(frame(HEADERS, END_HEADERS, 1, block))
    assert (await caller.over(1)).reset == P
    app, sid = await server.request(caller, 3, [*GRPC, ("x-kept", "in the table")])
    assert app.heard(sid).blocks[0]["x-kept"] == "in the table"

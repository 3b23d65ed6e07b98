"""Messages as they may come: whole, in pieces, one behind the other."""

import pytest

from sidecar.http1.decoder import Decoder
from sidecar.http1.message import Message
from sidecar.http1.reader import Reader


def _requests(data: bytes, step: int) -> list[tuple[Message, bytes, bytes]]:
    """Head, body and trailers of each request in `data`, fed `step` octets at a time."""
    reader = Reader(Decoder(requests=True))
    found: list[tuple[Message, bytes, bytes]] = []
    message, body, more = None, b"", False
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        while True:
            if message is None:
                message = reader.head()
                if message is None:
                    break
                body, more = b"", reader.frame_request(message)
            ended = not more
            if more:
                piece, ended = reader.body(7)
                body += piece
                if not piece and not ended:
                    break
            if ended:
                found.append((message, body, reader.trailers))
                message = None
    assert message is None and not reader.waiting
    return found


PIPELINE = (
    b"GET /1?q=a HTTP/1.1\r\nHost: Orders:80\r\nCookie: a=1\r\nTraceparent: 00-1\r\n"
    b"Connection: x-hop\r\nX-Hop: 1\r\n\r\n"
    b"\r\nPOST /2 HTTP/1.1\r\nhost: a\r\nContent-Length: 11\r\n\r\nhello world"
    b"PUT /3 HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\nTE: trailers\r\n\r\n"
    b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 5\r\n\r\n"
    b"DELETE http://a:1/4 HTTP/1.1\r\nhost: a:1\r\nConnection: close\r\n\r\n"
)


@pytest.mark.parametrize("step", [1, 2, 3, 10, 100, 10_000])
def test_a_pipeline_however_it_is_cut(step: int) -> None:
    first, second, third, fourth = _requests(PIPELINE, step)
    head = first[0].head
    assert (head.method, head.path, head.authority, head.scheme) == (b"GET", b"/1?q=a", b"Orders:80", b"http")
    assert [literal.name for literal in first[0].extra] == [b"cookie", b"traceparent"]
    assert head.value(b"x-hop") is None and head.value(b"connection") is None
    assert second[1] == third[1] == b"hello world"
    assert second[0].head.content_length == 11 and third[0].head.content_length == -1
    assert third[2] == b"X-Sum: 5\r\n\r\n" and third[0].head.value(b"te") == b"trailers"
    assert (fourth[0].head.authority, fourth[0].head.path) == (b"a:1", b"/4")
    assert [m[0].keep_alive for m in (first, second, third, fourth)] == [True, True, True, False]


def test_equal_heads_are_one_object() -> None:
    """Also where a trace id differs: what was decided for the head holds for it too."""
    decoder = Decoder(requests=True)
    one, two = (
        decoder.decode(b"GET / HTTP/1.1\r\nHost: a\r\nTraceparent: %d\r\n\r\n" % number) for number in (1, 2)
    )
    assert one.head is two.head and one.extra.wire != two.extra.wire
    decoder.promote(frozenset((b"traceparent",)))
    again = decoder.decode(b"GET / HTTP/1.1\r\nHost: a\r\nTraceparent: 1\r\n\r\n")
    assert again.head.value(b"traceparent") == b"1"


def test_trap_11_a_promoted_field_is_in_the_head() -> None:
    decoder = Decoder(requests=True, promoted=frozenset((b"authorization",)))
    message = decoder.decode(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n")
    assert message.head.value(b"authorization") == b"Bearer x"


def test_http_1_0() -> None:
    decoder = Decoder(requests=True, authority=b"orders")
    message = decoder.decode(b"GET / HTTP/1.0\r\n\r\n")
    assert (message.head.authority, message.keep_alive, message.version) == (b"orders", False, b"1.0")
    assert decoder.decode(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive


def test_upgrades_become_extended_connect() -> None:
    """RFC 8441 section 5: the key stays on this side."""
    raw = (
        b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    message = Decoder(requests=True).decode(raw)
    assert message.upgrade == message.head.protocol == b"websocket"
    assert dict(message.head.fields)[b":method"] == b"CONNECT"
    assert message.head.method == b"GET"  # as rules read it
    assert message.head.value(b"sec-websocket-key") is None
    assert message.head.value(b"sec-websocket-version") == b"13"
    assert message.websocket_key == b"dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: A\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_upgrades_that_go_on_without(raw: bytes) -> None:
    message = Decoder(requests=True).decode(raw)
    assert not message.upgrade and not message.head.protocol
    assert {name for name, _ in message.head.fields}.isdisjoint({b"upgrade", b"http2-settings"})


OK = b"HTTP/1.1 200 OK\r\n"


def _response(data: bytes, bodiless: bool = False) -> tuple[Message, bytes, bool]:
    reader = Reader(Decoder(requests=False))
    reader.feed(data)
    message = reader.head()
    assert message is not None
    more, body, ended = reader.frame_response(message, bodiless), b"", True
    while more:
        piece, ended = reader.body(5)
        body += piece
        if ended or not piece:
            break
    return message, body, ended


def test_responses() -> None:
    message, body, ended = _response(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=5, max=9\r\n\r\nhello"
    )
    assert (message.head.status, body, ended, message.keep_alive_s) == (200, b"hello", True, 5)
    assert message.head.value(b"keep-alive") is None
    _, body, ended = _response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert (body, ended) == (b"abc", True)
    _, body, ended = _response(b"HTTP/1.0 200 OK\r\n\r\nto the end")
    assert (body, ended) == (b"to the end", False)
    message, body, ended = _response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", bodiless=True)
    assert (message.head.content_length, body, ended) == (5, b"", True)
    message, *_ = _response(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", bodiless=True)
    assert message.head.content_length == -1
    message, *_ = _response(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
    )
    assert [literal.value() for literal in message.extra] == [b"a=1", b"b=2"]


def test_101_is_a_200_on_the_other_side() -> None:
    message, *_ = _response(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: x\r\n\r\n"
    )
    assert (message.head.status, message.upgrade) == (200, b"websocket")
    assert message.head.value(b"sec-websocket-accept") is None

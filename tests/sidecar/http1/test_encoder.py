"""What is written, from what the switch knows."""

from sidecar.h2.block import Extra, Literal
from sidecar.h2.primitives import encode_raw
from sidecar.http1 import websocket
from sidecar.http1.encoder import (
    HAS_DATE,
    HAS_LENGTH,
    RequestEncoder,
    ResponseEncoder,
    chunk,
    finish_request,
    last_chunk,
)

GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a?b"), (b":authority", b"orders"))
POST = ((b":method", b"POST"), *GET[1:])


def _extra(*fields: tuple[bytes, bytes]) -> Extra:
    return Extra.of(Literal(name, encode_raw(value), False) for name, value in fields)


def test_requests_say_how_their_body_is_framed() -> None:
    encoder = RequestEncoder(b"key")
    head = b"/a?b HTTP/1.1\r\nhost: orders\r\n"
    assert finish_request(encoder.encode(GET), 1) == (b"GET " + head + b"\r\n", False)
    assert finish_request(encoder.encode(POST), 1) == (b"POST " + head + b"content-length: 0\r\n\r\n", False)
    assert finish_request(encoder.encode(POST), 0) == (
        b"POST " + head + b"transfer-encoding: chunked\r\n\r\n",
        True,
    )
    sized = encoder.encode((*POST, (b"content-length", b"3")))
    assert finish_request(sized, 0) == (b"POST " + head + b"content-length: 3\r\n\r\n", False)


def test_trap_13_cookie_crumbs_are_joined() -> None:
    """RFC 9113 section 8.2.3, wherever the crumbs lie."""
    encoder = RequestEncoder(b"key")
    fields = (*GET, (b"cookie", b"a=1"), (b"x-a", b"b"), (b"cookie", b"b=2"))
    made = encoder.encode(fields, _extra((b"cookie", b"c=3"), (b"traceparent", b"00-1")))
    assert made.count(b"cookie") == 1
    assert made.endswith(b"x-a: b\r\ntraceparent: 00-1\r\ncookie: a=1; b=2; c=3\r\n")


def test_host_is_the_authority() -> None:
    encoder = RequestEncoder(b"key")
    assert encoder.encode((*GET, (b"host", b"orders"))).count(b"host") == 1
    without = (*GET[:3], (b"host", b"orders"))
    assert b"host: orders\r\n" in encoder.encode(without)


def test_websockets() -> None:
    """RFC 6455 section 1.3."""
    fields = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:])
    made, chunked = finish_request(RequestEncoder(b"the key").encode(fields), 0)
    assert not chunked and made.startswith(b"GET /a?b HTTP/1.1\r\n")
    assert b"upgrade: websocket\r\nsec-websocket-key: the key\r\n" in made
    assert websocket.accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_responses() -> None:
    encoder = ResponseEncoder()
    ok = (b":status", b"200")
    made = encoder.encode((ok, (b"content-length", b"2"), (b"date", b"now")))
    assert made == bytes((HAS_LENGTH | HAS_DATE,)) + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: now\r\n"
    assert encoder.encode(((b":status", b"299"),))[1:] == b"HTTP/1.1 299 \r\n"
    cookies = encoder.encode(
        ((b":status", b"200"),), _extra((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    )
    assert cookies.endswith(b"set-cookie: a=1\r\nset-cookie: b=2\r\n")


def test_the_memo_is_by_identity_and_bounded() -> None:
    encoder = ResponseEncoder()
    lists = [((b":status", b"200"), (b"x", b"%d" % number)) for number in range(1000)]
    for fields in lists:
        assert encoder.encode(fields).endswith(fields[1][1] + b"\r\n")
        assert encoder.memo[id(fields)] is encoder.encode(fields)
    assert len(encoder.memo) <= 128


def test_chunks() -> None:
    assert chunk(b"hello world") == b"b\r\nhello world\r\n"
    assert last_chunk() == b"0\r\n\r\n"
    assert last_chunk(ResponseEncoder().encode(((b"x-sum", b"5"),))) == b"0\r\nx-sum: 5\r\n\r\n"

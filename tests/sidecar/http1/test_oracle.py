"""Against h11, a second reading of RFC 9112: whatever we take, it reads the same."""

import contextlib

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.h2.block import Field
from sidecar.http1.decoder import Decoder
from sidecar.http1.encoder import RequestEncoder, ResponseEncoder, chunk, finish_request, last_chunk
from sidecar.http1.errors import BadMessage
from sidecar.http1.hop import HOP_BY_HOP
from sidecar.http1.reader import Reader

Read = tuple[bytes, bytes, list[Field], bytes, list[Field]]  # method, target, fields, body, trailers
_token = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode)
_value = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(str.encode)
_fields = st.lists(st.tuples(_token, _value), max_size=6)
_NOT_PLAIN = HOP_BY_HOP | {b"content-length", b"host", b"expect", b"cookie"}


def _ours(data: bytes) -> Read | None:
    decoder = Decoder(requests=True)
    reader = Reader(decoder)
    reader.feed(data)
    message = reader.head()
    if message is None:
        return None
    body, ended = b"", not reader.frame_request(message)
    while not ended:
        piece, ended = reader.body(9)
        body += piece
        if not piece and not ended:
            return None
    trailers = decoder.decode(reader.trailers, trailers=True) if reader.trailers else None
    return (
        message.method,
        message.head.path,
        _plain([*message.head.fields, *((x.name, x.value()) for x in message.extra)]),
        body,
        _plain([*trailers.head.fields, *((x.name, x.value()) for x in trailers.extra)]) if trailers else [],
    )


def _plain(fields: list[Field]) -> list[Field]:
    return sorted(f for f in fields if f[0] not in _NOT_PLAIN and f[0][:1] != b":")


def _theirs(data: bytes) -> Read | None:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data)
    head, body = peer.next_event(), b""
    if not isinstance(head, h11.Request):
        return None
    while True:
        event = peer.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            fields = [(bytes(name), bytes(value)) for name, value in head.headers]
            trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            return bytes(head.method), bytes(head.target), _plain(fields), body, _plain(trailers)
        else:
            return None


@given(
    target=st.text("abc/?&=%20", max_size=20).map(lambda text: b"/" + text.encode()),
    fields=_fields,
    body=st.lists(st.binary(min_size=1, max_size=300), max_size=5),
    sized=st.booleans(),
    trailers=_fields,
)
def test_what_h11_reads_we_read(
    target: bytes, fields: list[Field], body: list[bytes], sized: bool, trailers: list[Field]
) -> None:
    fields, trailers = _plain(fields), _plain(trailers)
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n" % target + b"".join(b"%b:\t%b \r\n" % field for field in fields)
    if sized:
        data = head + b"Content-Length: %d\r\n\r\n" % len(b"".join(body)) + b"".join(body)
        trailers = []
    else:
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(map(chunk, body))
        data += b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
    try:
        ours = _ours(data)
    except BadMessage as refused:
        assert "cannot stand in trailers" in refused.reason or ":path" in refused.reason, refused.reason
        return
    assert ours is not None
    assert ours == _theirs(data) or ours[2] != fields  # white space in values is h11's to keep


_PIECES = [
    *(
        b"GET",
        b"POST",
        b" ",
        b"/a",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\t",
    ),
    *(
        b"Host: a",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b":",
        b";",
        b",",
    ),
    *(
        b"3",
        b"0",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"X: y",
        b"http://a/",
        b"Expect: 100-continue",
        b"\xff",
    ),
]
_soup = st.lists(st.sampled_from(_PIECES), max_size=20).map(b"".join)
_start = st.sampled_from(
    (
        b"",
        b"POST /a HTTP/1.1\r\nHost: a\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
)


@given(start=_start, rest=_soup)
@example(start=b"", rest=b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
def test_what_we_take_of_a_soup_h11_reads_the_same(start: bytes, rest: bytes) -> None:
    """Nothing but BadMessage comes out, and no body that h11 would end elsewhere."""
    data = start + rest
    try:
        ours = _ours(data)
    except BadMessage:
        return
    if ours is None:
        return
    with contextlib.suppress(h11.RemoteProtocolError):  # it may be stricter
        theirs = _theirs(data)
        assert theirs is not None and ours[3] == theirs[3]


@given(fields=_fields, body=st.lists(st.binary(min_size=1, max_size=300), max_size=4), sized=st.booleans())
def test_h11_reads_the_requests_that_we_write(fields: list[Field], body: list[bytes], sized: bool) -> None:
    whole = b"".join(body)
    head: list[Field] = [
        (b":method", b"PUT"),
        (b":scheme", b"http"),
        (b":path", b"/a"),
        (b":authority", b"a"),
    ]
    head += _plain(fields)
    if sized:
        head.append((b"content-length", b"%d" % len(whole)))
    made, chunked = finish_request(RequestEncoder(b"").encode(tuple(head)), 0)
    data = made + (b"".join(map(chunk, body)) + last_chunk() if chunked else whole)
    theirs = _theirs(data)
    assert theirs is not None and theirs[2] == _plain(fields) and theirs[3] == whole


@given(fields=_fields, body=st.lists(st.binary(min_size=1, max_size=300), max_size=4))
def test_h11_reads_the_responses_that_we_write(fields: list[Field], body: list[bytes]) -> None:
    made = ResponseEncoder().encode(((b":status", b"200"), *_plain(fields)))
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(
        made[1:] + b"transfer-encoding: chunked\r\n\r\n" + b"".join(map(chunk, body)) + last_chunk()
    )
    head = peer.next_event()
    assert isinstance(head, h11.Response) and head.status_code == 200
    got = b""
    while isinstance(event := peer.next_event(), h11.Data):
        got += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage) and got == b"".join(body)

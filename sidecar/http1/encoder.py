# Hot path: bench/http1.py
"""Blocks of the switch as heads of HTTP/1.1.

The encoders have the face of `h2.encoder.Encoder`. What they make is not quite a head: how the body is framed
is known only when the block is written, so that is left to `finish_*`, told by the first octet.
"""

from ..h2.block import NO_EXTRA, Extra, Field
from . import websocket
from .statuses import REASONS

HAS_LENGTH = 0x01  # content-length is among the fields
HAS_DATE = 0x02
INFORMATIONAL = 0x04
BODILESS = 0x08  # by the status: 204, 304
TRAILERS = 0x10
TUNNEL = 0x20  # CONNECT, in either form
LENGTHLESS = 0x40  # a request whose method says that without a body there is no need to say so

MEMO_ENTRIES_MAX = 128
MEMO_BYTES_MAX = 64 * 1024

_BODY_IS_USUAL = frozenset((b"POST", b"PUT", b"PATCH"))
_DROPPED = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"host")
)

CLOSE = b"connection: close\r\n"
KEEP_ALIVE = b"connection: keep-alive\r\n"  # HTTP/1.0 asks for it
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Encoder:
    """Of one direction of one connection."""

    __slots__ = ("_bytes", "_kept", "memo")

    def __init__(self) -> None:
        self.memo: dict[int, bytes] = {}  # by the identity of the field tuple, which _kept keeps alive
        self._kept: list[tuple[Field, ...]] = []
        self._bytes = 0

    def set_table_size(self, peer_setting: int) -> None:
        """There is no table."""

    def encode(self, fields: tuple[Field, ...], extra: Extra = NO_EXTRA) -> bytes:
        """The head but for its framing; memoised by the identity of `fields` where there is no `extra`."""
        if extra.wire:
            return self._encode((*fields, *((literal.name, literal.value()) for literal in extra)))
        made = self.memo.get(id(fields))
        if made is None:
            made = self._encode(fields)
            if len(self.memo) >= MEMO_ENTRIES_MAX or self._bytes > MEMO_BYTES_MAX:
                self.memo.clear()
                self._kept.clear()
                self._bytes = 0
            self.memo[id(fields)] = made
            self._kept.append(fields)
            self._bytes += len(made)
        return made

    def _encode(self, fields: tuple[Field, ...]) -> bytes:
        raise NotImplementedError


class ResponseEncoder(Encoder):
    __slots__ = ()

    def _encode(self, fields: tuple[Field, ...]) -> bytes:
        marks, lines = 0, [b""]
        status = b""
        for name, value in fields:
            if name == b":status":
                status = value
            elif name not in _DROPPED:
                if name == b"content-length":
                    marks |= HAS_LENGTH
                elif name == b"date":
                    marks |= HAS_DATE
                lines.append(b"%b: %b\r\n" % (name, value))
        if not status:
            return bytes((TRAILERS,)) + b"".join(lines)
        if status[:1] == b"1":
            marks |= INFORMATIONAL
        elif status in (b"204", b"304"):
            marks |= BODILESS
        lines[0] = b"HTTP/1.1 %b %b\r\n" % (status, REASONS.get(status, b""))
        return bytes((marks,)) + b"".join(lines)


class RequestEncoder(Encoder):
    """`websocket_key` goes with the one upgrade that the connection may carry."""

    __slots__ = ("websocket_key",)

    def __init__(self, websocket_key: bytes) -> None:
        super().__init__()
        self.websocket_key = websocket_key

    def _encode(self, fields: tuple[Field, ...]) -> bytes:
        pseudo = {name: value for name, value in fields if name[:1] == b":"}
        if not pseudo:
            return bytes((TRAILERS,)) + b"".join(b"%b: %b\r\n" % field for field in fields)
        method = pseudo[b":method"]
        marks, lines = self._line(method, pseudo, fields)
        cookies = []
        for name, value in fields:
            if name == b"cookie":
                cookies.append(value)
            elif name[:1] != b":" and name not in _DROPPED:
                if name == b"content-length":
                    marks |= HAS_LENGTH
                lines.append(b"%b: %b\r\n" % (name, value))
        if cookies:  # RFC 9113 section 8.2.3
            lines.append(b"cookie: %b\r\n" % b"; ".join(cookies))
        return bytes((marks,)) + b"".join(lines)

    def _line(
        self, method: bytes, pseudo: dict[bytes, bytes], fields: tuple[Field, ...]
    ) -> tuple[int, list[bytes]]:
        """The request line, and what belongs right behind it."""
        authority = pseudo.get(b":authority")
        if authority is None:
            authority = next((value for name, value in fields if name == b"host"), b"")
        protocol = pseudo.get(b":protocol")
        if protocol is not None:
            lines = [b"GET %b HTTP/1.1\r\nhost: %b\r\n" % (pseudo[b":path"], authority)]
            lines.append(b"connection: Upgrade\r\nupgrade: %b\r\n" % protocol)
            if protocol == websocket.WEBSOCKET:
                lines.append(b"sec-websocket-key: %b\r\n" % self.websocket_key)
            return TUNNEL, lines
        if method == b"CONNECT":
            return TUNNEL, [b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (authority, authority)]
        marks = 0 if method in _BODY_IS_USUAL else LENGTHLESS
        return marks, [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, pseudo[b":path"], authority)]


def finish_request(made: bytes, end: int) -> tuple[bytes, bool]:
    """The whole head of a request that an Encoder made, and whether its body goes in chunks. `end`: there is
    no body."""
    marks = made[0]
    if marks & (HAS_LENGTH | TUNNEL):
        return made[1:] + b"\r\n", False
    if end:
        return made[1:] + (b"\r\n" if marks & LENGTHLESS else b"content-length: 0\r\n\r\n"), False
    return made[1:] + CHUNKED + b"\r\n", True


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def last_chunk(trailers: bytes = b"") -> bytes:
    """`trailers` as an Encoder made them."""
    return b"0\r\n%b\r\n" % trailers[1:] if trailers else LAST_CHUNK

# Hot path: bench/switch.py
"""Connections to the application over HTTP/1.1: one exchange at a time, kept alive between them."""

import asyncio
import os
from typing import TYPE_CHECKING, cast

from ..h2.connection import PAUSED
from ..h2.errors import ConnectionFault, ErrorCode
from ..h2.flow import discard, pump
from ..h2.frames import DATA, END_STREAM, FRAME_BYTES_MAX, HEADER, HEADERS, WINDOW_UPDATE
from ..h2.stream import CLOSED, RECV_DONE, SENT_DONE, Stream
from ..http1 import websocket
from ..http1.decoder import Decoder, accept_of
from ..http1.encoder import TRAILERS, RequestEncoder, chunk, finish_request, last_chunk
from ..http1.errors import BadMessage
from ..http1.message import Message
from ..http1.reader import Reader
from ..policy.retry import FailureKind
from .exchange import Exchange
from .upstream import WRITE_HIGH_BYTES, Upstream
from .written import OPEN_WINDOW, written

if TYPE_CHECKING:
    from ..h2 import decoder as h2_decoder
    from ..h2 import encoder as h2_encoder
    from ..h2.outbox import Outbox
    from .endpoint import Endpoint
    from .pool import Pool

# An application that says nothing keeps connections at least so long (Node's default is 5 s): we leave first.
IDLE_S = 4
WAITING_BYTES_MAX = 64 * 1024
# RFC 9110 section 9.2.2: to send these twice is to send them once.
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
_pack = HEADER.pack


class Http1Upstream(Upstream):
    """The client role of one HTTP/1.1 connection."""

    def __init__(self, outbox: "Outbox", pool: "Pool", endpoint: "Endpoint") -> None:
        super().__init__(outbox, pool, endpoint)
        self.reader = Reader(cast(Decoder, self.decoder))
        self.encoded = {}  # a known head is not followed by literals as they are: each goes through `encode`
        self.window = self.stream_window = OPEN_WINDOW
        self.streams_max = 1
        self.sid = 0  # the exchange being carried
        self.headed = False  # the head of its answer has come
        self.chunked = False  # its request goes in chunks
        self.protocol = b""  # that the request asks to switch to
        self.tunnel = False  # it has been switched to
        self.keep_alive = True
        self.served = 0
        self.answered = False  # a byte of the answer has come
        self.ended = False  # the application has closed its side
        self.held_back = False
        self.idle_s = 0
        self.idle_max_s = IDLE_S

    def codec(self) -> "tuple[h2_decoder.Decoder, h2_encoder.Encoder]":
        """Whole heads are its blocks (`http1.decoder`)."""
        encoder = RequestEncoder(websocket.key_of(os.urandom(16)))
        return Decoder(requests=False), encoder  # type: ignore[return-value]  # they have the same face

    # --- asyncio -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        aio = cast(asyncio.Transport, transport)
        self.transport = self.aio = aio
        aio.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        if not self.pool.admit(self, aio):
            self.closing = True
            aio.abort()
            return
        self.greeted = self.settled = True
        self._set_room()
        self.ready.set_result(None)

    def data_received(self, data: bytes) -> None:
        outbox = self.outbox
        outbox.now = outbox.clock()
        self.heard = True
        if self.closing:
            return
        if self.sid not in self.streams:  # an answer to nothing: whose would it be?
            self.abort()
            return
        self.answered = True
        self.reader.feed(data)
        self._advance()
        outbox.flush()

    def eof_received(self) -> bool:
        if self.closing:
            return False
        self.ended = True
        if self.sid not in self.streams:
            return False
        self._advance()
        self.outbox.flush()
        return not self.closing

    # --- answers -------------------------------------------------------------------------------------

    def _advance(self) -> None:
        sid = self.sid
        try:
            while sid == self.sid and (stream := self.streams.get(sid)) is not None:
                if stream.state & RECV_DONE:
                    break
                if not (self._forward(stream) if self.headed else self._head(stream)):
                    break
        except BadMessage as bad:
            self._malformed(sid, bad.reason)
        except ConnectionFault as fault:
            self._malformed(sid, fault.reason)
        if self.closing or self.transport is None:
            return
        stop = self.reader.waiting > WAITING_BYTES_MAX
        if stop != self.held_back:
            self.held_back = stop
            if stop:
                self.aio.pause_reading()
            else:
                self.aio.resume_reading()

    def _malformed(self, sid: int, reason: str) -> None:
        stream = self.streams.get(sid)
        self.keep_alive = False
        if stream is not None:
            self.on_stream_fault(stream, ErrorCode.PROTOCOL_ERROR, reason)
        self.abort()

    def _head(self, stream: Stream) -> bool:
        """Takes the head of the answer, or of an interim one. False: it is not there yet."""
        message = self.reader.head()
        if message is None:
            if self.ended:
                self.abort()  # `connection_lost` says what becomes of the exchange
            return False
        exchange = cast(Exchange, stream.peer)
        raw = self.reader.raw
        if message.upgrade:
            self._switched(stream, message, raw)
            return True
        if message.head.status < 200:
            self.on_block(stream.sid, raw, 0)
            return True
        self.headed = True
        bodiless = exchange.plan.head_only or message.head.status in (204, 304)
        more = self.reader.frame_response(message, bodiless)
        self.keep_alive = message.keep_alive and not self.reader.whole_at_end()
        if message.keep_alive_s:
            self.idle_max_s = max(1, message.keep_alive_s - 1)
        if self.protocol:
            self._stays(stream)
        if not more:
            self._last()
        self.on_block(stream.sid, raw, 0 if more else END_STREAM)
        return True

    def _switched(self, stream: Stream, message: Message, raw: bytes) -> None:
        """101: if it was asked for, the connection is another protocol's from here on."""
        if message.upgrade != self.protocol:
            raise BadMessage("101 without having been asked, or to another protocol")
        if self.protocol == websocket.WEBSOCKET:
            key = cast(RequestEncoder, self.encoder).websocket_key
            if accept_of(raw) != websocket.accept(key):
                raise BadMessage("sec-websocket-accept is wrong")
        self.headed = self.tunnel = True
        self.keep_alive = False
        self.reader.frame_tunnel()
        stream.window = OPEN_WINDOW
        self.on_block(stream.sid, raw, 0)
        pump(stream)

    def _stays(self, stream: Stream) -> None:
        """The application does not switch: it gets nothing of what the caller would have sent then."""
        self.protocol = b""
        discard(stream, self.outbox)
        self.keep_alive = False
        stream.window = OPEN_WINDOW

    def _forward(self, stream: Stream) -> bool:
        room = stream.recv_window
        if room <= 0:
            return False
        payload, ended = self.reader.body(room if room < FRAME_BYTES_MAX else FRAME_BYTES_MAX)
        if not ended and not payload:
            if not self.ended:
                return False
            if not self.reader.whole_at_end():
                self.abort()  # cut off in the middle
                return False
            ended = True
        if ended:
            self._last()
            if self.reader.trailers and not self.tunnel:
                self.decoder.decode(self.reader.trailers, trailers=True)
                if payload:
                    self._send_on(payload, 0, stream.sid)
                self.on_block(stream.sid, self.reader.trailers, END_STREAM)
                return True
        self._send_on(payload, END_STREAM if ended else 0, stream.sid)
        return True

    def _last(self) -> None:
        """The answer is whole. What has come behind it answers nothing."""
        if self.reader.waiting or self.ended:
            self.keep_alive = False

    def _send_on(self, payload: bytes, end: int, sid: int) -> None:
        """As if a DATA frame had come."""
        self._walk(_pack(0, len(payload), DATA, end, sid) + payload, 0)

    # --- requests ------------------------------------------------------------------------------------

    def open(self, exchange: Exchange, endpoint: "Endpoint") -> None:
        """Takes the one exchange, and leaves the idle ones."""
        if self in endpoint.conns:
            endpoint.conns.remove(self)
        head = exchange.block.head
        self.sid = self.next_sid
        self.headed = self.chunked = self.tunnel = self.answered = False
        self.protocol = head.protocol.lower()
        super().open(exchange, endpoint)
        if self.protocol and self.sid in self.streams:  # nothing of it before the application has switched
            self.streams[self.sid].window = 0

    def flush(self) -> None:
        out = b"".join(self.out)
        self.out.clear()
        if self.closing or self.transport is None:
            return
        parts: list[bytes] = []
        credited = over = False
        for kind, end, _sid, payload in written(out):
            if kind == DATA:
                if payload:
                    parts.append(chunk(payload) if self.chunked else payload)
                if end and self.chunked:
                    parts.append(last_chunk())
                over = over or end != 0
            elif kind == HEADERS:
                self._write_head(payload, end, parts)
            elif kind == WINDOW_UPDATE:
                credited = True
        if parts:
            self.write(b"".join(parts))
        self.window = OPEN_WINDOW - PAUSED if self.paused else OPEN_WINDOW
        stream = self.streams.get(self.sid)
        if stream is not None and (self.tunnel or not self.protocol):
            stream.window = OPEN_WINDOW
        if over and self.tunnel and self.aio.can_write_eof() and stream is not None:
            self.aio.write_eof()
        if credited:
            self._advance()

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def _write_head(self, made: bytes, end: int, parts: list[bytes]) -> None:
        if made[0] & TRAILERS:
            if self.chunked:
                parts.append(last_chunk(made))
            return
        head, self.chunked = finish_request(made, end)
        parts.append(head)

    # --- ends ----------------------------------------------------------------------------------------

    def closed(self, stream: Stream) -> None:
        """The exchange is over: the connection waits for the next, or goes."""
        self.served += 1
        self.idle_s = 0
        if self.keep_alive and not self.retired and not self.closing:
            self.endpoint.conns.insert(0, self)  # the one used last is used next, so that the others can go
        elif not self.retired:
            self.retired = True
            self.room = 0
            self.pool.retired(self)
        super().closed(stream)

    def reset_stream(self, stream: Stream, code: int) -> None:
        """There is no word for it but to close the connection."""
        if stream.state == CLOSED and stream.sid not in self.streams:
            return
        discard(stream, self.outbox)
        stream.state = CLOSED
        self.keep_alive = False
        self.closed(stream)

    def _lose(self, stream: Stream) -> None:
        """A connection that the application closed while our request was on its way to it."""
        exchange = cast(Exchange, stream.peer)
        whole = exchange.replay is not None and exchange.state & (RECV_DONE | SENT_DONE) == RECV_DONE
        if self.served and not self.answered and whole and exchange.block.head.method in _IDEMPOTENT:
            self._unprocessed(stream, FailureKind.STALE)
        else:
            super()._lose(stream)

    def _leave(self) -> None:
        self.finish()

    def on_second(self) -> None:
        """Idle connections go before the application closes them under a request."""
        if not self.streams:
            self.idle_s += 1
            if self.idle_s >= self.idle_max_s:
                self.retire()

# Hot path: bench/switch.py
"""Callers that speak HTTP/1.1: each request is a stream of the switch, one at a time and in order.

What the switch writes to the stream are HTTP/2 frames (`written`), so everything that holds for a request
over HTTP/2 holds here, in the same code.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from ..h2 import frames
from ..h2.connection import PAUSED
from ..h2.errors import ConnectionFault, ErrorCode
from ..h2.frames import DATA, END_STREAM, FRAME_BYTES_MAX, HEADER, HEADERS, RST_STREAM, WINDOW_UPDATE
from ..h2.stream import RECV_DONE
from ..http1 import websocket
from ..http1.decoder import Decoder
from ..http1.encoder import (
    BODILESS,
    CHUNKED,
    CLOSE,
    HAS_DATE,
    HAS_LENGTH,
    INFORMATIONAL,
    KEEP_ALIVE,
    TRAILERS,
    ResponseEncoder,
    chunk,
    last_chunk,
)
from ..http1.errors import BadMessage
from ..http1.message import Message
from ..http1.reader import Reader
from ..http1.statuses import REASONS
from .dates import http_date
from .downstream import WRITE_HIGH_BYTES, Downstream
from .exchange import Exchange, end_upstream
from .written import OPEN_WINDOW, written

if TYPE_CHECKING:
    from ..h2 import decoder as h2_decoder
    from ..h2 import encoder as h2_encoder
    from ..h2.outbox import Outbox
    from .side import Side

# Bytes of requests that wait behind the one being served. Above it nothing more is read.
WAITING_BYTES_MAX = 64 * 1024
# Of a body whose answer was given before it had come: read and dropped, so that the answer arrives.
DROPPED_BYTES_MAX = 1024 * 1024
HEAD_S = 10  # for a head, from its first byte: who takes longer holds a connection and says nothing
IDLE_S = 300  # between requests
DRAIN_IDLE_S = 2  # and once we want to go: whoever asks often has asked by then, and was told
BODY_SILENCE_S = 120  # within a body that we are ready to take
_CONTINUE = frames.block_frames(bytes((INFORMATIONAL,)) + b"HTTP/1.1 100 Continue\r\n", 0, 0)
_pack = HEADER.pack
# RST_STREAM before an answer: the status that stands for it.
_RESET_STATUS: dict[int, int] = {
    ErrorCode.PROTOCOL_ERROR: 400,
    ErrorCode.REFUSED_STREAM: 503,
    ErrorCode.ENHANCE_YOUR_CALM: 503,
}


class Http1Downstream(Downstream):
    """The server role of one HTTP/1.1 connection."""

    def __init__(self, outbox: "Outbox", side: "Side") -> None:
        super().__init__(outbox, side)
        self.reader = Reader(cast(Decoder, self.decoder))
        self.stream_window = self.window = OPEN_WINDOW
        self.message: Message | None = None  # the request being served, until its answer is written
        self.sid = 0
        self.receiving = False  # its body, or a tunnel's bytes, are still to come
        self.answering = False  # the head of its answer is written
        self.chunked = False  # its answer goes in chunks
        self.complete = False  # all of its answer is written
        self.tunnel = False  # another protocol has taken over
        self.ended = False  # the caller has closed its side of the tunnel
        self.last_one = False  # after this answer the connection ends
        self.held_back = False  # reading has stopped
        self.dropped = 0
        self.waited_s = 0

    def codec(self, side: "Side") -> "tuple[h2_decoder.Decoder, h2_encoder.Encoder]":
        """Whole heads are its blocks (`http1.decoder`)."""
        decoder = Decoder(
            requests=True, authority=side.authority, promoted=side.reads, list_max=side.header_list_max
        )
        return decoder, ResponseEncoder()  # type: ignore[return-value]  # they have the same face

    # --- asyncio -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.aio = self.transport = cast(asyncio.Transport, transport)
        self.aio.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self.greeted = self.settled = True
        if not self.side.admit(self):
            self.closing = True
            self.aio.abort()

    def data_received(self, data: bytes) -> None:
        outbox = self.outbox
        outbox.now = outbox.clock()
        self.heard = True
        if self.closing:
            return
        self.reader.feed(data)
        self._advance()
        outbox.flush()

    def eof_received(self) -> bool:
        """The caller sends no more: a tunnel is half closed, a request is cancelled."""
        if self.closing or not self.tunnel:
            return False
        self.ended = True
        self._advance()
        self.outbox.flush()
        return not self.closing

    # --- requests ------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Goes on with what has been received, as far as it may."""
        try:
            while not self.closing:
                if self.message is None:
                    if self.last_one or (message := self.reader.head()) is None:
                        break
                    self._begin(message)
                elif self.receiving:
                    if not self._forward():
                        break
                elif self.complete and not self.tunnel:
                    self._answered()
                else:
                    break
        except BadMessage as bad:
            self._refuse_message(bad)
        except ConnectionFault as fault:
            self.fail(fault)
        if self.aio is not None and not self.closing:
            self._hold_back(self.reader.waiting > WAITING_BYTES_MAX)

    def _hold_back(self, stop: bool) -> None:
        if stop != self.held_back and self.aio is not None:
            self.held_back = stop
            if stop:
                self.aio.pause_reading()
            else:
                self.aio.resume_reading()

    def _begin(self, message: Message) -> None:
        self.message = message
        self.sid = sid = self.last_sid + 2 if self.last_sid else 1
        self.answering = self.chunked = self.complete = False
        self.waited_s = 0
        self.last_one = not message.keep_alive or self.draining != 0
        tunnel = message.upgrade != b"" or message.method == b"CONNECT"
        self.receiving = not tunnel and self.reader.frame_request(message)
        self.on_block(sid, self.reader.raw, 0 if self.receiving or tunnel else END_STREAM)
        if message.expects and self.receiving and sid in self.streams and not self.reader.waiting:
            self.send(_CONTINUE)

    def _forward(self) -> bool:
        """Passes a piece of the body on. False: none is there, or there is no room for it."""
        exchange = self.streams.get(self.sid)
        if exchange is None or exchange.state & RECV_DONE:
            return self._drop()
        room = exchange.recv_window
        if room <= 0:
            return False
        payload, ended = self.reader.body(room if room < FRAME_BYTES_MAX else FRAME_BYTES_MAX)
        if ended:
            self.receiving = False
            if self.reader.trailers and not self.tunnel:
                self.decoder.decode(self.reader.trailers, trailers=True)  # a fault is the message's
                if payload:
                    self._send_on(payload, 0)
                self.on_block(self.sid, self.reader.trailers, END_STREAM)
                return True
        elif not payload:
            if self.ended:
                self._end_tunnel()
            return False
        self._send_on(payload, END_STREAM if ended else 0)
        return True

    def _send_on(self, payload: bytes, end: int) -> None:
        """As if a DATA frame had come."""
        if self.sid in self.streams:
            self._walk(_pack(0, len(payload), DATA, end, self.sid) + payload, 0)

    def _drop(self) -> bool:
        """The answer was given without the rest of the body."""
        payload, ended = self.reader.body(FRAME_BYTES_MAX)
        self.dropped += len(payload)
        if ended:
            self.receiving = False
            return True
        if self.dropped > DROPPED_BYTES_MAX:
            self.finish()
        return bool(payload)

    # --- refusals ------------------------------------------------------------------------------------

    def _refuse_message(self, bad: BadMessage) -> None:
        self.side.counted.refuse("malformed")
        self._end_exchange()
        self._refuse_with(bad.status, bad.reason)

    def _end_exchange(self) -> None:
        for stream in list(self.streams.values()):
            end_upstream(cast(Exchange, stream), ErrorCode.CANCEL)
            self.reset_stream(stream, ErrorCode.CANCEL)
        self.out.clear()
        self.receiving = False

    def _refuse_with(self, status: int, reason: str) -> None:
        """Answers on our own behalf, if an answer is not under way, and ends the connection."""
        if self.transport is not None and not self.closing and not self.answering:
            body = f"weft: {reason}\n".encode()
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\ndate: %b\r\n%b\r\n%b"
                % (status, REASONS.get(b"%d" % status, b""), len(body), http_date(), CLOSE, body)
            )
        self.finish()

    def fail(self, fault: ConnectionFault) -> None:
        self.side.counted.refuse(fault.code.name.lower())
        self._end_exchange()
        self._refuse_with(400, fault.reason)

    # --- answers -------------------------------------------------------------------------------------

    def flush(self) -> None:
        out = b"".join(self.out)
        self.out.clear()
        if self.closing or self.transport is None:
            return
        parts: list[bytes] = []
        credited = ended = False
        for kind, end, _sid, payload in written(out):
            if kind == DATA:
                if payload:
                    parts.append(chunk(payload) if self.chunked else payload)
                if end and self.chunked:
                    parts.append(last_chunk())
            elif kind == HEADERS:
                self._write_head(payload, end, parts)
            elif kind == WINDOW_UPDATE:
                credited = True
            elif kind == RST_STREAM and not ended:
                self._cut(int.from_bytes(payload, "big"), parts)
                return
            ended = ended or (end != 0 and kind != RST_STREAM)
        if parts:
            self.write(b"".join(parts))
        self._open_windows()
        if ended:
            self._answer_ended()
        if credited or ended:
            self._advance()

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def _open_windows(self) -> None:
        self.window = OPEN_WINDOW - PAUSED if self.paused else OPEN_WINDOW
        exchange = self.streams.get(self.sid)
        if exchange is not None:
            exchange.window = OPEN_WINDOW

    def _write_head(self, made: bytes, end: int, parts: list[bytes]) -> None:
        message = self.message
        if message is None:
            return
        marks = made[0]
        if marks & TRAILERS:
            if self.chunked:
                parts.append(last_chunk(made))
        elif marks & INFORMATIONAL:
            if message.version == b"1.1":
                parts.append(made[1:] + b"\r\n")
        else:
            self.answering = True
            switched = (message.upgrade or message.method == b"CONNECT") and made[10:11] == b"2"
            parts.append(self._switch(message, made) if switched else self._frame(message, made, end))

    def _frame(self, message: Message, made: bytes, end: int) -> bytes:
        """How the body of the answer is framed (RFC 9112 section 6)."""
        marks = made[0]
        head = made[1:] if marks & HAS_DATE else made[1:] + b"date: %b\r\n" % http_date()
        self.chunked = False
        if not marks & (HAS_LENGTH | BODILESS) and message.method != b"HEAD":
            if end:
                head += b"content-length: 0\r\n"
            elif message.version == b"1.1":
                self.chunked = True
                head += CHUNKED
            else:
                self.last_one = True
        if message.upgrade or message.method == b"CONNECT":  # no tunnel: the request is over with its head
            self._send_on(b"", END_STREAM)
        if self.last_one:
            head += CLOSE
        elif message.version != b"1.1":
            head += KEEP_ALIVE
        return head + b"\r\n"

    def _switch(self, message: Message, made: bytes) -> bytes:
        """From here on the connection is another protocol's."""
        self.tunnel = self.receiving = self.last_one = True
        self.reader.frame_tunnel()
        if message.method == b"CONNECT":
            return b"HTTP/1.1 200 OK\r\n\r\n"
        head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: %b\r\n" % message.upgrade
        if message.upgrade == websocket.WEBSOCKET:
            head += b"sec-websocket-accept: %b\r\n" % websocket.accept(message.websocket_key)
        return head + made[made.index(b"\r\n") + 2 :] + b"\r\n"

    def _answer_ended(self) -> None:
        """All of the answer is written."""
        self.complete = True
        if self.tunnel:
            if self.receiving and self.aio is not None and self.aio.can_write_eof():
                self.aio.write_eof()
            else:
                self.finish()
        elif self.receiving and self.sid not in self.streams:
            self.dropped = 0
            if self.message is not None and self.message.expects:  # the rest may never come
                self.finish()

    def _end_tunnel(self) -> None:
        """The caller has sent its last byte, and it was passed on."""
        self.receiving = False
        self._send_on(b"", END_STREAM)
        if self.complete:
            self.finish()

    def _answered(self) -> None:
        """The exchange is over on both sides: the next may begin."""
        if self.last_one:
            self.finish()
        self.message = None
        self.waited_s = 0

    def _cut(self, code: int, parts: list[bytes]) -> None:
        """The stream was reset. Before an answer it can be said; afterwards the caller must see it break."""
        if self.complete:
            self._advance()
            return
        if self.answering or self.tunnel:
            if parts and self.transport is not None:
                self.transport.write(b"".join(parts))
            self.abort()
            return
        self._refuse_with(
            _RESET_STATUS.get(ErrorCode(code) if code < 14 else 13, 502), "the request was not served"
        )

    # --- ends ----------------------------------------------------------------------------------------

    def drain(self) -> None:
        """The next answer says that it is the last. A connection is not closed while its caller believes that
        it may ask on it: a request that crosses the close is lost (RFC 9112 section 9.6)."""
        if self.closing or self.draining:
            return
        self.draining = 1
        self.waited_s = 0
        if self.message is not None and not self.answering:
            self.last_one = True

    def drain_finally(self) -> None:
        """There is no second step."""

    def on_second(self) -> None:
        """Who says nothing in time goes."""
        self.waited_s += 1
        if self.message is None:
            if self.reader.waiting and self.waited_s > HEAD_S:
                self._refuse_with(408, "the head of the request did not come in time")
            elif not self.reader.waiting and self.waited_s > (DRAIN_IDLE_S if self.draining else IDLE_S):
                self.finish()
        elif self.receiving and not self.tunnel and not self.held_back and self.silent_s > BODY_SILENCE_S:
            self._end_exchange()
            self._refuse_with(408, "the body of the request did not come in time")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._open_windows()

# Hot path: bench/switch.py
"""Connections that we open: to a peer's sidecar, or to our own application."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from weft.errors import Unavailable

from ..errors import UpstreamLost
from ..h2 import abuse, control, frames, settings
from ..h2.abuse import INFORMATIONAL_MAX
from ..h2.connection import LARGE_BLOCK_BYTES, NO_LIMIT, Connection
from ..h2.decoder import Decoder
from ..h2.encoder import Encoder
from ..h2.errors import ConnectionFault, ErrorCode, StreamFault
from ..h2.flow import discard, park, pump
from ..h2.frames import END_HEADERS, HEADER, HEADERS, RST_STREAM
from ..h2.outbox import NEVER, Outbox
from ..h2.stream import CLOSED, RECV_DONE, SENT_DONE, Stream
from ..policy.outlier import is_failure
from ..policy.retry import FailureKind
from ..respond import ANSWERS, Answer
from .course import answered, retry_answer, shorten, try_again
from .exchange import Exchange, answer, release_replay

if TYPE_CHECKING:
    from .endpoint import Endpoint, Lane
    from .peer import Peer
    from .pool import Pool

WRITE_HIGH_BYTES = 256 * 1024
# Rolled long before ids run out (2^31): the tick that looks comes once a second.
STREAM_ID_ROLL = 0x7000_0000
# Streams that we reset before the connection is rolled, and how many of them a second are forgotten. A caller
# that cancels must not make the next hop refuse the connection, which is everybody's: servers stand 1000 at
# once and 33 a second (nghttp2 since 1.57, hence Node) or more.
RESETS_ROLL, RESETS_PER_S = 400, 30
# A sidecar stands more (`h2.abuse`), less what may be open when the connection is rolled and reset later.
# Each roll there is a handshake: at 400 a flood of cancelled calls made fifty of them a second.
PEER_RESETS_ROLL, PEER_RESETS_PER_S = abuse.RESETS_MAX - settings.STREAMS_MAX, abuse.RESETS_PER_S * 3 // 4
# A caller that goes away resets all that it had at once, after the roll as well: so many streams of one
# connection to an application, that the two stay below the thousand. A sidecar stands what it lets be opened.
APP_STREAMS_MAX = 512
NO_CONTENT = frozenset((204, 304))
_LOST = ANSWERS[UpstreamLost]
_MALFORMED = Answer(502, 13, "weft: malformed response from the instance", "malformed_response")
_pack = HEADER.pack


class Upstream(Connection, asyncio.Protocol):
    """The client role."""

    __slots__ = ("endpoint", "lane", "pool", "proven", "ready", "resets_sent", "retired", "room", "why")

    client = True

    def __init__(
        self, outbox: Outbox, pool: "Pool", endpoint: "Endpoint", lane: "Lane | None" = None
    ) -> None:
        super().__init__(outbox, *self.codec())
        self.pool = pool
        self.endpoint = endpoint
        self.lane = lane or endpoint  # the connections to it among which it is
        self.room = 0  # how many streams it may carry now; 0 unless SETTINGS came and it is in use
        self.retired = False
        self.resets_sent = 0
        self.proven: Peer | None = None  # who answered; None for our own application
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.why = "the connection was closed before SETTINGS"
        self.abuse.dribbles_calm = NO_LIMIT  # whose answers come as they please: their callers wait for them

    def codec(self) -> tuple[Decoder, Encoder]:
        """What reads heads from its peer, and what makes those that it sends."""
        return Decoder(requests=False), Encoder()

    # --- asyncio -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        aio = cast(asyncio.Transport, transport)
        self.transport = aio
        aio.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        if not self.pool.admit(self, aio):
            self.closing = True
            aio.abort()
            return
        control.open_connection(self)
        self.outbox.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.transport = None
        self.retired = True
        self.room = 0
        if not self.ready.done():
            self.ready.set_exception(Unavailable(self.why))
            self.ready.exception()  # seen, even if nobody waits any more
        for stream in list(self.streams.values()):
            self._lose(stream)
        self.out.clear()
        self.pool.lost(self)
        self.outbox.flush()

    def _lose(self, stream: Stream) -> None:
        """The connection broke under the stream. It may have been processed: no retry without a policy."""
        whole = stream.state & RECV_DONE
        exchange = cast(Exchange, stream.peer)
        self.take_back(stream)
        if not whole and try_again(exchange, self.endpoint, FailureKind.CONNECTION_LOST):
            self.pool.failed(self.endpoint)
            return
        if whole or exchange.state & SENT_DONE:
            if not exchange.state & RECV_DONE:
                self._reset_after(exchange, ErrorCode.NO_ERROR)
            return
        answer(exchange, _LOST, f"weft: lost the connection to {self.pool.name}")

    def eof_received(self) -> bool:
        self.go_on_to_the_end()
        return False

    def on_settings(self) -> None:
        self._set_room()
        if not self.ready.done():
            self.ready.set_result(None)
        else:
            self.pool.serve(self.endpoint)

    def _set_room(self) -> None:
        usable = self.settled and not self.retired and not self.paused and not self.closing
        most = self.streams_max if self.proven is not None else min(self.streams_max, APP_STREAMS_MAX)
        self.room = most if usable else 0

    # --- requests ------------------------------------------------------------------------------------

    def open(self, exchange: Exchange, endpoint: "Endpoint") -> None:
        """Sends the request's head on a new stream, and what waited behind it."""
        sid = self.next_sid
        self.next_sid = sid + 2
        block = exchange.block
        plan = exchange.plan
        half = Stream(self, sid, self.stream_window)
        half.peer = exchange
        exchange.peer = half
        exchange.endpoint = endpoint
        self.streams[sid] = half
        endpoint.active += 1
        end = exchange.state & RECV_DONE  # the same bit as END_STREAM
        encoded = self.encoded.get(id(plan.fields))
        if encoded is None:
            encoded = self.encoder.encode(plan.fields, block.extra)
        elif block.extra.wire:  # inlined: -0.1 µs
            encoded += block.extra.wire
        out = self.out
        if not out:
            self.dirty.append(self)
        if len(encoded) <= LARGE_BLOCK_BYTES:
            out.append(_pack(0, len(encoded), HEADERS, END_HEADERS | end, sid))
            out.append(encoded)
        else:
            self.write_large(sid, encoded, end)
        if end:
            half.state = SENT_DONE

    def open_queued(self, exchange: Exchange, endpoint: "Endpoint") -> None:
        """As `open`, for an exchange whose body began to wait before there was a connection."""
        waiting = exchange.peer
        parked, held = waiting.parked, waiting.parked_bytes
        waiting.parked, waiting.state = None, CLOSED
        ended = exchange.state & RECV_DONE
        if parked:
            exchange.state &= ~RECV_DONE
        if exchange.due != NEVER:
            shorten(exchange, self.outbox.clock())
        self.open(exchange, endpoint)
        exchange.state |= ended
        if parked:
            exchange.peer.parked, exchange.peer.parked_bytes = parked, held
            pump(exchange.peer)

    # --- responses -----------------------------------------------------------------------------------

    def on_block(self, sid: int, block: bytes, end: int) -> None:
        stream = self.streams.get(sid)
        if stream is None:
            self._stray_block(sid, block)
            return
        decoded = (self.trailer_memo if stream.headed else self.memo).get(block)
        if decoded is None:
            try:
                decoded = self.decoder.decode(block, trailers=stream.headed)
            except StreamFault as fault:
                self.on_stream_fault(stream, ErrorCode.PROTOCOL_ERROR, fault.reason)
                return
        head = decoded.head
        exchange: Exchange = stream.peer  # type: ignore[assignment]  # always; cast() costs 0.05 µs
        if stream.headed:
            if stream.state & RECV_DONE:
                self.on_stream_fault(stream, ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
                return
            if not end or stream.left > 0:
                self.on_stream_fault(stream, ErrorCode.PROTOCOL_ERROR, "trailers out of place")
                return
            exchange.grpc_status = head.grpc_status
        elif head.kind == 2:  # Kind.INFORMATIONAL
            if end:
                self.on_stream_fault(stream, ErrorCode.PROTOCOL_ERROR, "1xx with END_STREAM")
                return
            stream.left -= 1  # any value below 0 says "not declared", so it can count these meanwhile
            if stream.left < -1 - INFORMATIONAL_MAX:
                self.on_stream_fault(stream, ErrorCode.ENHANCE_YOUR_CALM, "too many 1xx responses")
                return
            release_replay(exchange)  # something was passed on: nothing is tried again
        else:
            plan = exchange.plan
            if (head.status >= 400 or head.grpc_status > 0) and plan.retry is not None:
                stream.headed = True
                if retry_answer(self, stream, head, end):
                    return
            stream.headed = True
            exchange.answered = True
            if exchange.course is not None:
                decoded = answered(exchange, exchange.course, decoded)
                head = decoded.head
            if exchange.replay is not None:
                self.outbox.held -= exchange.replay_bytes
                exchange.replay = None
            if plan.editor is not None:
                decoded = plan.editor.block(decoded)
                head = decoded.head
            exchange.http_status = head.status
            if head.grpc_status >= 0:
                exchange.grpc_status = head.grpc_status
            if head.status in NO_CONTENT or exchange.plan.head_only:
                stream.left = 0  # RFC 9110 section 6.4.1: whatever content-length says, no content
            elif head.content_length >= 0:
                stream.left = head.content_length
                if end and stream.left:
                    self.on_stream_fault(stream, ErrorCode.PROTOCOL_ERROR, "content-length without DATA")
                    return
        if exchange.parked is None:
            there = exchange.conn
            encoded = there.encoded.get(id(head.fields))
            if encoded is None or decoded.extra.wire:
                encoded = there.encoder.encode(head.fields, decoded.extra)
            out = there.out
            if not out:
                there.dirty.append(there)
            if len(encoded) <= LARGE_BLOCK_BYTES:
                out.append(_pack(0, len(encoded), HEADERS, END_HEADERS | end, exchange.sid))
                out.append(encoded)
            else:
                there.write_large(exchange.sid, encoded, end)
            if end:
                state = stream.state = stream.state | RECV_DONE
                exchange.state |= SENT_DONE
                if state == CLOSED:
                    self.closed(stream)
                if exchange.state == CLOSED:
                    there.closed(exchange)
        else:
            if end:
                stream.state |= RECV_DONE
            park(exchange, HEADERS, decoded, end)
            if stream.state == CLOSED:
                self.closed(stream)

    def _stray_block(self, sid: int, block: bytes) -> None:
        """HEADERS on a stream that is no more: decoded, or the table would be lost."""
        if control.is_idle(self, sid):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on an idle stream")
        with contextlib.suppress(StreamFault):  # whatever it said, nobody waits for it
            self.decoder.decode(block, trailers=True)
        if sid not in self.resets:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
        control.straggler(self, sid)

    # --- ends ----------------------------------------------------------------------------------------

    def reset_stream(self, stream: Stream, code: int) -> None:
        super().reset_stream(stream, code)
        self.resets_sent += 1
        most = RESETS_ROLL if self.proven is None else PEER_RESETS_ROLL
        if self.resets_sent > most and not self.retired:
            self.retire()
        elif self.resets_sent == most // 2:
            self.pool.prepare(self.endpoint, self.lane)

    def closed(self, stream: Stream) -> None:
        self.streams.pop(stream.sid, None)
        endpoint = self.endpoint
        endpoint.active -= 1
        if self.lane.pending:
            self.pool.serve(endpoint)
        if self.retired and not self.streams:
            self._leave()

    def _forget(self, stream: Stream) -> None:
        """Ends our half without a word to the peer."""
        discard(stream, self.outbox)
        stream.state = CLOSED
        self.closed(stream)

    def on_reset(self, stream: Stream, code: int) -> None:
        whole = stream.state & RECV_DONE
        exchange = cast(Exchange, stream.peer)
        if code == ErrorCode.REFUSED_STREAM and not exchange.answered:
            self.pool.failed(self.endpoint)
            self._unprocessed(stream, FailureKind.REFUSED_STREAM)
            return
        if not whole and not exchange.answered and exchange.plan.retry is not None:
            status = _RESET_STATUS.get(code, _UNKNOWN)
            self.take_back(stream)
            if try_again(exchange, self.endpoint, FailureKind.RESET, status):
                if is_failure(status, 0):
                    self.pool.failed(self.endpoint)
                return
        else:
            self._forget(stream)
        if whole:  # RFC 9113 section 8.1: the response stands, the rest of the request is not wanted
            self._reset_after(exchange, code)
        else:
            exchange.grpc_status = _RESET_STATUS.get(code, _UNKNOWN)
            exchange.conn.reset_stream(exchange, code)

    def _reset_after(self, exchange: Exchange, code: int) -> None:
        if exchange.state == CLOSED:
            return
        if exchange.parked is None:
            exchange.conn.reset_stream(exchange, code)
        else:
            park(exchange, RST_STREAM, code, 0)

    def on_stream_fault(self, stream: Stream, code: ErrorCode, reason: str) -> None:
        exchange = cast(Exchange, stream.peer)
        self.reset_stream(stream, code)
        answer(exchange, _MALFORMED, f"weft: malformed response from {self.pool.name}: {reason}")

    def on_goaway(self, last_sid: int, code: int) -> None:
        self.retire()
        for stream in [stream for sid, stream in self.streams.items() if sid > last_sid]:
            self._unprocessed(stream, FailureKind.ABOVE_GOAWAY)

    def _unprocessed(self, stream: Stream, why: FailureKind) -> None:
        """The peer did nothing of this request: it may go to another instance, or another connection."""
        exchange = cast(Exchange, stream.peer)
        self.take_back(stream)
        if exchange.state != CLOSED:
            exchange.endpoint = None
            self.pool.unprocessed(exchange, self.endpoint, why)

    def take_back(self, stream: Stream, code: int = -1) -> None:
        """Ends our half so that the request can be sent once more; `code`: the peer is told with it."""
        exchange = cast(Exchange, stream.peer)
        uncredited = stream.parked_bytes - exchange.prepaid
        if code < 0:
            self._forget(stream)
        else:
            self.reset_stream(stream, code)
        if exchange.state != CLOSED:
            exchange.prepaid = exchange.replay_bytes - uncredited

    @property
    def opened(self) -> int:
        """How many requests it has carried."""
        return self.next_sid // 2

    def second_passed(self) -> None:
        """Resets are forgotten, and the connection rolls before its stream ids run out."""
        forgotten = RESETS_PER_S if self.proven is None else PEER_RESETS_PER_S
        self.resets_sent = max(0, self.resets_sent - forgotten)
        if self.next_sid > STREAM_ID_ROLL:
            self.retire()

    def retire(self) -> None:
        """No new streams here; it goes once those it carries have ended."""
        if not self.retired:
            self.retired = True
            self.room = 0
            self.pool.retired(self)
        if not self.streams:
            self._leave()

    def _leave(self) -> None:
        if not self.closing:
            self.send(frames.goaway(0, ErrorCode.NO_ERROR))
            self.finish()

    # --- back-pressure -------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self.room = 0  # heads are not flow-controlled: new requests wait or go elsewhere

    def resume_writing(self) -> None:
        super().resume_writing()
        self._set_room()
        self.pool.serve(self.endpoint)
        self.outbox.flush()


_UNKNOWN = 2
# gRPC's PROTOCOL-HTTP2, "Errors": the status that a client makes of a reset, for our counters.
_RESET_STATUS: dict[int, int] = {
    ErrorCode.NO_ERROR: 13,
    ErrorCode.PROTOCOL_ERROR: 13,
    ErrorCode.INTERNAL_ERROR: 13,
    ErrorCode.FLOW_CONTROL_ERROR: 13,
    ErrorCode.SETTINGS_TIMEOUT: 13,
    ErrorCode.FRAME_SIZE_ERROR: 13,
    ErrorCode.COMPRESSION_ERROR: 13,
    ErrorCode.CONNECT_ERROR: 13,
    ErrorCode.REFUSED_STREAM: 14,
    ErrorCode.CANCEL: 1,
    ErrorCode.ENHANCE_YOUR_CALM: 8,
    ErrorCode.INADEQUATE_SECURITY: 7,
}

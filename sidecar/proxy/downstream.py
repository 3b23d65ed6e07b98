# Hot path: bench/switch.py
"""Connections that callers open to us: the application on an outbound listener, peers on the inbound one."""

import asyncio
from bisect import bisect_left
from typing import TYPE_CHECKING, cast

from weft.histogram import BOUNDS_S

from ..h2 import control, frames
from ..h2.abuse import FAULT_COST, SHARED_RESTLESS_RESETS
from ..h2.block import Block
from ..h2.connection import NO_LIMIT, SHARED_TURN_S, TURN_S, Connection
from ..h2.decoder import Decoder
from ..h2.encoder import Encoder
from ..h2.errors import ConnectionFault, ErrorCode, HeaderListTooLarge, StreamFault
from ..h2.flow import discard, park, pump
from ..h2.frames import HEADERS
from ..h2.outbox import Outbox
from ..h2.settings import STREAMS_MAX
from ..h2.stream import CLOSED, GONE, RECV_DONE, Stream
from ..policy.outlier import http_status_of, is_failure
from ..policy.timeouts import read as read_timeout
from ..telemetry import OUTCOME
from .exchange import Exchange, Plan, answer, end_upstream, release_replay
from .refusals import TOO_LARGE, refuse_unplanned

if TYPE_CHECKING:
    from ..policy.authorize import Verdict
    from .peer import Peer
    from .side import Side

# Fields that a decision reads, or that must not pass: always decoded into the head.
PROMOTED = frozenset((b"x-forwarded-client-cert", b"host", b"content-type"))
# What a caller may leave unread of answers and control frames before we stop reading its requests.
BACKLOG_BYTES_MAX = 1024 * 1024
WRITE_HIGH_BYTES = 256 * 1024
# A head from this size on counts while its request is open, as it is kept for a retry: 2048 of 64 KiB would
# be 128 MiB for one caller. What one may have of them, and what a field costs beside its octets:
LARGE_HEAD_BYTES = 4096
LARGE_HEADS_BYTES_MAX = 32 * 1024 * 1024
LARGE_HEADS_BYTES_CALM = 1024 * 1024  # beyond this one at a time: a few octets of HPACK can mean 64 KiB
FIELD_COST_BYTES = 100
# A caller's streams that are open share connections onward with everybody's; what it opens beyond goes on
# connections of its own kind (`Endpoint.aside`): answers of a thousand downloads stand before nobody else's
# there. A peer's sidecar calls for many. Who has reset so many lately, or has large heads, is apart at once.
CROWD, SHARED_CROWD = 32, 128
APART_RESETS = 64
# A caller may have as many streams open as ever before, and so many at first. It grows beyond that by some in
# each turn, and then rests: what a thousand answers cost that are all asked for at once is spread over half a
# second, and who is cut off for what it does then has begun few of them.
GROWN_FIRST, GROWTH_PER_TURN = 128, 4
# A caller that went away leaves so many streams at a time to end: each is a reset at all hops behind.
LOST_PER_TURN = 16
SLOW_S = 0.002
_CANCELLED = 1


class Downstream(Connection, asyncio.Protocol):
    """The server role."""

    __slots__ = (
        "aio", "connects", "drain_s", "draining", "grown", "header_list_max", "large_heads", "proven", "side",
        "slows", "verdict",
    )  # fmt: skip

    client = False

    def __init__(self, outbox: Outbox, side: "Side") -> None:
        super().__init__(outbox, *self.codec(side))
        self.side = side
        self.crowd = CROWD
        self.header_list_max = side.header_list_max
        self.connects = False  # whether plain CONNECT may come on it
        self.verdict: Verdict | None = None  # of the intentions on the caller, under `side.epoch`
        self.proven: Peer | None = None  # who proved an identity on it; None on loopback
        self.draining = 0  # 1: GOAWAY without a limit was sent, 2: the final one
        self.drain_s = 0
        self.grown = GROWN_FIRST  # so many streams may be open
        self.slows = False  # it rests, as there are more, or much that is large
        self.large_heads: dict[int, int] = {}  # bytes, by stream
        self.aio: asyncio.Transport | None = None

    def codec(self, side: "Side") -> tuple[Decoder, Encoder]:
        """What reads heads from its peer, and what makes those that it sends."""
        return Decoder(requests=True, promoted=side.reads, header_list_max=side.header_list_max), Encoder()

    @property
    def turn_s(self) -> float:  # type: ignore[override]  # it depends on who is there
        """A peer's sidecar calls for many."""
        return TURN_S if self.proven is None else SHARED_TURN_S

    # --- asyncio -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.aio = self.transport = cast(asyncio.Transport, transport)
        self.aio.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        if not self.side.admit(self):
            self.closing = True
            self.aio.abort()
            return
        self.set_apart()
        if self.proven is not None:
            self.abuse.resets_calm = SHARED_RESTLESS_RESETS
            self.abuse.dribbles_calm = NO_LIMIT  # its own callers were judged there
        control.open_connection(self)
        self.outbox.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.transport = None
        self.side.lost(self)
        # First those that wait for a connection: they would be sent on as others make room.
        self._lose(sorted(self.streams.values(), key=lambda it: cast(Exchange, it).waits_at is None))

    def _lose(self, streams: list[Stream]) -> None:
        """Ends those that are still there, some at a time."""
        for stream in streams[:LOST_PER_TURN]:
            if self.streams.pop(stream.sid, None) is not None:
                self.on_reset(stream, ErrorCode.CANCEL)
        del streams[:LOST_PER_TURN]
        self.out.clear()
        self.outbox.flush()
        if streams:
            asyncio.get_running_loop().call_later(SLOW_S, self._lose, streams)

    def eof_received(self) -> bool:
        self.go_on_to_the_end()
        return False

    # --- requests ------------------------------------------------------------------------------------

    def on_block(self, sid: int, block: bytes, end: int) -> None:
        streams = self.streams
        if sid <= self.last_sid or not sid & 1:
            self._later_block(sid, block, end)
            return
        self.last_sid = sid
        decoded = self.memo.get(block)
        if decoded is None:
            try:
                decoded = self.decoder.decode(block)
            except StreamFault as fault:
                self._refuse_block(sid, end, fault)
                return
            # Those of over 16 KiB are in no memo.
            if decoded.head.size + len(decoded.extra.wire) > LARGE_HEAD_BYTES:
                self.end_long_turn()
                if self._is_full(sid, decoded):
                    return
        head = decoded.head
        side = self.side
        if head.plan_for is not side.epoch:
            side.plan(self, head)
        plan: Plan = head.plan  # type: ignore[assignment]  # a slot of ours; cast() costs 0.05 µs
        exchange = Exchange(self, sid, self.stream_window, plan, decoded, self.outbox.now)
        if side.observer is not None:
            side.observer.begin(exchange)
        if end:
            exchange.state = RECV_DONE
        if (
            plan.refusal is not None
            or self.draining == 2
            or len(streams) >= self.crowd
            or (end and head.content_length > 0)
        ):
            self._begin_slowly(exchange, plan, end)
            return
        streams[sid] = exchange
        if plan.begin is not None:  # a route that asks for more than an instance
            plan.begin(exchange)
            return
        if plan.deadlines and decoded.extra.timeout and (seconds := read_timeout(decoded.extra.timeout)):
            due = exchange.due = exchange.started + seconds
            if due < self.outbox.due:
                self.outbox.arm(due)
        series = plan.series
        series.requests += 1
        series.active += 1
        pool = plan.pool
        endpoint = pool.only or pool.pick()
        if endpoint is not None:
            for upstream in endpoint.conns:
                if len(upstream.streams) < upstream.room:
                    upstream.open(exchange, endpoint)
                    return
        pool.enqueue(exchange, endpoint)

    def _begin_slowly(self, exchange: Exchange, plan: Plan, end: int) -> None:
        """Refuses a request, or sends one that is beyond what its caller may have among everybody's."""
        vain = end and exchange.block.head.content_length > 0
        if plan.refusal is not None or self.draining == 2 or len(self.streams) >= STREAMS_MAX or vain:
            self._refuse(exchange, plan)
            return
        if len(self.streams) >= self.grown:
            self._grow()
        self.streams[exchange.sid] = exchange
        if plan.begin is not None:
            plan.begin(exchange)
            return
        timeout = exchange.block.extra.timeout
        if plan.deadlines and timeout and (seconds := read_timeout(timeout)):
            exchange.due = exchange.started + seconds
            if exchange.due < self.outbox.due:
                self.outbox.arm(exchange.due)
        plan.series.requests += 1
        plan.series.active += 1
        plan.pool.send(exchange)

    def _grow(self) -> None:
        """It asks for more at once than ever before."""
        self.grown += 1
        if self.grown % GROWTH_PER_TURN == 0:
            self._slow_down()

    def _slow_down(self) -> None:
        """The others have their turn, and a little time besides."""
        self.slows = True
        self.end_turn()
        self.rest()

    def set_apart(self) -> None:
        """How much of what it has may be among everybody's, as it behaves now."""
        if self.large_heads or self.abuse.resets > APART_RESETS:
            self.crowd = 0
        else:
            self.crowd = CROWD if self.proven is None else SHARED_CROWD

    def on_second(self) -> None:
        self.set_apart()

    def come_back(self) -> None:
        if self.slows:
            self.slows = False
            asyncio.get_running_loop().call_later(SLOW_S, self.go_on)
        elif self.abuse.restless:
            asyncio.get_running_loop().call_later(self.outbox.rests_s(), self.go_on)
        else:
            super().come_back()

    def _is_full(self, sid: int, decoded: Block) -> bool:
        """Counts a large head, and refuses the stream where there are too many of them."""
        head = decoded.head
        size = head.size + FIELD_COST_BYTES * len(head.fields) + len(decoded.extra.wire)
        held = sum(self.large_heads.values()) + size
        if held > LARGE_HEADS_BYTES_MAX or self.outbox.full(size):
            self.abuse.reset()
            self.send(frames.rst_stream(sid, ErrorCode.REFUSED_STREAM))
            self.remember_reset(sid)
            return True
        self.large_heads[sid] = size
        self.outbox.held += size
        self.crowd = 0
        if held > LARGE_HEADS_BYTES_CALM:
            self._slow_down()
        return False

    def _forget_head(self, sid: int) -> None:
        self.outbox.held -= self.large_heads.pop(sid, 0)
        if not self.large_heads:
            self.set_apart()

    def replay_max(self, stream: Stream) -> int:
        return cast(Exchange, stream).plan.replay_max

    def held(self) -> int:
        """Bytes that this caller makes us keep: what waits either way or may be sent again, large heads."""
        return sum(map(self._kept, self.streams.values()))

    def _kept(self, stream: Stream) -> int:
        waits = stream.parked_bytes + stream.peer.parked_bytes + self.large_heads.get(stream.sid, 0)
        return waits + stream.replay_bytes if stream.replay is not None else waits

    def relieve(self) -> None:
        """This caller holds most of what the process may: its streams that hold most are ended, until a
        quarter is free. What waits here and is little, because of them, goes on: a sidecar calls for many."""
        outbox = self.outbox
        for stream in sorted(self.streams.values(), key=self._kept, reverse=True):
            if outbox.held <= outbox.held_max * 3 // 4 or not self._kept(stream):
                break
            exchange = cast(Exchange, stream)
            end_upstream(exchange, ErrorCode.CANCEL)
            exchange.plan.series.refuse("held")
            self.abuse.resets += 1  # judged with its next one: here another connection is read
            self.reset_stream(exchange, ErrorCode.ENHANCE_YOUR_CALM)

    def _refuse(self, exchange: Exchange, plan: Plan) -> None:
        if self.large_heads and (self.draining == 2 or len(self.streams) >= STREAMS_MAX):
            self._forget_head(exchange.sid)
        if self.draining == 2:  # above the last stream id of our GOAWAY: not processed, not answered
            self.abuse.reset()
            self.remember_reset(exchange.sid)
            return
        if len(self.streams) >= STREAMS_MAX:
            self.abuse.reset()
            self.send(frames.rst_stream(exchange.sid, ErrorCode.REFUSED_STREAM))
            self.remember_reset(exchange.sid)
            return
        self.streams[exchange.sid] = exchange
        plan.series.requests += 1
        plan.series.active += 1
        if plan.refusal is not None:
            answer(exchange, plan.refusal)
        else:
            self.on_stream_fault(exchange, ErrorCode.PROTOCOL_ERROR, "content-length without DATA")

    def _refuse_block(self, sid: int, end: int, fault: StreamFault) -> None:
        """The head is malformed or too large; the connection goes on."""
        if self.draining == 2:
            self.remember_reset(sid)
            return
        self.abuse.reset(1 if isinstance(fault, HeaderListTooLarge) else FAULT_COST)
        if isinstance(fault, HeaderListTooLarge):
            refuse_unplanned(self, sid, TOO_LARGE)
            if not end:
                self.send(frames.rst_stream(sid, ErrorCode.NO_ERROR))
        else:
            self.send(frames.rst_stream(sid, fault.code))
        self.remember_reset(sid)

    def _later_block(self, sid: int, block: bytes, end: int) -> None:
        """Trailers of a request, or a block on a stream that is no more: decoded in any case."""
        stream = self.streams.get(sid)
        try:
            decoded: Block | None = self.trailer_memo.get(block) or self.decoder.decode(block, trailers=True)
        except StreamFault as fault:
            if stream is not None:
                self.on_stream_fault(stream, fault.code, fault.reason)
                return
            decoded = None
        if stream is None:
            if not sid & 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client opened an even stream")
            if sid not in self.resets:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
            control.straggler(self, sid)
        elif stream.state & RECV_DONE:
            self.on_stream_fault(stream, ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        elif not end:
            self.on_stream_fault(stream, ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        elif stream.left > 0:
            self.on_stream_fault(
                stream, ErrorCode.PROTOCOL_ERROR, "content-length differs from the DATA sent"
            )
        else:
            stream.state |= RECV_DONE
            release_replay(cast(Exchange, stream))
            park(stream.peer, HEADERS, decoded, end)
            pump(stream.peer)
            if stream.state == CLOSED and sid in self.streams:
                self.closed(stream)

    # --- ends ----------------------------------------------------------------------------------------

    def closed(self, stream: Stream) -> None:
        exchange: Exchange = stream  # type: ignore[assignment]  # all of ours are; cast() costs 0.05 µs
        self.streams.pop(exchange.sid, None)
        status = exchange.grpc_status
        series = exchange.plan.series
        seconds = self.outbox.now - exchange.started
        series.active -= 1
        series.ended[OUTCOME[exchange.http_status] + status] += 1
        series.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        series.sum_s += seconds
        endpoint = exchange.endpoint
        if endpoint is not None:
            if (status > 0 or exchange.http_status >= 500) and is_failure(status, exchange.http_status):
                endpoint.pool.failed(endpoint, http_status_of(status, exchange.http_status))
            elif endpoint.failing and exchange.answered:
                endpoint.pool.succeeded(endpoint)
        if exchange.course is not None:
            exchange.course.ended(exchange)
        if exchange.observer is not None:
            exchange.observer.end(exchange, seconds)
        if exchange.replay is not None:
            release_replay(exchange)
        if self.large_heads:
            self._forget_head(exchange.sid)
        exchange.peer = GONE
        if self.draining == 2 and not self.streams:
            self.finish()

    def on_reset(self, stream: Stream, code: int) -> None:
        """The caller cancelled, or went away."""
        exchange = cast(Exchange, stream)
        discard(exchange, self.outbox)
        exchange.state = CLOSED
        if exchange.grpc_status < 0:
            exchange.grpc_status = _CANCELLED
        if self.abuse.resets > APART_RESETS:
            self.crowd = 0
        end_upstream(exchange, ErrorCode(code) if code in _PASSED_ON else ErrorCode.CANCEL)
        self.closed(exchange)

    def on_stream_fault(self, stream: Stream, code: ErrorCode, reason: str) -> None:
        self.abuse.reset(FAULT_COST)
        self.set_apart()
        exchange = cast(Exchange, stream)
        end_upstream(exchange, ErrorCode.CANCEL)
        exchange.plan.series.refuse("malformed")
        exchange.reason = "malformed"
        self.reset_stream(exchange, code)

    def fail(self, fault: ConnectionFault) -> None:
        self.side.counted.refuse(fault.code.name.lower())
        super().fail(fault)

    # --- going away ----------------------------------------------------------------------------------

    def drain(self) -> None:
        """RFC 9113 section 6.8: first a GOAWAY that refuses nothing, as requests may be on their way."""
        if not self.draining and not self.closing:
            self.draining = 1
            self.send(frames.goaway(frames.STREAM_ID_MAX, ErrorCode.NO_ERROR))
            self.send(frames.ping(_DRAIN_PING))

    def on_ping_ack(self, payload: bytes) -> None:
        if payload == _DRAIN_PING and self.draining == 1:
            self.drain_finally()

    def drain_finally(self) -> None:
        """The second GOAWAY names the last stream that we serve; what is above may be sent elsewhere."""
        self.draining = 2
        self.send(frames.goaway(self.last_sid, ErrorCode.NO_ERROR))
        if not self.streams:
            self.finish()

    # --- back-pressure -------------------------------------------------------------------------------

    def flush(self) -> None:
        written = b"".join(self.out)
        self.out.clear()
        if written and self.transport is not None and not self.closing:
            self.transport.write(written)
        if self.paused and self.reading and self.aio and self.aio.get_write_buffer_size() > BACKLOG_BYTES_MAX:
            # Answers and control frames are not flow-controlled: who does not read them is not read either.
            self.reading = False
            self.aio.pause_reading()

    def resume_writing(self) -> None:
        if not self.reading and self.aio and not self.closing:
            self.reading = True
            if not self.waits:
                self.aio.resume_reading()
        super().resume_writing()


_DRAIN_PING = b"weftGOAW"
_PASSED_ON = frozenset((ErrorCode.NO_ERROR, ErrorCode.CANCEL))

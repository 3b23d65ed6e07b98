# Hot path: bench/switch.py
"""One HTTP/2 connection: the walk over what was received, and DATA forwarded as it passes.

Sans-IO: a subclass is given bytes by an asyncio transport and gives bytes to it. `Connection` knows frames,
streams and windows; what a header block means is its role's business (`sidecar.proxy.downstream` and
`.upstream`). RFC 9113 throughout.
"""

from types import FunctionType
from typing import ClassVar, Protocol

from . import control, frames, settings
from .abuse import DRIBBLE_BYTES, Abuse
from .decoder import Decoder
from .encoder import Encoder
from .errors import ConnectionFault, ErrorCode
from .flow import CREDIT_BYTES, JOIN_BYTES, discard, park, pump, pump_blocked
from .frames import DATA, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, HEADER, HEADERS, PADDED, WINDOW_MAX
from .outbox import Outbox
from .stream import CLOSED, RECV_DONE, SENT_DONE, Stream

# Taken from the connection's window while its socket takes no bytes, so that the one comparison that the
# fast path makes anyway also answers "can we write".
PAUSED = 1 << 40
# One connection's turn, before the others get theirs: a read may hold 20,000 frames, and libuv reads 32 times
# in a row where there is more. It ends after so many frames, as clocks are dear; how many come next time, the
# time says that these took: 128 of what clients usually send, and 4 of what is made to be dear.
TURN_S, SHARED_TURN_S = 0.00025, 0.001  # of a caller; of a connection whose requests are many callers'
TURN_MIN, TURN_FIRST, TURN_MAX = 4, 32, 128
TURN_BYTES = 128 * 1024  # a read of more is followed by others at once: the time of all ends a turn
TURNS_AT_END_MAX = 16  # of a caller that has closed its side: it gets no answers any more
NO_LIMIT = 1 << 31  # RFC 9113 section 6.5.2: initially there is none
# A replay is for requests that fit one stream window; whatever is larger is not sent twice.
REPLAY_BYTES_MAX = 64 * 1024
REPLAY_SMALL_BYTES = 1024  # kept whatever else this process holds
# Header blocks from this size on are written at once, some at a time: they are not flow-controlled, and a few
# octets of HPACK can mean 64 KiB of them (section 10.5.1). Then the socket says how much it takes.
LARGE_BLOCK_BYTES = 4096
LARGE_BLOCKS_BYTES = 256 * 1024
# Streams that we reset are remembered until stragglers cannot come any more; a peer with more in flight
# than this gets an error for them.
RESETS_REMEMBERED_MAX = 4096

_unpack = HEADER.unpack_from
_pack = HEADER.pack


class Transport(Protocol):
    """What is needed of asyncio.Transport."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None: ...

    def get_write_buffer_size(self) -> int: ...


class Connection:
    """State of one connection, both roles."""

    # A thousand idle connections would be 1.2 MB larger with a dict each.
    __slots__ = (
        "abuse", "age_s", "blocked", "closing", "closing_s", "crowd", "decoder", "dirty", "encoded",
        "encoder", "fresh", "greeted", "heard", "large", "last_sid", "memo", "next_sid", "out", "outbox",
        "owed", "partial", "paused", "reading", "resets", "rested", "settled", "silent_s", "steps",
        "stream_window", "streams", "streams_max", "stuck_bytes", "stuck_s", "tail", "trailer_memo",
        "transport", "turn", "waiting", "waits", "window",
    )  # fmt: skip

    client: ClassVar[bool]  # we opened it
    header_list_max = settings.HEADER_LIST_BYTES_MAX  # what we announce
    first_window = settings.STREAM_WINDOW_BYTES  # and this, of each stream
    turn_s = SHARED_TURN_S

    def __init_subclass__(cls) -> None:
        """Each role runs its own copy of the hot bytecode.

        CPython specialises instructions per code object, and the roles' streams are of different classes:
        with one copy every attribute of the walk is polymorphic and looked up the slow way (-30 %).
        """
        super().__init_subclass__()
        for name in {"data_received", "_walk"} - vars(cls).keys():
            shared = getattr(cls, name)  # what it inherits
            code = shared.__code__.replace()
            copied = FunctionType(code, shared.__globals__, name, shared.__defaults__, shared.__closure__)
            setattr(cls, name, copied)

    def __init__(self, outbox: Outbox, decoder: Decoder, encoder: Encoder) -> None:
        self.outbox = outbox
        self.dirty = outbox.dirty
        self.decoder = decoder
        self.encoder = encoder
        self.memo = decoder.memo
        self.trailer_memo = decoder.trailer_memo
        self.encoded = encoder.memo  # looked up in line before `encoder.encode` is called: -0.1 µs a block
        self.transport: Transport | None = None
        self.out: list[bytes] = []
        self.tail = b""  # an incomplete frame, or what waits for our next turn
        self.turn = range(TURN_FIRST)
        self.steps = iter(self.turn)
        self.rested = False  # what is walked now has waited already
        self.waits = False  # for our next turn: nothing is read meanwhile
        self.reading = True  # unless the peer does not read
        self.partial: control.Partial | None = None  # a header block without END_HEADERS yet
        self.greeted = False  # the peer's preface has come
        self.settled = False  # and its SETTINGS
        self.streams: dict[int, Stream] = {}
        self.crowd = NO_LIMIT  # of a caller's streams so many may be among everybody's on the way onward
        self.waiting = 0  # of its streams, those that wait for a connection onward
        self.last_sid = 0  # highest that the peer opened
        self.next_sid = 1 if self.client else 2  # lowest that we did not
        self.streams_max = NO_LIMIT  # the peer's SETTINGS_MAX_CONCURRENT_STREAMS
        self.window = settings.STREAM_WINDOW_BYTES  # RFC 9113 section 6.9.2: the same default
        self.stream_window = settings.STREAM_WINDOW_BYTES  # initial, by the peer's SETTINGS
        self.owed = 0
        # Streams that wait for the connection's window, in order: those that have had no turn since they
        # began to wait go first, or a short answer would wait for a frame of each of a thousand long ones.
        self.fresh: dict[Stream, None] = {}
        self.blocked: dict[Stream, None] = {}
        self.resets: dict[int, int] = {}  # ids that we reset, oldest first: what came since
        self.abuse = Abuse()
        self.paused = False
        self.stuck_s = 0  # the socket took nothing of what waits for so long,
        self.stuck_bytes = 0  # which was so much at the last look
        self.large = 0  # bytes of large header blocks since they were last written
        self.closing = False
        self.heard = True  # anything since the last look
        self.silent_s = 0
        self.age_s = 0
        self.closing_s = 0

    # --- roles ---------------------------------------------------------------------------------------

    def on_block(self, sid: int, block: bytes, end: int) -> None:
        """A whole header block came on stream `sid`, with END_STREAM or not."""
        raise NotImplementedError

    def closed(self, stream: Stream) -> None:
        """The stream is CLOSED in good order."""
        raise NotImplementedError

    def on_reset(self, stream: Stream, code: int) -> None:
        """The peer reset the stream; it is out of the table already."""
        raise NotImplementedError

    def on_stream_fault(self, stream: Stream, code: ErrorCode, reason: str) -> None:
        """The peer broke a rule on this stream: reset it, and end its other half."""
        raise NotImplementedError

    def on_settings(self) -> None:
        """The peer's SETTINGS were applied."""

    def on_goaway(self, last_sid: int, code: int) -> None:
        """The peer opens or takes no more streams above `last_sid`."""

    def on_ping_ack(self, payload: bytes) -> None:
        """The peer answered a PING of ours."""

    def on_second(self) -> None:
        """A second has passed: what only this kind of connection limits."""

    # --- receiving -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer; all that they cause is written before this returns."""
        outbox = self.outbox
        outbox.now = outbox.clock()
        self.heard = True
        if self.closing:
            return
        if self.tail:
            if self.waits:  # some transports still have some
                self.tail += data
                return
            data = self.tail + data
            self.tail = b""
        try:
            if self.greeted:
                self._walk(data, 0)
            elif (at := control.greet(self, data)) >= 0:
                self._walk(data, at)
            else:
                self.tail = data
        except ConnectionFault as fault:
            self.fail(fault)
        if self.abuse.restless and not self.rested and not self.waits and not self.closing:
            self.rest()
        outbox.flush()

    def _walk(self, data: bytes, at: int) -> None:
        # One loop, no object per frame, no call for a forwarded DATA frame: 1.1 µs per frame against 2.5
        # with a method per type. Locals are bound once per read.
        size = len(data)
        streams = self.streams
        dirty = self.dirty
        partial = self.partial
        received = 0
        walked = 0
        self.steps = steps = iter(self.turn)
        for walked in steps:  # noqa: B007  # not `while`: +0.02 µs a frame, of 1.1
            if size - at < 9:
                break
            high, low, kind, flags, sid = _unpack(data, at)
            start = at + 9
            stop = start + (high << 16 | low)
            if stop - start > FRAME_BYTES_MAX:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame longer than SETTINGS_MAX_FRAME_SIZE")
            if stop > size:
                break
            at = stop
            if partial is not None or kind == frames.CONTINUATION:
                partial = control.continuation(self, kind, flags, sid, data[start:stop])
            elif kind == DATA:
                length = stop - start
                received += length
                stream = streams.get(sid)
                if stream is None:
                    sid &= 0x7FFF_FFFF  # the reserved bit is ignored (section 4.1)
                    stream = streams.get(sid)
                    if stream is None:
                        control.stray_data(self, sid, length)
                        continue
                if flags & PADDED:
                    if start == stop or data[start] >= length:
                        raise control.bad_padding(length)
                    stop -= data[start]
                    start += 1
                # Padding is credited by being counted as passed on at once (it is never parked).
                stream.recv_window -= length
                payload = data[start:stop]
                passed = stop - start
                end = flags & END_STREAM
                if stream.recv_window < 0 or stream.state & RECV_DONE or not stream.headed:
                    control.refuse_data(stream)
                    continue
                if passed < DRIBBLE_BYTES and not end:
                    if not passed:
                        control.empty_data(stream, length)
                        continue
                    self.abuse.dribbled()
                if stream.left >= 0:
                    stream.left -= passed
                    if stream.left < 0 or (end and stream.left):
                        self.on_stream_fault(
                            stream, ErrorCode.PROTOCOL_ERROR, "content-length differs from the DATA sent"
                        )
                        continue
                if stream.replay is not None:
                    if passed > REPLAY_SMALL_BYTES or stream.replay:
                        self.keep(stream, payload)
                    else:  # the whole body of most calls, inlined: -0.2 µs
                        stream.replay.append(payload)
                        stream.replay_bytes = passed
                        self.outbox.held += passed
                peer = stream.peer
                there = peer.conn
                if peer.parked is None and passed <= peer.window and passed <= there.window:
                    peer.window -= passed
                    there.window -= passed
                    out = there.out
                    if not out:
                        dirty.append(there)
                    out.append(_pack(passed >> 16, passed & 0xFFFF, DATA, end, peer.sid))
                    out.append(payload)
                    if end:
                        state = stream.state = stream.state | RECV_DONE
                        peer.state |= SENT_DONE
                        if peer.state == CLOSED:
                            there.closed(peer)
                        if state == CLOSED:
                            self.closed(stream)
                    else:
                        stream.owed += length
                        if stream.owed >= CREDIT_BYTES:
                            self.send(frames.window_update(sid, stream.owed))
                            stream.recv_window += stream.owed
                            stream.credited += stream.owed
                            stream.owed = 0
                else:
                    self._park_data(stream, payload, end, length - passed)
            elif kind == HEADERS:
                # END_HEADERS and nothing but END_STREAM besides: what every client sends.
                if flags & ~END_STREAM == END_HEADERS and sid and sid < 0x8000_0000:
                    self.on_block(sid, data[start:stop], flags & END_STREAM)
                else:
                    partial = control.headers(self, flags, sid & 0x7FFF_FFFF, data[start:stop])
            elif kind == frames.WINDOW_UPDATE and stop - start == 4:
                increment = int.from_bytes(data[start:stop], "big") & WINDOW_MAX
                if sid == 0 and increment:
                    self.window += increment
                    if self.window > WINDOW_MAX:
                        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "connection window over 2^31-1")
                    if self.blocked or self.fresh:
                        pump_blocked(self)
                else:
                    control.window_update(self, sid & 0x7FFF_FFFF, increment)
            else:
                control.FRAMES.get(kind, control.unknown)(self, flags, sid & 0x7FFF_FFFF, data[start:stop])
                if self.closing:
                    return
        else:
            if at < size:
                self.wait_for_turn(walked)
        if received:
            self.owed += received
            if self.owed > settings.CONNECTION_WINDOW_BYTES // 2:
                control.credit_connection(self)
        if at < size:
            self.tail = data[at:]
        if size > TURN_BYTES and not self.waits:
            outbox = self.outbox
            if outbox.clock() - outbox.began > self.turn_s:
                self.wait_for_turn(walked)

    def end_long_turn(self) -> None:
        """After something dear: the turn ends with this frame if its time is over."""
        outbox = self.outbox
        if outbox.clock() - outbox.now > self.turn_s:
            self.end_turn()

    def end_turn(self) -> None:
        """With the frame that is walked now."""
        for _ in self.steps:
            pass

    def wait_for_turn(self, walked: int) -> None:
        """There is more to walk, once the others have been served. This turn was of so many frames."""
        outbox = self.outbox
        took = max(outbox.clock() - outbox.now, 1e-6)
        self.turn = range(max(TURN_MIN, min(TURN_MAX, int((walked + 1) * self.turn_s / took))))
        self.rest()

    def rest(self) -> None:
        """Nothing is read before the others have had their turn."""
        if not self.waits:
            self.waits = True
            if self.transport is not None:
                self.transport.pause_reading()
            self.come_back()

    def come_back(self) -> None:
        """Sees to it that `go_on` is called."""
        self.outbox.soon(self.go_on)

    def go_on(self) -> None:
        """Our turn again."""
        if self.waits:
            self.waits = False
            self.rested = True
            self.data_received(b"")
            self.rested = False
            if not self.waits and self.reading and self.transport is not None and not self.closing:
                self.transport.resume_reading()

    def go_on_to_the_end(self) -> None:
        """The peer says no more; what it said before counts, unless it is a caller's flood."""
        turns, most = 0, 1 if self.abuse.restless else TURNS_AT_END_MAX
        while self.waits and not self.closing and (self.client or turns < most):
            turns += 1
            self.go_on()

    def _park_data(self, stream: Stream, payload: bytes, end: int, padding: int) -> None:
        """DATA that cannot be written now waits on the other half."""
        peer = stream.peer
        if end:
            stream.state |= RECV_DONE
        if peer.state & SENT_DONE:  # the other half is over: nobody wants it
            if stream.state == CLOSED:
                self.closed(stream)
            return
        self.outbox.held += len(payload)
        park(peer, DATA, payload, end)
        if padding and not end:
            stream.owed += padding
        if self.outbox.held > self.outbox.held_max:
            self.outbox.relieve()
            if stream.state == CLOSED and self.streams.get(stream.sid) is not stream:
                return
            if self.outbox.held > self.outbox.held_max:
                self.on_overflow(stream)
                return
        pump(peer)
        if stream.state == CLOSED and self.streams.get(stream.sid) is stream:
            self.closed(stream)

    def on_overflow(self, stream: Stream) -> None:
        """This process holds all it may; the stream whose DATA came last is ended."""
        self.on_stream_fault(stream, ErrorCode.ENHANCE_YOUR_CALM, "too many bytes wait for slow readers")

    def keep(self, stream: Stream, payload: bytes) -> None:
        """Remembers DATA for a retry, while it is little."""
        outbox = self.outbox
        assert stream.replay is not None
        if stream.replay_bytes + len(payload) > self.replay_max(stream) or outbox.held > outbox.held_max // 2:
            stream.replay = None
            outbox.held -= stream.replay_bytes
        else:
            replay = stream.replay
            if replay and len(replay[-1]) + len(payload) <= JOIN_BYTES:
                replay[-1] += payload
            else:
                replay.append(payload)
            stream.replay_bytes += len(payload)
            outbox.held += len(payload)

    def replay_max(self, stream: Stream) -> int:
        """How much of its DATA is kept."""
        return REPLAY_BYTES_MAX

    # --- sending -------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Adds to what the next flush writes."""
        if not self.out:
            self.dirty.append(self)
        self.out.append(frame)

    def write_block(self, sid: int, block: bytes, end: int) -> None:
        """HEADERS with an encoded block. It must be the last one that the encoder made."""
        self.send(frames.block_frames(block, end, sid))

    def write_large(self, sid: int, block: bytes, end: int) -> None:
        """As `write_block`, for a block over LARGE_BLOCK_BYTES."""
        self.send(frames.block_frames(block, end, sid))
        self.large += len(block)
        if self.large > LARGE_BLOCKS_BYTES:
            self.large = 0
            self.flush()  # may stop us: pause_writing

    def reset_stream(self, stream: Stream, code: int) -> None:
        """Sends RST_STREAM and forgets the stream; stragglers will be ignored."""
        if stream.state == CLOSED and stream.sid not in self.streams:
            return
        discard(stream, self.outbox)
        self.send(frames.rst_stream(stream.sid, code))
        self.remember_reset(stream.sid)
        if stream.state != CLOSED:
            stream.state = CLOSED
        self.closed(stream)

    def remember_reset(self, sid: int) -> None:
        resets = self.resets
        resets[sid] = 0
        if len(resets) > RESETS_REMEMBERED_MAX:
            del resets[next(iter(resets))]

    def flush(self) -> None:
        """One write of all that has collected."""
        written = b"".join(self.out)
        self.out.clear()
        if written and self.transport is not None and not self.closing:
            self.transport.write(written)

    def fail(self, fault: ConnectionFault) -> None:
        """RFC 9113 section 5.4.1: GOAWAY with the code, then the end."""
        if not self.closing:
            self.send(frames.goaway(self.last_sid, fault.code, fault.reason.encode()))
            self.finish()

    def finish(self) -> None:
        """Closes once what is written has left."""
        if self.closing:
            return
        if self.out:
            if self in self.dirty:
                self.dirty.remove(self)
            self.flush()
        self.closing = True
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Cuts the connection without a word; `connection_lost` follows."""
        self.closing = True
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        """asyncio's call: the socket takes no more for now."""
        if not self.paused:
            self.paused = True
            self.window -= PAUSED

    def resume_writing(self) -> None:
        """asyncio's call: the socket takes bytes again."""
        if self.paused:
            self.paused = False
            self.stuck_s = self.stuck_bytes = 0
            self.window += PAUSED
            if self.window > WINDOW_MAX:  # the walk could not see it
                self.fail(ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "connection window over 2^31-1"))
                return
            pump_blocked(self)
            self.outbox.flush()

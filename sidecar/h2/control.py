"""The frames that do not carry requests, and everything rare about those that do (RFC 9113 section 6)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import frames, settings
from .abuse import (
    BLOCK_BYTES_MAX,
    BLOCK_PER_LIST,
    CONTINUATION_BYTES,
    CONTINUATIONS_MAX,
    CONTINUATIONS_S,
    DRIBBLE_BYTES,
    SETTINGS_BYTES_PER_COST,
    SETTINGS_COST,
    STRAGGLERS_MAX,
)
from .errors import ConnectionFault, ErrorCode
from .flow import CREDIT_BYTES, pump
from .frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITISED,
    SETTING_BYTES,
    WINDOW_MAX,
)
from .stream import RECV_DONE, Stream

if TYPE_CHECKING:
    from .connection import Connection


def _fault(code: ErrorCode, reason: str) -> ConnectionFault:
    return ConnectionFault(code, reason)


# --- opening -----------------------------------------------------------------------------------------


def open_connection(conn: "Connection") -> None:
    """Our preface: SETTINGS, and the whole connection window at once (RFC 9113 section 3.4)."""
    preface = PREFACE if conn.client else b""
    increment = settings.CONNECTION_WINDOW_BYTES - settings.STREAM_WINDOW_BYTES
    conn.send(
        preface
        + frames.settings(settings.ours(conn.client, conn.header_list_max, conn.first_window))
        + frames.window_update(0, increment)
    )


def greet(conn: "Connection", data: bytes) -> int:
    """Where frames begin once the peer's preface is there; -1 as long as it is not whole.

    Raises ConnectionFault when it is something else, HTTP/1.1 for one.
    """
    preface = b"" if conn.client else PREFACE
    if data[: len(preface)] != preface[: len(data)]:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "not an HTTP/2 client preface")
    at = len(preface)
    if len(data) < at + frames.HEADER_BYTES:
        return -1
    _, _, kind, flags, sid = frames.HEADER.unpack_from(data, at)
    if kind != frames.SETTINGS or flags & ACK or sid:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
    conn.greeted = True
    return at


# --- header blocks -----------------------------------------------------------------------------------


class Partial:
    """A header block whose CONTINUATION frames are still to come."""

    __slots__ = ("age_s", "end", "frames", "parts", "sid", "size")

    def __init__(self, sid: int, end: int, part: bytes) -> None:
        self.sid = sid
        self.end = end
        self.parts = [part]
        self.size = len(part)
        self.frames = 0
        self.age_s = 0


def headers(conn: "Connection", flags: int, sid: int, payload: bytes) -> Partial | None:
    """HEADERS with padding, priority or without END_HEADERS (RFC 9113 section 6.2)."""
    if not sid:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
    start, stop = 0, len(payload)
    if flags & PADDED:
        start = 1
    if flags & PRIORITISED:
        start += 5
    if start > stop:
        raise _fault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS is shorter than its flags say")
    if flags & PADDED:
        stop -= payload[0]
        if start > stop:
            raise _fault(ErrorCode.PROTOCOL_ERROR, "padding longer than the frame")
    if flags & END_HEADERS:
        conn.on_block(sid, payload[start:stop], flags & END_STREAM)
        return None
    conn.partial = Partial(sid, flags & END_STREAM, payload[start:stop])
    return conn.partial


def continuation(conn: "Connection", kind: int, flags: int, sid: int, payload: bytes) -> Partial | None:
    """CONTINUATION, or what came in its place (RFC 9113 section 6.10)."""
    partial = conn.partial
    if partial is None or kind != CONTINUATION or sid & 0x7FFF_FFFF != partial.sid:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted, or continued from nothing")
    partial.frames += 1
    partial.size += len(payload)
    most = max(BLOCK_BYTES_MAX, BLOCK_PER_LIST * conn.header_list_max)
    if partial.frames > max(CONTINUATIONS_MAX, most // CONTINUATION_BYTES) or partial.size > most:
        raise _fault(ErrorCode.ENHANCE_YOUR_CALM, "header block too long")
    partial.parts.append(payload)
    if not flags & END_HEADERS:
        return partial
    conn.partial = None
    conn.on_block(partial.sid, b"".join(partial.parts), partial.end)
    return None


# --- DATA that does not fit --------------------------------------------------------------------------


def is_idle(conn: "Connection", sid: int) -> bool:
    """Was this stream never opened, by either side?"""
    ours = bool(sid & 1) == conn.client
    return sid >= conn.next_sid if ours else sid > conn.last_sid


def stray_data(conn: "Connection", sid: int, length: int) -> None:
    """DATA for a stream that is not in the table: ignored after our RST_STREAM, else an error."""
    if not sid or is_idle(conn, sid):
        raise _fault(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
    if sid not in conn.resets:
        raise _fault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
    if not length:
        straggler(conn, sid)


def straggler(conn: "Connection", sid: int) -> None:
    """A frame without data on a stream that is no more. What was under way when we reset it costs the peer
    nothing: a caller that cancels thousands of calls at once must not end the connection that others use."""
    came = conn.resets.get(sid, STRAGGLERS_MAX) + 1
    if came > STRAGGLERS_MAX:
        conn.abuse.said_nothing()
    else:
        conn.resets[sid] = came


def bad_padding(length: int) -> ConnectionFault:
    """DATA whose pad length is missing, or more than what is left (RFC 9113 sections 4.2 and 6.1)."""
    if not length:
        return _fault(ErrorCode.FRAME_SIZE_ERROR, "DATA without its pad length")
    return _fault(ErrorCode.PROTOCOL_ERROR, "padding longer than the frame")


def empty_data(stream: Stream, length: int) -> None:
    """DATA without data or END_STREAM, but for `length` octets of padding, goes no further: the next hop
    would hold all callers of the connection to account for it (CVE-2019-9518)."""
    conn = stream.conn
    conn.abuse.said_nothing()
    stream.owed += length
    if stream.owed >= CREDIT_BYTES:
        conn.send(frames.window_update(stream.sid, stream.owed))
        stream.recv_window += stream.owed
        stream.credited += stream.owed
        stream.owed = 0


def refuse_data(stream: Stream) -> None:
    """DATA that the stream's state or window forbids."""
    if stream.state & RECV_DONE:
        stream.conn.on_stream_fault(stream, ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
    elif stream.recv_window < 0:
        stream.conn.on_stream_fault(stream, ErrorCode.FLOW_CONTROL_ERROR, "DATA over the stream window")
    else:
        stream.conn.on_stream_fault(stream, ErrorCode.PROTOCOL_ERROR, "DATA before HEADERS")


def credit_connection(conn: "Connection") -> None:
    """Gives the connection window back, in halves, whatever became of the bytes."""
    if conn.owed > settings.CONNECTION_WINDOW_BYTES:
        raise _fault(ErrorCode.FLOW_CONTROL_ERROR, "DATA over the connection window")
    conn.send(frames.window_update(0, conn.owed))
    conn.owed = 0


# --- the others --------------------------------------------------------------------------------------


def window_update(conn: "Connection", sid: int, increment: int) -> None:
    """WINDOW_UPDATE of a stream, or one that says nothing (RFC 9113 section 6.9)."""
    if not sid:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
    stream = conn.streams.get(sid)
    if stream is None:
        if is_idle(conn, sid):
            raise _fault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
    elif not increment:
        conn.on_stream_fault(stream, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
    elif stream.window + increment > WINDOW_MAX:
        conn.on_stream_fault(stream, ErrorCode.FLOW_CONTROL_ERROR, "stream window over 2^31-1")
    else:
        stream.window += increment
        if stream.parked is not None:
            if increment < DRIBBLE_BYTES:
                conn.abuse.dribbled()
            pump(stream)


def _window_update_size(conn: "Connection", flags: int, sid: int, payload: bytes) -> None:
    raise _fault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")


def _priority(conn: "Connection", flags: int, sid: int, payload: bytes) -> None:
    """Deprecated and ignored (RFC 9113 section 5.3.2), but for its form."""
    if not sid:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
    if len(payload) != 5:
        stream = conn.streams.get(sid)
        if stream is None:
            raise _fault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")
        conn.on_stream_fault(stream, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")
    conn.abuse.said_nothing()


def _rst_stream(conn: "Connection", flags: int, sid: int, payload: bytes) -> None:
    if len(payload) != 4:
        raise _fault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
    if not sid or is_idle(conn, sid):
        raise _fault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
    stream = conn.streams.pop(sid, None)
    if not conn.client:
        conn.abuse.reset()
    elif stream is None:
        straggler(conn, sid)
    if stream is not None:
        conn.on_reset(stream, int.from_bytes(payload, "big"))


def _settings(conn: "Connection", flags: int, sid: int, payload: bytes) -> None:
    if sid:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
    if flags & ACK:
        if payload:
            raise _fault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS acknowledgement with a payload")
        conn.abuse.said_nothing()
        return
    if len(payload) % SETTING_BYTES:
        raise _fault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is not a multiple of 6 bytes")
    conn.abuse.controlled(SETTINGS_COST + len(payload) // SETTINGS_BYTES_PER_COST)
    # One frame can name a setting 2,730 times, and a window goes to every stream: only what such a series
    # comes to is applied (CVE-2019-9515).
    tables: list[int] = []
    windows: list[int] = []
    for key, value in frames.read_settings(payload):
        settings.check(key, value, from_server=conn.client)
        if key == settings.HEADER_TABLE_SIZE:
            tables.append(value)
        elif key == settings.INITIAL_WINDOW_SIZE:
            windows.append(value)
        elif key == settings.MAX_CONCURRENT_STREAMS:
            conn.streams_max = value
    if tables:
        conn.encoder.set_table_size(min(tables))
        conn.encoder.set_table_size(tables[-1])
    if windows:
        _change_stream_windows(conn, windows[-1], max(windows))
    conn.settled = True
    conn.send(frames.SETTINGS_ACK)
    conn.on_settings()
    if len(payload) > SETTINGS_BYTES_PER_COST:
        conn.end_long_turn()  # all streams, and 2,730 settings: 2 ms


def _change_stream_windows(conn: "Connection", value: int, highest: int) -> None:
    """RFC 9113 section 6.9.2: the difference applies to open streams, even below zero. On its way to `value`
    the setting was as high as `highest`."""
    change = value - conn.stream_window
    room = WINDOW_MAX - (highest - conn.stream_window)
    conn.stream_window = value
    for stream in list(conn.streams.values()):
        if stream.window > room:
            raise _fault(ErrorCode.FLOW_CONTROL_ERROR, "stream window over 2^31-1")
        stream.window += change
        if change > 0 and stream.parked is not None:
            pump(stream)


def _push_promise(conn: "Connection", flags: int, sid: int, payload: bytes) -> None:
    raise _fault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, but push is disabled")


def _ping(conn: "Connection", flags: int, sid: int, payload: bytes) -> None:
    if sid:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
    if len(payload) != frames.PING_BYTES:
        raise _fault(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 bytes")
    conn.abuse.controlled()
    if flags & ACK:
        conn.on_ping_ack(payload)
    else:
        conn.send(frames.ping(payload, ack=True))


def _goaway(conn: "Connection", flags: int, sid: int, payload: bytes) -> None:
    if sid:
        raise _fault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
    if len(payload) < 8:
        raise _fault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
    conn.abuse.said_nothing()
    last_sid = int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF
    conn.on_goaway(last_sid, int.from_bytes(payload[4:8], "big"))


def unknown(conn: "Connection", flags: int, sid: int, payload: bytes) -> None:
    """RFC 9113 section 5.5: ignored, but not without end."""
    conn.abuse.said_nothing()


FRAMES: dict[int, Callable[["Connection", int, int, bytes], None]] = {
    frames.PRIORITY: _priority,
    frames.RST_STREAM: _rst_stream,
    frames.SETTINGS: _settings,
    frames.PUSH_PROMISE: _push_promise,
    frames.PING: _ping,
    frames.GOAWAY: _goaway,
    frames.WINDOW_UPDATE: _window_update_size,
}


# --- liveness ----------------------------------------------------------------------------------------

KEEPALIVE_S = 20  # silent for so long: ask
DEAD_S = 30  # silent for so long although asked: gone
STUCK_S = 60  # the socket took nothing of what waits for it: a reader that will not read
STUCK_BYTES_MAX = 4 * 1024 * 1024  # and whatever adds to it, control frames and heads, ends here


def second_passed(conn: "Connection", probing: bool) -> bool:
    """Leaks the buckets and, where `probing`, keeps a silent peer honest by PING. False: it is dead.

    Any frame shows life, so only silent connections cost a PING.
    """
    conn.abuse.second_passed()
    if conn.partial is not None:
        conn.partial.age_s += 1
        if conn.partial.age_s > CONTINUATIONS_S:
            conn.fail(_fault(ErrorCode.ENHANCE_YOUR_CALM, "a header block takes too long"))
            return True
    if conn.paused and _is_stuck(conn):
        return False
    if conn.heard:
        conn.heard = False
        conn.silent_s = 0
        return True
    conn.silent_s += 1
    if probing and conn.silent_s == KEEPALIVE_S:
        conn.send(frames.ping(b"weftLIVE"))
    return not (probing and conn.silent_s >= DEAD_S)


def _is_stuck(conn: "Connection") -> bool:
    """Whether the peer leaves unread what we wrote (slow reads), beyond what memory it may cost."""
    waits = conn.transport.get_write_buffer_size() if conn.transport is not None else 0
    conn.stuck_s = conn.stuck_s + 1 if waits >= conn.stuck_bytes else 0
    conn.stuck_bytes = waits
    return waits > STUCK_BYTES_MAX or conn.stuck_s >= STUCK_S

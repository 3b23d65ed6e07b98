"""Flow control off the fast path (RFC 9113 section 5.2): what cannot be written now waits on its stream.

Waiting bytes are not credited to who sent them, so at most one stream window waits per direction, and
back-pressure reaches the far end. The connection is credited on receipt, so that its other streams go on.
A socket that does not take our bytes counts as a closed connection window (`Connection.pause_writing`).
"""

from collections import deque
from typing import TYPE_CHECKING, Any

from .frames import DATA, HEADERS, header, window_update
from .settings import STREAM_WINDOW_BYTES
from .stream import CLOSED, RECV_DONE, SENT_DONE, Stream

if TYPE_CHECKING:
    from .connection import Connection
    from .outbox import Outbox

# Credit goes back in halves of a window: the sender never stops for want of it, and small messages that
# end their stream cost no update at all.
CREDIT_BYTES = STREAM_WINDOW_BYTES // 2
# Waiting pieces are joined up to this size: a peer that sends octet by octet (CVE-2019-9511, 9517) would
# make each cost 150 more. Joining copies no more than this per piece.
JOIN_BYTES = 1024
# How much is moved from the streams to the socket before the socket is asked whether it takes more.
PUMP_BYTES = 256 * 1024


def park(stream: Stream, kind: int, value: Any, end: int) -> None:
    """Queues an item behind whatever waits on the stream already. Whoever parks DATA counts it as held."""
    if stream.parked is None:
        stream.parked = deque()
    queue = stream.parked
    if kind == DATA:
        stream.parked_bytes += len(value)
        if queue and len(value) < JOIN_BYTES:
            last_kind, last, last_end = queue[-1]
            if last_kind == DATA and not last_end and len(last) + len(value) <= JOIN_BYTES:
                queue[-1] = (DATA, last + value, end)
                return
    queue.append((kind, value, end))


def pump(stream: Stream, frames: int = -1) -> None:
    """Writes what the windows allow, at most `frames` DATA frames if that is not negative."""
    conn, queue = stream.conn, stream.parked
    if conn is None or queue is None:  # waits for a connection, or for nothing
        return
    while queue:
        kind, value, end = queue[0]
        if kind == DATA:
            taken = 0 if frames == 0 and value else _write_data(stream, value, end)
            if taken < len(value):
                if taken:
                    queue[0] = (DATA, value[taken:], end)
                if stream.window > 0:
                    (conn.blocked if stream in conn.blocked else conn.fresh)[stream] = None
                return
            queue.popleft()
            frames -= 1
        elif kind == HEADERS:
            queue.popleft()
            conn.write_block(stream.sid, conn.encoder.encode(value.head.fields, value.extra), end)
        else:
            conn.reset_stream(stream, value)
            return
        if end:
            sent_end(stream)
    stream.parked = None


def _write_data(stream: Stream, payload: bytes, end: int) -> int:
    """Writes one frame as long as the windows allow; how many bytes went. END_STREAM goes with the last."""
    conn = stream.conn
    size = min(len(payload), max(0, min(stream.window, conn.window)))
    if size < len(payload):
        payload, end = payload[:size], 0
        if not size:
            return 0
    stream.window -= size
    conn.window -= size
    stream.parked_bytes -= size
    conn.outbox.held -= size
    conn.send(header(size, DATA, end, stream.sid) + payload)
    credit(stream.peer, size)
    return size


def sent_end(stream: Stream) -> None:
    """END_STREAM was written."""
    stream.state |= SENT_DONE
    if stream.state == CLOSED:
        stream.conn.closed(stream)


def credit(source: Stream, size: int) -> None:
    """`size` bytes that came on `source` have been written onward, or thrown away."""
    if source.state & RECV_DONE:
        return
    if source.prepaid:
        paid = min(size, source.prepaid)
        source.prepaid -= paid
        size -= paid
    source.owed += size
    if source.owed >= CREDIT_BYTES:
        source.conn.send(window_update(source.sid, source.owed))
        source.recv_window += source.owed
        source.credited += source.owed
        source.owed = 0


def discard(stream: Stream, outbox: "Outbox") -> None:
    """Forgets what waits on the stream."""
    if stream.parked is not None:
        outbox.held -= stream.parked_bytes
        stream.parked_bytes = 0
        stream.parked = None
        if stream.conn is not None:
            stream.conn.blocked.pop(stream, None)
            stream.conn.fresh.pop(stream, None)


def pump_blocked(conn: "Connection") -> None:
    """The connection can write again: its streams take turns, a frame each; new ones come first."""
    blocked, fresh, written = conn.blocked, conn.fresh, 0
    while (fresh or blocked) and conn.window > 0:
        queue = fresh or blocked
        stream = next(iter(queue))
        del queue[stream]
        before = conn.window
        pump(stream, frames=1)
        if stream in fresh:  # it has had its turn, and has more
            del fresh[stream]
            blocked[stream] = None
        written += before - conn.window
        if written >= PUMP_BYTES:
            conn.flush()  # may close the window: pause_writing
            written = 0

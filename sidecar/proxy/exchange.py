# Hot path: bench/switch.py
"""One request on its way: the caller's stream, and what is known about its other half."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..h2 import frames
from ..h2.block import Block, Field
from ..h2.connection import REPLAY_BYTES_MAX
from ..h2.errors import ErrorCode
from ..h2.flow import discard, park
from ..h2.outbox import NEVER
from ..h2.settings import STREAM_WINDOW_BYTES
from ..h2.stream import CLOSED, GONE, RECV_DONE, SENT_DONE, Stream, no_connection
from ..policy.edits import Editor
from ..policy.retry import Budget
from ..respond import NOT_RESET, Answer
from ..telemetry import Series
from ..traffic import RetryPolicy

if TYPE_CHECKING:
    from .course import Course
    from .downstream import Downstream
    from .endpoint import Endpoint
    from .observe import Observer
    from .pool import Pool
    from .tracing import SpanIds

# gRPC's PROTOCOL-HTTP2: grpc-message is percent-encoded, printable ASCII stays but for "%".
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_NO_SHADOWS: Mapping["Pool", "Plan"] = {}


class Plan:
    """What is to be done with requests of one head, on one connection, under one snapshot."""

    __slots__ = (
        "begin", "budget", "deadlines", "editor", "fields", "grpc", "head_only", "pool", "refusal",
        "replay_max", "retry", "series", "shadows",
    )  # fmt: skip

    def __init__(
        self, fields: tuple[Field, ...], pool: "Pool", series: Series, grpc: bool, head_only: bool
    ) -> None:
        self.fields = fields  # the request's head as it goes on
        self.pool = pool
        self.series = series
        self.grpc = grpc
        self.head_only = head_only  # a HEAD request: the response has no body, whatever it declares
        self.refusal: Answer | None = None
        # What is done with each request instead of sending it at once; it sends it, answers it or keeps it.
        self.begin: Callable[[Exchange], None] | None = None
        self.deadlines = False  # whether `grpc-timeout` of a request is obeyed here
        self.retry: RetryPolicy | None = None  # None: only what was surely not processed, once
        self.budget: Budget | None = None  # of retries under way; None: not limited
        self.replay_max = REPLAY_BYTES_MAX  # of a request's body, kept for a retry
        self.editor: Editor | None = None  # of response heads
        self.shadows: Mapping[Pool, Plan] = _NO_SHADOWS  # of copies of these requests


class Exchange(Stream):
    """The caller's stream of one proxied request; its `peer` is the stream to the instance."""

    __slots__ = (
        "answered",
        "attempts",
        "block",
        "course",
        "due",
        "endpoint",
        "grpc_status",
        "http_status",
        "observer",
        "plan",
        "reason",
        "span",
        "started",
        "waits_at",
    )

    conn: "Downstream"
    endpoint: "Endpoint | None"
    waits_at: "Endpoint | None"
    course: "Course | None"
    observer: "Observer | None"
    span: "SpanIds | None"

    def __init__(
        self, conn: "Downstream", sid: int, window: int, plan: Plan, block: Block, started: float
    ) -> None:
        # Stream.__init__ written out, so that its bytecode sees one class only: -0.3 µs.
        self.conn = conn
        self.sid = sid
        self.state = 0
        self.window = window
        self.recv_window = STREAM_WINDOW_BYTES
        self.owed = 0
        self.parked = None
        self.replay = []
        self.replay_bytes = 0
        self.prepaid = 0
        self.parked_bytes = 0
        self.headed = True
        self.left = block.head.content_length
        self.credited = 0
        self.peer = GONE
        self.plan = plan
        self.block = block
        self.started = started
        self.answered = False  # a response head has been passed on
        self.attempts = 1
        self.endpoint = None  # the instance that it was sent to
        self.waits_at = None  # the instance whose connection it waits for
        self.grpc_status = -1
        self.http_status = 0
        self.due = NEVER  # when `Timers` must look at it
        self.course = None  # what features beyond sending it on remember of it
        self.observer = None  # who wants to know when it is over
        self.span = None  # its ids in a sampled trace
        self.reason = ""  # why we answered it ourselves


def answer(exchange: Exchange, how: Answer, message: str = "") -> None:
    """Ends the exchange from here: trailers for gRPC, a bare status for others, RST_STREAM where the
    answer says so or nothing else is possible any more."""
    end_upstream(exchange, ErrorCode.CANCEL)
    if exchange.state == CLOSED:
        return
    exchange.plan.series.refuse(how.reason)
    if exchange.state & SENT_DONE:  # the answer stands; only the rest of the request is not wanted
        exchange.conn.reset_stream(exchange, ErrorCode.NO_ERROR)
        return
    discard(exchange, exchange.conn.outbox)
    exchange.grpc_status = how.grpc_status
    exchange.reason = how.reason
    if not exchange.answered:
        if not exchange.plan.grpc:
            exchange.grpc_status = -1
        exchange.http_status = 200 if exchange.plan.grpc else how.http_status
    if how.reset_code != NOT_RESET and not exchange.answered:
        exchange.conn.reset_stream(exchange, how.reset_code)
    elif fields := _ending(exchange, how, message or how.grpc_message):
        exchange.conn.write_block(exchange.sid, exchange.conn.encoder.encode(fields), frames.END_STREAM)
        exchange.state |= SENT_DONE
        if exchange.state == CLOSED:
            exchange.conn.closed(exchange)
        else:  # RFC 9113 section 8.1: the caller may stop sending without having failed
            exchange.conn.reset_stream(exchange, ErrorCode.NO_ERROR)
    else:
        exchange.conn.reset_stream(exchange, ErrorCode.INTERNAL_ERROR)


def _ending(exchange: Exchange, how: Answer, message: str) -> tuple[Field, ...]:
    if not exchange.plan.grpc:
        if exchange.answered:
            return ()
        return (
            (b":status", b"%d" % how.http_status),
            (b"content-length", b"0"),
            (b"x-weft-reason", how.reason.encode()),
            *how.fields,
        )
    trailers = (
        (b"grpc-status", b"%d" % how.grpc_status),
        (b"grpc-message", quote(message, safe=_PRINTABLE).encode()),
    )
    if exchange.answered:
        return trailers
    return ((b":status", b"200"), (b"content-type", b"application/grpc"), *trailers)


def end_upstream(exchange: Exchange, code: ErrorCode) -> None:
    """The other half is not wanted any more: reset it, or take it out of the queue for a connection."""
    half = exchange.peer
    if half.state == CLOSED:
        return
    if half.conn is None:
        discard(half, exchange.conn.outbox)
        half.state = CLOSED
        if exchange.waits_at is not None:
            exchange.waits_at.pool.abandoned(exchange)
    else:
        half.conn.reset_stream(half, code)


def release_replay(exchange: Exchange) -> None:
    """Nothing will be sent again."""
    if exchange.replay is not None:
        exchange.replay = None
        exchange.conn.outbox.held -= exchange.replay_bytes


def needs_half(exchange: Exchange) -> bool:
    """Whether it has no half that waits for a connection."""
    half = exchange.peer
    return half.conn is not None or half.parked is None or half.state != 0


def waiting_half(exchange: Exchange) -> None:
    """The exchange waits for a connection: what the caller sends meanwhile is parked, and what it sent
    before is parked again. `replay` must hold all of it."""
    half = Stream(no_connection(), 0, 0)
    half.peer = exchange
    half.parked = deque()
    exchange.peer = half
    sent = exchange.replay or []
    end = exchange.state & RECV_DONE
    for at, payload in enumerate(sent, 1):
        park(half, frames.DATA, payload, end if at == len(sent) else 0)
    exchange.conn.outbox.held += half.parked_bytes

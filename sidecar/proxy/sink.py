"""Where answers go that no caller waits for: those to copies of requests, and to health checks."""

from collections.abc import Callable
from typing import cast

from ..h2.block import Block, Extra, Field
from ..h2.connection import Connection
from ..h2.decoder import Decoder
from ..h2.encoder import Encoder
from ..h2.errors import ErrorCode
from ..h2.flow import discard
from ..h2.frames import DATA, FRAME_BYTES_MAX, HEADER
from ..h2.outbox import Outbox
from ..h2.stream import CLOSED, GONE, RECV_DONE, Stream
from .exchange import Exchange, Plan, end_upstream, release_replay

# Nobody holds back what is thrown away.
WINDOW = 1 << 30
BODY_BYTES_MAX = 256  # of an answer that is looked at: a health check's is a few octets

Ended = Callable[[Exchange, bytes], None]


class NoEncoder(Encoder):
    """Nobody reads what it would make."""

    def encode(self, fields: tuple[Field, ...], extra: Extra | None = None) -> bytes:
        return b""


class Sink(Connection):
    """A caller's connection without a caller. Each exchange on it is begun by `begin`, and `ended` is called
    with it and the beginning of the answer's body."""

    client = False

    def __init__(self, outbox: Outbox, ended: Ended) -> None:
        super().__init__(outbox, Decoder(requests=True), NoEncoder())
        self.window = self.stream_window = WINDOW
        self.aio = None
        self._ended = ended
        self._bodies: dict[int, bytes] = {}

    def exchange(self, plan: Plan, block: Block, body: list[bytes], now: float) -> Exchange:
        """A request that is here whole."""
        self.next_sid += 2
        made = Exchange(self, self.next_sid, WINDOW, plan, block, now)  # type: ignore[arg-type]
        made.state = RECV_DONE
        made.left = -1
        made.replay = list(body)
        made.replay_bytes = sum(map(len, body))
        self.outbox.held += made.replay_bytes
        self.streams[made.sid] = made
        return made

    # --- what the switch does to a caller -------------------------------------------------------------

    def flush(self) -> None:
        written = b"".join(self.out)
        self.out.clear()
        self.window = WINDOW
        at = 0
        while len(written) - at >= 9:
            high, low, kind, _, sid = HEADER.unpack_from(written, at)
            end = at + 9 + (high << 16 | low)
            if kind == DATA:
                kept = self._bodies.get(sid, b"")
                if sid in self.streams or sid in self._bodies:
                    self._bodies[sid] = kept + written[at + 9 : min(end, at + 9 + BODY_BYTES_MAX - len(kept))]
                if (stream := self.streams.get(sid)) is not None:
                    stream.window = WINDOW
            at = end

    def closed(self, stream: Stream) -> None:
        exchange = cast(Exchange, stream)
        if self.out:
            self.flush()
        self.streams.pop(exchange.sid, None)
        body = self._bodies.pop(exchange.sid, b"")
        if exchange.course is not None:
            exchange.course.ended(exchange)
        release_replay(exchange)
        exchange.peer = GONE
        self._ended(exchange, body)

    def on_reset(self, stream: Stream, code: int) -> None:
        raise AssertionError("nobody is there who could")

    def on_stream_fault(self, stream: Stream, code: ErrorCode, reason: str) -> None:
        end_upstream(cast(Exchange, stream), ErrorCode.CANCEL)
        self.reset_stream(stream, code)

    def on_block(self, sid: int, block: bytes, end: int) -> None:
        raise AssertionError("nothing is received here")

    def end_all(self) -> None:
        """Of a switch that stops."""
        for stream in list(self.streams.values()):
            exchange = cast(Exchange, stream)
            discard(exchange, self.outbox)
            end_upstream(exchange, ErrorCode.CANCEL)
            if exchange.state != CLOSED:
                exchange.state = CLOSED
                self.closed(exchange)


assert FRAME_BYTES_MAX < WINDOW

"""Copies of requests to another target, whose answers nobody waits for.

A copy is sent once the request is here whole, and never before its first answer or its end; so it can neither
slow nor fail the request. It goes only where there is room: what the process holds back, and how many copies
are under way, have bounds below those of real requests. What is not copied is counted.
"""

from typing import NamedTuple

from ..events import MIRRORED
from ..h2.block import Field
from ..h2.outbox import Outbox
from ..h2.stream import CLOSED, RECV_DONE
from ..telemetry import Call, Count, Direction, Series, Telemetry
from .exchange import Exchange, Plan
from .pool import Pool
from .sink import Sink

UNDER_WAY_MAX = 512  # copies at once, of this process
TIME_S = 15.0  # for an answer; Envoy's default for a route
SUFFIX = b"-shadow"
_HOSTS = (b":authority", b"host")
HELD_SHARE = 4  # of what the process may hold, a copy may bring it to one part in so many


class Copies(NamedTuple):
    """Counters of one target."""

    answered: Count
    failed: Count
    dropped: Count


class Mirror:
    """All copies of one process go out by it."""

    def __init__(self, outbox: Outbox, telemetry: Telemetry, source: str) -> None:
        self.sink = Sink(outbox, self._ended)
        self._outbox = outbox
        self._telemetry = telemetry
        self._series = Series(Call(Direction.OUTBOUND, source, ""))  # on no page
        self._copies: dict[Exchange, Copies] = {}
        self._made: list[tuple[Exchange, Pool]] = []  # and not sent yet

    def counters(self, destination: str, target: str) -> Copies:
        return Copies(*(self._telemetry.count(MIRRORED, destination, target, how) for how in Copies._fields))

    def send(self, exchange: Exchange, pool: Pool, counters: Copies) -> None:
        """A copy of the request to `pool`, if it is here whole and there is room."""
        outbox = self._outbox
        body = exchange.replay
        if (
            body is None
            or not exchange.state & RECV_DONE
            or len(self._copies) >= UNDER_WAY_MAX
            or outbox.held + exchange.replay_bytes > outbox.held_max // HELD_SHARE
            or pool.series.pending >= pool.pending_max // 2
            or not pool.live
        ):
            counters.dropped.value += 1
            return
        was = exchange.plan
        plan = Plan(_shadowed(was.fields), pool, self._series, was.grpc, was.head_only)
        copy = self.sink.exchange(plan, exchange.block, body, outbox.now)
        copy.attempts = 2  # never tried again
        copy.due = outbox.clock() + TIME_S
        self._copies[copy] = counters
        if copy.due < outbox.due:
            outbox.arm(copy.due)
        if not self._made:
            outbox.soon(self._after_writing)
        self._made.append((copy, pool))

    def _after_writing(self) -> None:
        """Answers that have come are written in this turn of the loop; what copies cost begins after it."""
        self._outbox.soon(self._send_made)

    def _send_made(self) -> None:
        made, self._made = self._made, []
        for copy, pool in made:
            if copy.state != CLOSED:
                pool.enqueue(copy, pool.only or pool.pick(None))  # not `send`: its body is here, and waits
        self._outbox.flush()

    def _ended(self, copy: Exchange, body: bytes) -> None:
        counters = self._copies.pop(copy)
        fine = copy.answered and copy.http_status < 500 and copy.grpc_status <= 0
        (counters.answered if fine else counters.failed).value += 1


class Mirrors:
    """Who gets a copy of one request."""

    __slots__ = ("_mirror", "_to")

    def __init__(self, mirror: Mirror, to: list[tuple[Pool, Copies]]) -> None:
        self._mirror = mirror
        self._to = to

    def send(self, exchange: Exchange) -> None:
        for pool, counters in self._to:
            self._mirror.send(exchange, pool, counters)


def _shadowed(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """The host says that it is a copy, as Envoy has it: "-shadow" behind the name, before the port."""
    return tuple(
        (name, _shadow(value)) if name in (b":authority", b"host") else (name, value)
        for name, value in fields
    )


def _shadow(authority: bytes) -> bytes:
    host, colon, port = authority.rpartition(b":")
    if colon and port.isdigit() and (b":" not in host or host.endswith(b"]")):
        return host + SUFFIX + b":" + port
    return authority + SUFFIX

"""Copies of requests to another target, whose answers nobody waits for.

A copy is made once the request is here whole, and never before its first answer or its end, and sent some
milliseconds later; so it can neither slow nor fail the request. It goes only where there is room: what the
process holds back, and how many copies are under way, have bounds below those of real requests. What is not
copied is counted.
"""

import asyncio
from collections import deque
from typing import NamedTuple

from ..events import MIRRORED
from ..h2.block import Block, Field
from ..h2.outbox import Outbox
from ..h2.stream import RECV_DONE
from ..telemetry import Call, Count, Direction, Series, Telemetry
from .exchange import Exchange, Plan
from .pool import Pool
from .sink import Sink

UNDER_WAY_MAX = 512  # copies at once, of this process
TIME_S = 15.0  # for an answer; Envoy's default for a route
# Copies that go out one after another are less work here and at their destination than each behind its own
# request: what they take of the machine is what could slow real ones. Real ones wait for a turn of the loop.
GATHERED_S = 0.01
SUFFIX = b"-shadow"
_HOSTS = (b":authority", b"host")
HELD_SHARE = 4  # of what the process may hold, a copy may bring it to one part in so many


class Copies(NamedTuple):
    """Counters of one target."""

    answered: Count
    failed: Count
    dropped: Count


class _Gathered(NamedTuple):
    """A request that is to be copied: its plan, its head, and `size` octets of body."""

    plan: Plan
    block: Block
    body: list[bytes]
    size: int
    pool: Pool
    counters: Copies


class Mirror:
    """All copies of one process go out by it."""

    def __init__(self, outbox: Outbox, telemetry: Telemetry, source: str) -> None:
        self.sink = Sink(outbox, self._ended)
        self._outbox = outbox
        self._telemetry = telemetry
        self._series = Series(Call(Direction.OUTBOUND, source, ""))  # on no page
        self._copies: dict[Exchange, Copies] = {}
        self._gathered: deque[_Gathered] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def counters(self, destination: str, target: str) -> Copies:
        return Copies(*(self._telemetry.count(MIRRORED, destination, target, how) for how in Copies._fields))

    @property
    def under_way(self) -> int:
        """How many copies are to be sent, or to be answered."""
        return len(self._gathered) + len(self._copies)

    def send(self, exchange: Exchange, pool: Pool, counters: Copies) -> None:
        """A copy of the request to `pool`, soon, if it is here whole and there is room. Its answer has not
        been written yet: nothing is done here that can wait."""
        outbox = self._outbox
        body, size = exchange.replay, exchange.replay_bytes
        if (
            body is None
            or not exchange.state & RECV_DONE
            or self.under_way >= UNDER_WAY_MAX
            or outbox.held + size > outbox.held_max // HELD_SHARE
        ):
            counters.dropped.value += 1
            return
        outbox.held += size
        self._gathered.append(_Gathered(exchange.plan, exchange.block, body, size, pool, counters))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHERED_S, self._send_next)

    def _send_next(self) -> None:
        """One copy; the next after everybody else's turn."""
        self._begin(self._gathered.popleft())
        self._outbox.flush()
        self._timer = asyncio.get_running_loop().call_later(0.0, self._send_next) if self._gathered else None

    def _begin(self, gathered: "_Gathered") -> None:
        outbox, pool = self._outbox, gathered.pool
        outbox.held -= gathered.size
        if pool.series.pending >= pool.pending_max // 2 or not pool.live:
            gathered.counters.dropped.value += 1
            return
        copy = self.sink.exchange(self._plan(gathered), gathered.block, gathered.body, outbox.clock())
        copy.attempts = 2  # never tried again
        self._copies[copy] = gathered.counters
        pool.enqueue(copy, pool.only or pool.pick())  # not `send`: its body is here, and waits
        copy.due = copy.started + TIME_S
        if copy.due < outbox.due:
            outbox.arm(copy.due)

    def _plan(self, gathered: "_Gathered") -> Plan:
        """One for all copies of requests with one head, so that it is encoded once."""
        was, pool = gathered.plan, gathered.pool
        plan = was.shadows.get(pool)
        if plan is None:
            plan = Plan(_shadowed(was.fields), pool, self._series, was.grpc, was.head_only)
            was.shadows = {**was.shadows, pool: plan}
        return plan

    def close(self) -> None:
        """Sends no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._outbox.held -= sum(it.size for it in self._gathered)
        self._gathered.clear()

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
    return tuple((name, _shadow(value)) if name in _HOSTS else (name, value) for name, value in fields)


def _shadow(authority: bytes) -> bytes:
    host, colon, port = authority.rpartition(b":")
    if colon and port.isdigit() and (b":" not in host or host.endswith(b"]")):
        return host + SUFFIX + b":" + port
    return authority + SUFFIX

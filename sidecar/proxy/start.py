"""What a route asks for beyond an instance, done with each request before it is sent."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import RequestsFull
from ..h2.outbox import NEVER
from ..policy.hashing import hash64, hash_of, share_of
from ..policy.split import Shares
from ..policy.timeouts import read, with_timeout
from ..respond import ANSWERS
from ..traffic import HashPolicy, Route
from .course import IDLE_LOOKS, Course, schedule
from .exchange import Exchange, Plan, answer
from .mirror import Copies, Mirror, Mirrors
from .pool import Pool

_FULL = ANSWERS[RequestsFull]
PPM = 1_000_000
COOKIE_BITS = 64


class Copied(NamedTuple):
    """A mirror of a route."""

    pool: Pool
    ppm: int
    counters: Copies


class Start:
    """For the requests of one head. `plans` are those of the route's splits."""

    __slots__ = ("_copied", "_draw", "_head_timeout", "_mirror", "_plans", "_route", "_salt", "_shares")

    def __init__(
        self,
        route: Route,
        plans: Sequence[Plan],
        shares: Shares,
        draw: Callable[[], float],
        mirror: Mirror,
        copied: Sequence[Copied],
        head_timeout_s: float,
    ) -> None:
        self._route = route
        self._plans = plans
        self._shares = shares
        self._draw = draw
        self._mirror = mirror
        self._copied = copied
        self._head_timeout = head_timeout_s  # the grpc-timeout that all of them have
        self._salt = b"split"

    def begin(self, exchange: Exchange) -> None:
        course = exchange.course = Course()
        if len(self._plans) > 1:
            exchange.plan = self._plans[self._shares.at(self._point(exchange, course))]
        plan = exchange.plan
        series = plan.series
        series.requests += 1
        series.active += 1
        pool = plan.pool
        if pool.hash:
            course.key = self._key(pool.hash, exchange, course, b"")
        self._limit(exchange, course)
        if self._copied and (to := self._drawn()):
            course.mirrors = Mirrors(self._mirror, to)
        if pool.requests_max:
            if pool.requests >= pool.requests_max:
                pool.series.overflow("requests")
                answer(exchange, _FULL, f"weft: too many requests are under way to {pool.name}")
                return
            pool.requests += 1
            course.counted = True
        pool.send(exchange)

    def _point(self, exchange: Exchange, course: Course) -> float:
        if self._route.sticky:
            key = self._key(self._route.sticky, exchange, course, self._salt)
            if key is not None:
                return share_of(key)
        return self._draw()

    def _key(self, policy: HashPolicy, exchange: Exchange, course: Course, salt: bytes) -> int | None:
        hashed = hash_of(policy, exchange.block, _source(exchange), salt)
        if hashed.key is not None or hashed.cookie is None:
            return hashed.key
        if course.cookie is None or course.cookie[0].name != hashed.cookie.name:
            course.cookie = hashed.cookie, f"{int(self._draw() * (1 << COOKIE_BITS)):016x}"
        return hash64(course.cookie[1].encode(), salt)

    def _drawn(self) -> list[tuple[Pool, Copies]]:
        return [(it.pool, it.counters) for it in self._copied if self._draw() * PPM < it.ppm]

    def _limit(self, exchange: Exchange, course: Course) -> None:
        """Sets its moments, and says to the next hop what it may take."""
        route, now = self._route, exchange.started
        retry = exchange.plan.retry
        told = read(exchange.block.extra.timeout) or self._head_timeout
        limit = min(told or NEVER, route.timeout_s or NEVER)
        course.deadline = now + limit
        if retry is not None and retry.per_try_s:
            course.try_ends = now + retry.per_try_s
            limit = min(limit, retry.per_try_s)
        if exchange.plan.grpc and limit != NEVER and (limit != told or self._head_timeout):
            exchange.block = with_timeout(exchange.block, limit)
        if route.idle_s:
            course.idle_s, course.quiet_since = route.idle_s, now
            course.look_at = now + route.idle_s / IDLE_LOOKS
        if min(course.deadline, course.try_ends, course.look_at) != NEVER:
            schedule(exchange, course)


def _source(exchange: Exchange) -> str:
    """The caller's address, without the port."""
    aio = exchange.conn.aio
    name = aio.get_extra_info("peername") if aio is not None else None
    return str(name[0]) if isinstance(name, tuple) else ""

"""What a route asks for beyond an instance, done with each request before it is sent."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import RequestsFull
from ..h2.outbox import NEVER
from ..policy.hashing import Hashed, hash64, share_of
from ..policy.routing import SPLIT_SALT
from ..policy.split import Shares
from ..policy.timeouts import read, with_timeout, write
from ..respond import ANSWERS
from ..traffic import HashInput, Route
from .course import IDLE_LOOKS, Course, schedule
from .downstream import Downstream
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


class Choice(NamedTuple):
    """One split that a request may take, and the hash that its instance is chosen by there."""

    plan: Plan
    hashed: Hashed


class Start:
    """For the requests of one head. `choices` are the splits that are left to chance, at least one."""

    __slots__ = (
        "_by_cookie", "_choices", "_copied", "_draw", "_head_timeout", "_mirror", "_route", "_shares",
        "_told",
    )  # fmt: skip

    def __init__(
        self,
        route: Route,
        choices: Sequence[Choice],
        shares: Shares,
        by_cookie: HashInput | None,
        draw: Callable[[], float],
        mirror: Mirror,
        copied: Sequence[Copied],
        head_timeout_s: float,
    ) -> None:
        """`by_cookie`: the split depends on a cookie that the caller does not have yet."""
        self._route = route
        self._choices = choices
        self._shares = shares
        self._by_cookie = by_cookie
        self._draw = draw
        self._mirror = mirror
        self._copied = copied
        self._head_timeout = head_timeout_s  # the grpc-timeout that all of them have
        self._told: dict[float, bytes] = {}  # the last limit as it is written: mostly the route's

    def begin(self, exchange: Exchange) -> None:
        course = exchange.course = Course()
        plan, hashed = self._choice(course)
        exchange.plan = plan
        series = plan.series
        series.requests += 1
        series.active += 1
        pool = plan.pool
        course.key = hashed.key
        if hashed.cookie is not None:
            course.key = hash64(self._cookie(hashed.cookie, course))
        self._limit(exchange, course)
        if self._copied and not exchange.block.head.protocol and (to := self._drawn()):
            course.mirrors = Mirrors(self._mirror, to)
        if pool.requests_max:
            if pool.requests >= pool.requests_max:
                pool.series.overflow("requests")
                answer(exchange, _FULL, f"weft: too many requests are under way to {pool.name}")
                return
            pool.requests += 1
            course.counted = True
        pool.send(exchange)

    def _choice(self, course: Course) -> Choice:
        if len(self._choices) == 1:
            return self._choices[0]
        point = self._draw()
        if self._by_cookie is not None:
            point = share_of(hash64(self._cookie(self._by_cookie, course), SPLIT_SALT))
        return self._choices[self._shares.at(point)]

    def _cookie(self, asked: HashInput, course: Course) -> bytes:
        """What the caller's new cookie says."""
        if course.cookie is None or course.cookie[0].name != asked.name:
            course.cookie = asked, f"{int(self._draw() * (1 << COOKIE_BITS)):016x}"
        return course.cookie[1].encode()

    def _drawn(self) -> list[tuple[Pool, Copies]]:
        return [(it.pool, it.counters) for it in self._copied if self._draw() * PPM < it.ppm]

    def _limit(self, exchange: Exchange, course: Course) -> None:
        """Sets its moments, and says to the next hop what it may take."""
        route, now, retry = self._route, exchange.started, exchange.plan.retry
        said = exchange.block.extra.timeout
        told = (read(said) if said else 0.0) or self._head_timeout
        limit = min(told or NEVER, route.timeout_s or NEVER)
        course.deadline = now + limit
        if retry is not None and retry.per_try_s:
            course.try_ends = now + retry.per_try_s
            limit = min(limit, retry.per_try_s)
        if route.idle_s:
            course.idle_s, course.quiet_since = route.idle_s, now
            course.look_at = now + route.idle_s / IDLE_LOOKS
        if limit != NEVER or route.idle_s:
            schedule(exchange, course)
        if limit != NEVER and exchange.plan.grpc and (limit != told or self._head_timeout):
            value = self._told.get(limit)
            if value is None:
                value = write(limit)
                self._told = {limit: value}
            exchange.block = with_timeout(exchange.block, value)


def source_of(conn: Downstream) -> str:
    """The caller's address, without the port."""
    name = conn.aio.get_extra_info("peername") if conn.aio is not None else None
    return str(name[0]) if isinstance(name, tuple) else ""

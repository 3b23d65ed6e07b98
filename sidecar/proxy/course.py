"""A request with more to it than being sent on: its limits, its attempts, its copies.

A plain request has no Course. One is made where a route asks for something (`Start.begin`), or when its first
attempt fails and a second is due; `Timers` calls `expired` when one of its moments has come.
"""

from typing import TYPE_CHECKING

from weft.grpc_status import FAILED

from ..errors import DeadlineExceeded
from ..h2.block import Block, Extra, Head, Literal
from ..h2.errors import ErrorCode
from ..h2.outbox import NEVER
from ..h2.primitives import encode_raw
from ..h2.stream import CLOSED, SENT_DONE
from ..policy.outlier import is_failure
from ..policy.retry import NO_POLICY, FailureKind, backoff_s, is_retriable, may_retry
from ..policy.timeouts import with_timeout, write
from ..respond import ANSWERS, Answer
from ..traffic import HashInput
from .exchange import Exchange, answer, needs_half, waiting_half
from .pacing import Pace

if TYPE_CHECKING:
    from ..h2.stream import Stream
    from .endpoint import Endpoint
    from .mirror import Mirrors
    from .upstream import Upstream

_LATE = ANSWERS[DeadlineExceeded]
_OF_THE_CONNECTION = (FailureKind.ABOVE_GOAWAY, FailureKind.STALE)  # the instance is not to blame
SERVER_ERROR = 500
IDLE_LOOKS = 4  # an idle limit is noticed at most this share of it late


class Course:
    """Moments are the clock's seconds, NEVER where there is none."""

    __slots__ = (
        "cookie", "counted", "deadline", "idle_s", "key", "look_at", "mirrors", "pace", "quiet_since",
        "resume_at", "retrying", "seen", "step_at", "then", "tried", "try_ends",
    )  # fmt: skip

    def __init__(self) -> None:
        self.deadline = NEVER  # of the request as a whole
        self.try_ends = NEVER  # of the attempt under way
        self.resume_at = NEVER  # when the next attempt begins
        self.then: Answer | None = None  # what ends the request at `resume_at`, instead of an attempt
        self.pace: Pace | None = None  # of an answer that is slowed down
        self.step_at = NEVER  # when more of it goes
        self.look_at = NEVER  # when it is asked whether anything has moved
        self.idle_s = 0.0
        self.quiet_since = 0.0
        self.seen: object = None  # what had moved at the last look
        self.tried: tuple[Endpoint, ...] = ()
        self.key: int | None = None  # the hash that its instance is chosen by
        self.cookie: tuple[HashInput, str] | None = None  # to be set on the answer: what for, and its value
        self.retrying = False  # counted in the plan's budget
        self.counted = False  # counted among its pool's requests
        self.mirrors: Mirrors | None = None  # who gets a copy, until they got it

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over."""
        plan = exchange.plan
        if self.retrying and plan.budget is not None:
            self.retrying = False
            plan.budget.running -= 1
        if self.counted:
            self.counted = False
            plan.pool.requests -= 1
        if self.mirrors is not None:
            self.mirrors.send(exchange)
            self.mirrors = None


def course_of(exchange: Exchange) -> Course:
    """Its course; a plain request gets one, with the deadline that it has."""
    course = exchange.course
    if course is None:
        course = exchange.course = Course()
        course.deadline = exchange.due
    return course


def end_by(exchange: Exchange, due: float) -> None:
    """It must be over by then; a tunnel must be open by then."""
    exchange.due = due
    if exchange.block.head.protocol:
        course_of(exchange)
    outbox = exchange.conn.outbox
    if due < outbox.due:
        outbox.arm(due)


def schedule(exchange: Exchange, course: Course) -> None:
    """Has the exchange looked at when the first of its moments comes."""
    due = exchange.due = min(
        course.deadline, course.try_ends, course.resume_at, course.look_at, course.step_at
    )
    outbox = exchange.conn.outbox
    if due < outbox.due:
        outbox.arm(due)


# --- limits ------------------------------------------------------------------------------------------


def expired(exchange: Exchange, now: float) -> None:
    """One of its moments has come."""
    course = exchange.course
    if exchange.state == CLOSED:
        return
    if course is None or now >= course.deadline:
        answer(exchange, _LATE)
        return
    if now >= course.resume_at:
        course.resume_at = NEVER
        if course.then is not None:
            answer_on_purpose(exchange, course.then)
            return
        send_again(exchange, course)
    elif now >= course.try_ends:
        course.try_ends = NEVER
        _attempt_timed_out(exchange)
    if course.pace is not None and exchange.state != CLOSED and now >= course.step_at:
        course.step_at = course.pace.step(exchange, now)
    if exchange.state != CLOSED and now >= course.look_at:
        _look(exchange, course, now)
    if exchange.state != CLOSED:
        schedule(exchange, course)


def _attempt_timed_out(exchange: Exchange) -> None:
    if exchange.answered:  # the limit is on the wait for an answer
        return
    half, endpoint = exchange.peer, exchange.endpoint or exchange.waits_at
    if endpoint is not None:
        endpoint.pool.failed(endpoint, _LATE.http_status)
    if not try_again(exchange, endpoint, FailureKind.TIMED_OUT, ask_only=True):
        answer(exchange, _LATE, "weft: the attempt took too long")
        return
    if half.conn is None:
        if exchange.waits_at is not None:
            exchange.waits_at.pool.abandoned(exchange)
    elif half.state != CLOSED:
        half.conn.take_back(half, ErrorCode.CANCEL)  # type: ignore[attr-defined]  # an Upstream
    try_again(exchange, endpoint, FailureKind.TIMED_OUT)


def _look(exchange: Exchange, course: Course, now: float) -> None:
    """Has a byte moved since the last look?"""
    half = exchange.peer
    seen = (exchange.moved, exchange.state, half.moved, half.state, half.headed)
    if seen != course.seen:
        course.seen = seen
        course.quiet_since = now
    elif now - course.quiet_since >= course.idle_s:
        answer(exchange, _LATE, "weft: nothing was sent or received for too long")
        return
    course.look_at = now + course.idle_s / IDLE_LOOKS


def shorten(exchange: Exchange, now: float) -> None:
    """An attempt begins: what is passed on of the time for it is what is left."""
    course = exchange.course
    ends = exchange.due if course is None else min(course.deadline, course.try_ends)
    if exchange.plan.grpc and ends != NEVER:
        exchange.block = with_timeout(exchange.block, write(ends - now))


def answered(exchange: Exchange, course: Course, block: Block) -> Block:
    """The head of an answer is passed on: as which, and what ends with it."""
    course.try_ends = NEVER
    if exchange.block.head.protocol and block.head.status < 300:  # a tunnel lasts as long as it is used
        course.deadline = NEVER
    if course.mirrors is not None:
        course.mirrors.send(exchange)
        course.mirrors = None
    if course.cookie is None:
        return block
    asked, value = course.cookie
    literal = Literal(b"set-cookie", encode_raw(set_cookie(asked, value)), never_indexed=True)
    return Block(block.head, Extra.of([*block.extra, literal]))


def set_cookie(asked: HashInput, value: str) -> bytes:
    """RFC 6265 section 4.1, as Envoy writes it."""
    ttl = f"; Max-Age={asked.cookie_ttl_s}" if asked.cookie_ttl_s else ""
    path = f"; Path={asked.cookie_path}" if asked.cookie_path else ""
    return f'{asked.name}="{value}"{ttl}{path}; HttpOnly'.encode()


# --- attempts ----------------------------------------------------------------------------------------


def try_again(
    exchange: Exchange,
    failed: "Endpoint | None",
    why: FailureKind,
    grpc_status: int = -1,
    *,
    ask_only: bool = False,
) -> bool:
    """An attempt at `failed` ended without an answer. Whether another one is on its way (or, `ask_only`,
    would be); if so, the exchange has no other half that anybody waits for."""
    plan = exchange.plan
    policy = plan.retry or NO_POLICY
    whole = exchange.replay is not None or exchange.peer.conn is None
    if exchange.state == CLOSED or not may_retry(
        exchange.attempts, why, whole, exchange.answered, policy, grpc_status
    ):
        return False
    free = why.unprocessed and exchange.attempts == 1  # surely nothing was done of it, and only once
    endpoint = plan.pool.pick_again(exchange, failed)
    if endpoint is None:
        # The one that failed may serve us on another connection; or later, where the policy says so.
        if plan.retry is None and why not in _OF_THE_CONNECTION:
            return False
        endpoint = failed
    free = free and endpoint is not None and (not endpoint.failing or why in _OF_THE_CONNECTION)
    if not free and not _has_budget(exchange):
        return False
    if ask_only:
        return True
    course = course_of(exchange)
    if failed is not None:
        course.tried += (failed,)
    _begin_retry(exchange, course)
    delay = 0.0 if free else backoff_s(policy, exchange.attempts - 1, plan.pool.draw())
    if delay and plan.retry is not None:
        wait(exchange, course, delay)
    else:
        send_again(exchange, course, endpoint)
    return True


def retry_answer(upstream: "Upstream", stream: "Stream", head: Head, end: int) -> bool:
    """An answer came that the plan's policy may want to hide. Whether another attempt is under way."""
    exchange: Exchange = stream.peer  # type: ignore[assignment]  # always
    plan = exchange.plan
    policy = plan.retry
    if (
        policy is None
        or exchange.replay is None
        or exchange.attempts >= policy.attempts_max
        or exchange.state == CLOSED
        or not is_retriable(policy, head.status, head.grpc_status)
        or not _has_budget(exchange)
    ):
        return False
    endpoint = upstream.endpoint
    if is_failure(head.grpc_status, head.status):
        endpoint.pool.failed(endpoint, head.status)
    over = end and stream.state & SENT_DONE
    upstream.take_back(stream, -1 if over else ErrorCode.CANCEL)
    course = course_of(exchange)
    course.tried += (endpoint,)
    _begin_retry(exchange, course)
    wait(exchange, course, backoff_s(policy, exchange.attempts - 1, plan.pool.draw()))
    return True


def _has_budget(exchange: Exchange) -> bool:
    course, budget = exchange.course, exchange.plan.budget
    retrying = course is not None and course.retrying
    if budget is None or budget.has_room(exchange.plan.series, retrying=retrying):
        return True
    exchange.plan.pool.series.retries_over_budget += 1
    return False


def _begin_retry(exchange: Exchange, course: Course) -> None:
    plan = exchange.plan
    exchange.attempts += 1
    exchange.endpoint = None
    exchange.http_status, exchange.grpc_status = 0, -1
    plan.pool.series.retries += 1
    course.try_ends = NEVER
    if plan.budget is not None:
        plan.budget.spend()
    if plan.budget is not None and not course.retrying:
        course.retrying = True
        plan.budget.running += 1
    if needs_half(exchange):
        waiting_half(exchange)


def hold(exchange: Exchange, seconds: float, then: Answer | None) -> None:
    """The first attempt begins after a while; or `then` is answered."""
    course = course_of(exchange)
    course.then = then
    if needs_half(exchange):
        waiting_half(exchange)
    wait(exchange, course, seconds)


def answer_on_purpose(exchange: Exchange, how: Answer) -> None:
    """As a fault says. Whether that counts as a failure of the service, the registry is told apart."""
    failed = how.grpc_status in FAILED if exchange.plan.grpc else how.http_status >= SERVER_ERROR
    if failed and exchange.state != CLOSED:
        exchange.plan.series.injected += 1
    answer(exchange, how)


def slow_down(exchange: Exchange, bytes_per_second: int) -> None:
    """The answer's body goes no faster."""
    course = course_of(exchange)
    now = exchange.conn.outbox.clock()
    course.pace, course.step_at = Pace(exchange, bytes_per_second, now), now
    schedule(exchange, course)


def wait(exchange: Exchange, course: Course, seconds: float) -> None:
    """The next attempt begins after a while."""
    outbox = exchange.conn.outbox
    course.resume_at = outbox.clock() + seconds
    schedule(exchange, course)


def send_again(exchange: Exchange, course: Course, endpoint: "Endpoint | None" = None) -> None:
    """The next attempt begins: at `endpoint`, or at another instance than the last if there is one."""
    plan = exchange.plan
    if plan.retry is not None and plan.retry.per_try_s:
        course.try_ends = exchange.conn.outbox.clock() + plan.retry.per_try_s
        schedule(exchange, course)
    if endpoint is None:
        last = course.tried[-1] if course.tried else None
        endpoint = plan.pool.pick_again(exchange, last) or plan.pool.still(last)
    (endpoint.pool if endpoint is not None else plan.pool).enqueue(exchange, endpoint)

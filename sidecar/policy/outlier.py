"""Sans-IO. Passive health: instances that keep failing leave the pool for a while.

An instance is ejected after `consecutive_failures` in a row, or so many of a gateway's, or where the rates of
an interval set it apart from the pool: for `min(base_s * n, max_s)`, where n counts its recent ejections: it
grows by one with each and shrinks by one per `base_s` spent in the pool since. At most `max_percent` of the
pool is out at once; one may always be, where the pool has more than one. Where requests can go to other
targets instead, all of it may be.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from ..snapshot import EjectionPolicy

# gRPC status codes that say the instance, not the call, is at fault. UNKNOWN (2) is left out: servers
# answer it when a handler raises, so one poisonous request would empty the pool. DEADLINE_EXCEEDED (4)
# is left out: the caller chose the deadline. PERMISSION_DENIED (7) is an answer, not a failure.
INTERNAL, UNAVAILABLE, DATA_LOSS = 13, 14, 15
FAILURE_STATUSES = frozenset((INTERNAL, UNAVAILABLE, DATA_LOSS))
HTTP_SERVER_ERROR = 500
GATEWAY_FAILURES = frozenset((0, 502, 503, 504))  # 0: there was no answer


class Rate(NamedTuple):
    """What became of the requests of one instance in one interval."""

    key: str
    requests: int
    failures: int


def is_failure(grpc_status: int, http_status: int) -> bool:
    """Does this outcome count against the instance? `grpc_status` is -1 where the answer has none."""
    if grpc_status >= 0:
        return grpc_status in FAILURE_STATUSES
    return http_status >= HTTP_SERVER_ERROR


def http_status_of(grpc_status: int, http_status: int) -> int:
    """What an HTTP gateway would have answered in place of this failure."""
    if grpc_status < 0:
        return http_status
    return 503 if grpc_status == UNAVAILABLE else HTTP_SERVER_ERROR


@dataclass(frozen=True, slots=True)
class Ejection:
    """`key` is out of the pool until `until` (the clock of `now`, seconds); its `count`-th in a row."""

    key: str
    until: float
    count: int


@dataclass(slots=True)
class _Past:
    """What is remembered of an instance that was ejected before."""

    count: int
    returned_at: float


class Detector:
    """The outlier state of one pool. Times are seconds of one monotonic clock."""

    __slots__ = ("_failing", "_gateway", "_may_empty", "_out", "_past", "_policy", "_size")

    def __init__(self, policy: EjectionPolicy, size: int, may_empty: bool = False) -> None:
        """`may_empty`: the whole pool may be out, since requests can go elsewhere."""
        self._policy = policy
        self._may_empty = may_empty
        self._size = size
        self._failing: dict[str, int] = {}
        self._gateway: dict[str, int] = {}
        self._out: dict[str, Ejection] = {}
        self._past: dict[str, _Past] = {}

    def success(self, key: str) -> None:
        """A request was served: the row of failures is broken."""
        if self._failing:
            self._failing.pop(key, None)
            self._gateway.pop(key, None)

    def failure(self, key: str, now: float, http_status: int = HTTP_SERVER_ERROR) -> Ejection | None:
        """A request failed. Answers the ejection that this caused, if it did. `http_status` is 0 where there
        was no answer."""
        if key in self._out:
            return None
        failures = self._failing.get(key, 0) + 1
        self._failing[key] = failures
        too_many = failures >= self._policy.consecutive_failures
        if http_status in GATEWAY_FAILURES and (most := self._policy.consecutive_gateway_failures):
            self._gateway[key] = gateway = self._gateway.get(key, 0) + 1
            too_many = too_many or gateway >= most
        else:
            self._gateway.pop(key, None)
        if not too_many or len(self._out) >= self._out_max():
            return None
        return self._eject(key, now)

    def judge(self, rates: Iterable[Rate], now: float) -> list[Ejection]:
        """An interval has passed. Answers the ejections that its rates cause, the worst first."""
        policy = self._policy
        rates = [rate for rate in rates if rate.requests > 0 and rate.key not in self._out]
        guilty = {rate.key for rate in rates if self._fails_too_much(rate)}
        counted = [rate for rate in rates if rate.requests >= policy.success_rate_min_requests]
        if policy.success_rate_stdevs and len(counted) >= policy.success_rate_min_hosts:
            guilty.update(_apart(counted, policy.success_rate_stdevs))
        worst = sorted((rate for rate in rates if rate.key in guilty), key=_success)
        return [self._eject(rate.key, now) for rate in worst[: max(0, self._out_max() - len(self._out))]]

    def _fails_too_much(self, rate: Rate) -> bool:
        policy = self._policy
        if not policy.failure_percent or rate.requests < policy.failure_percent_min_requests:
            return False
        return rate.failures * 100 > policy.failure_percent * rate.requests

    def returned(self, now: float) -> list[str]:
        """The instances whose time out is over; they are back in the pool."""
        back = [key for key, ejection in self._out.items() if ejection.until <= now]
        for key in back:
            self._past[key] = _Past(self._out.pop(key).count, now)
        return back

    def next_deadline(self) -> float | None:
        """When `returned` has something to say next; None if nothing is out."""
        return min((ejection.until for ejection in self._out.values()), default=None)

    def ejected(self, key: str) -> bool:
        return key in self._out

    def out(self) -> tuple[Ejection, ...]:
        """All that are out now."""
        return tuple(self._out.values())

    def keep(self, keys: Collection[str]) -> None:
        """The pool now holds exactly `keys`; everything known of others is forgotten."""
        kept = frozenset(keys)
        self._size = len(kept)
        for memory in (self._failing, self._gateway, self._out, self._past):
            for key in memory.keys() - kept:
                del memory[key]

    def reconfigure(self, policy: EjectionPolicy, may_empty: bool = False) -> None:
        """New settings for the failures to come; ejections under way end as they were announced."""
        self._policy = policy
        self._may_empty = may_empty

    def _out_max(self) -> int:
        if self._may_empty:
            return self._size
        share = self._size * self._policy.max_percent // 100
        return max(share, 1) if self._size > 1 else 0

    def _eject(self, key: str, now: float) -> Ejection:
        policy = self._policy
        count = 1
        if past := self._past.pop(key, None):
            forgiven = int((now - past.returned_at) / policy.base_s) if policy.base_s > 0 else past.count
            count += max(0, past.count - forgiven)
        ejection = Ejection(key, now + min(policy.base_s * count, policy.max_s), count)
        self._failing.pop(key, None)
        self._gateway.pop(key, None)
        self._out[key] = ejection
        return ejection


def _success(rate: Rate) -> float:
    return 1.0 - min(rate.failures, rate.requests) / rate.requests


def _apart(rates: list[Rate], stdevs: float) -> set[str]:
    """Those whose success rate is more than so many standard deviations below the mean of all."""
    mean = sum(map(_success, rates)) / len(rates)
    deviation = sqrt(sum((_success(rate) - mean) ** 2 for rate in rates) / len(rates))
    return {rate.key for rate in rates if _success(rate) < mean - stdevs * deviation}

"""Sans-IO. Passive health: instances that keep failing leave the pool for a while.

An instance is ejected after `consecutive_failures` in a row, for `min(base_s * n, max_s)` where n counts
its recent ejections: n grows by one with each and shrinks by one per `base_s` spent in the pool since.
At most `max_percent` of the pool is out at once; one may always be, where the pool has more than one.
"""

from collections.abc import Collection
from dataclasses import dataclass

from ..snapshot import EjectionPolicy

# gRPC status codes that say the instance, not the call, is at fault. UNKNOWN (2) is left out: servers
# answer it when a handler raises, so one poisonous request would empty the pool. DEADLINE_EXCEEDED (4)
# is left out: the caller chose the deadline. PERMISSION_DENIED (7) is an answer, not a failure.
INTERNAL, UNAVAILABLE, DATA_LOSS = 13, 14, 15
FAILURE_STATUSES = frozenset((INTERNAL, UNAVAILABLE, DATA_LOSS))
HTTP_SERVER_ERROR = 500


def is_failure(grpc_status: int, http_status: int) -> bool:
    """Does this outcome count against the instance? `grpc_status` is -1 where the answer has none."""
    if grpc_status >= 0:
        return grpc_status in FAILURE_STATUSES
    return http_status >= HTTP_SERVER_ERROR


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

    __slots__ = ("_failing", "_out", "_past", "_policy", "_size")

    def __init__(self, policy: EjectionPolicy, size: int) -> None:
        self._policy = policy
        self._size = size
        self._failing: dict[str, int] = {}
        self._out: dict[str, Ejection] = {}
        self._past: dict[str, _Past] = {}

    def success(self, key: str) -> None:
        """A request was served: the row of failures is broken."""
        if self._failing:
            self._failing.pop(key, None)

    def failure(self, key: str, now: float) -> Ejection | None:
        """A request failed. Answers the ejection that this caused, if it did."""
        if key in self._out:
            return None
        failures = self._failing.get(key, 0) + 1
        self._failing[key] = failures
        if failures < self._policy.consecutive_failures or len(self._out) >= self._out_max():
            return None
        return self._eject(key, now)

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
        for memory in (self._failing, self._out, self._past):
            for key in memory.keys() - kept:
                del memory[key]

    def reconfigure(self, policy: EjectionPolicy) -> None:
        """New settings for the failures to come; ejections under way end as they were announced."""
        self._policy = policy

    def _out_max(self) -> int:
        share = self._size * self._policy.max_percent // 100
        return max(share, 1) if self._size > 1 else 0

    def _eject(self, key: str, now: float) -> Ejection:
        policy = self._policy
        count = 1
        if past := self._past.pop(key, None):
            forgiven = int((now - past.returned_at) / policy.base_s) if policy.base_s > 0 else past.count
            count += max(0, past.count - forgiven)
        ejection = Ejection(key, now + min(policy.base_s * count, policy.max_s), count)
        del self._failing[key]
        self._out[key] = ejection
        return ejection

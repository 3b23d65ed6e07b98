"""Sans-IO. When a request may be sent once more, to another instance.

Without a policy only where the first instance surely did not process it, and once: gRPC calls are not
idempotent in general (gRFC A6 calls these "transparent retries"). With a policy, what that names.
"""

from enum import Enum
from typing import Protocol

from ..traffic import RetryOn, RetryPolicy

ATTEMPTS_MAX = 2
NO_POLICY = RetryPolicy(attempts_max=ATTEMPTS_MAX)
GATEWAY_STATUSES = frozenset((502, 503, 504))
CONFLICT = 409
# gRPC status codes that a policy can name.
_STATUS = {
    1: RetryOn.CANCELLED,
    4: RetryOn.DEADLINE_EXCEEDED,
    8: RetryOn.RESOURCE_EXHAUSTED,
    13: RetryOn.INTERNAL,
    14: RetryOn.UNAVAILABLE,
}
_NO_ANSWER = frozenset((RetryOn.SERVER_ERROR, RetryOn.GATEWAY_ERROR, RetryOn.RESET))


class FailureKind(Enum):
    """How an attempt ended without an answer. `unprocessed`: the peer surely did nothing of it."""

    CONNECT_FAILED = ("connect_failed", True)  # no connection, or none that spoke SETTINGS
    REFUSED_STREAM = ("refused_stream", True)  # RFC 9113 section 8.7
    ABOVE_GOAWAY = ("above_goaway", True)  # RFC 9113 section 6.8: above the last stream id
    STALE = ("stale", True)  # a kept-alive HTTP/1.1 connection broke before a byte of the answer
    CONNECTION_LOST = ("connection_lost", False)
    RESET = ("reset", False)  # RST_STREAM with any other code
    TIMED_OUT = ("timed_out", False)  # the attempt, not the request

    def __init__(self, label: str, unprocessed: bool) -> None:
        self.label = label
        self.unprocessed = unprocessed


# What a policy may call each; no answer at all is a server error to an HTTP caller, and UNAVAILABLE (or
# DEADLINE_EXCEEDED) to a gRPC one.
_WORDS: dict[FailureKind, frozenset[RetryOn]] = {
    FailureKind.CONNECT_FAILED: _NO_ANSWER | {RetryOn.CONNECT_FAILURE, RetryOn.UNAVAILABLE},
    FailureKind.REFUSED_STREAM: _NO_ANSWER | {RetryOn.REFUSED_STREAM, RetryOn.UNAVAILABLE},
    FailureKind.ABOVE_GOAWAY: _NO_ANSWER | {RetryOn.REFUSED_STREAM, RetryOn.UNAVAILABLE},
    FailureKind.STALE: _NO_ANSWER | {RetryOn.CONNECT_FAILURE, RetryOn.UNAVAILABLE},
    FailureKind.CONNECTION_LOST: _NO_ANSWER | {RetryOn.UNAVAILABLE},
    FailureKind.RESET: _NO_ANSWER,
    FailureKind.TIMED_OUT: _NO_ANSWER | {RetryOn.DEADLINE_EXCEEDED},
}


def may_retry(
    attempt: int,
    why: FailureKind,
    body_whole: bool,
    answered: bool = False,
    policy: RetryPolicy = NO_POLICY,
    grpc_status: int = -1,
) -> bool:
    """`attempt` counts those made (1 after the first). `body_whole`: every byte received of the request
    body is still held, so that it can be sent again from its start. `answered`: something of a response
    was already passed on. `grpc_status`: what a gRPC client would make of it."""
    if not body_whole or answered:
        return False
    if why.unprocessed and attempt < ATTEMPTS_MAX:
        return True
    if attempt >= policy.attempts_max:
        return False
    return bool(_WORDS[why] & policy.on) or _STATUS.get(grpc_status) in policy.on


def is_retriable(policy: RetryPolicy, http_status: int, grpc_status: int) -> bool:
    """Whether the policy names this answer. `grpc_status` is -1 where its head has none."""
    on = policy.on
    if grpc_status > 0:
        return _STATUS.get(grpc_status) in on
    return (
        http_status in policy.status_codes
        or (http_status >= 500 and RetryOn.SERVER_ERROR in on)
        or (http_status in GATEWAY_STATUSES and RetryOn.GATEWAY_ERROR in on)
        or (http_status == CONFLICT and RetryOn.RETRIABLE_4XX in on)
    )


def backoff_s(policy: RetryPolicy, retry: int, draw: float) -> float:
    """How long to wait before the `retry`-th retry (1, 2, ...): full jitter, `draw` in [0, 1)."""
    return draw * min(policy.backoff_max_s, policy.backoff_base_s * 2.0 ** min(retry - 1, 32))


SAVED_MIN = 10.0  # a burst, also where few requests are under way


class Counted(Protocol):
    """Counters of one side of a route: requests ever begun, and those under way, retries included."""

    requests: int
    active: int


class Budget:
    """Retries of one route, in number as well as under way: a total outage must not double the load.

    Both shares are of requests that are not retries, so that with 20 percent the load grows by a fifth at
    most. What is under way would not be enough: retries are often quicker than what they repeat. Shares that
    were not used are kept for a burst: as many as may be under way at once.
    """

    __slots__ = ("_least", "_percent", "_saved", "_seen", "running")

    def __init__(self, policy: RetryPolicy = NO_POLICY) -> None:
        self._percent = policy.budget_percent
        self._least = policy.budget_min
        self._saved = 0.0  # retries that may be made
        self._seen: dict[Counted, int] = {}  # requests begun, at the last look; one for each split
        self.running = 0  # requests that are being retried

    def has_room(self, counted: Counted, *, retrying: bool) -> bool:
        """For one more attempt, of a request that is being retried already or not."""
        allowed = (counted.active - self.running) * self._percent / 100
        begun = counted.requests - self._seen.get(counted, 0)
        self._seen[counted] = counted.requests
        self._saved = min(max(SAVED_MIN, allowed), self._saved + begun * self._percent / 100)
        if self.running - retrying < self._least:
            return True
        return self._saved >= 1.0 and (retrying or self.running < int(allowed))

    def spend(self) -> None:
        """An attempt more is made."""
        self._saved = max(0.0, self._saved - 1.0)

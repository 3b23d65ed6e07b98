"""Sans-IO. Local rate limits: token buckets, one for all callers of a limit or one for each."""

import math
from collections.abc import Sequence

from weft.pb.mesh.v1 import mesh_pb2

from ..admission import RateLimit
from ..errors import InvalidResource
from .match import http_match
from .numbers import label, number

PER_SECOND_MAX = 1_000_000
CALLERS_MAX = 4096  # buckets of one limit; callers are proven identities, so there are not more by malice


def limit_of(said: mesh_pb2.RateLimit) -> RateLimit:
    """Raises InvalidResource."""
    where = f"proxy: rate limit {said.name[:80]!r}"
    rate = said.requests_per_second
    if not 0 < rate <= PER_SECOND_MAX:
        raise InvalidResource(where, f"requests_per_second {rate} is not above 0 to {PER_SECOND_MAX}")
    default = max(1, math.ceil(rate))
    return RateLimit(
        name=label(where, said.name),
        per_second=rate,
        burst=float(number(where, "burst", said.burst, default, PER_SECOND_MAX)),
        match=http_match(where, said.match) if said.HasField("match") else None,
        per_caller=said.per_caller,
    )


class Bucket:
    """Times are seconds of one monotonic clock. It is full at first."""

    __slots__ = ("_burst", "_per_second", "_seen", "_tokens")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._seen = now

    def lacks(self, now: float) -> float:
        """Seconds until a token is there; 0: there is one."""
        if now > self._seen:
            self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._per_second)
            self._seen = now
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / self._per_second

    def take(self) -> None:
        """Only after `lacks` has said that there is one."""
        self._tokens -= 1.0


class Limiter:
    """One limit and its buckets."""

    __slots__ = ("_buckets", "limit")

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._buckets: dict[str, Bucket] = {}  # by caller, the one asked last at the end

    def bucket(self, caller: str, now: float) -> Bucket:
        """The bucket that this caller's requests take from."""
        key = caller if self.limit.per_caller else ""
        found = self._buckets.pop(key, None)
        if found is None:
            if len(self._buckets) >= CALLERS_MAX:  # who was quiet longest has most probably a full one
                del self._buckets[next(iter(self._buckets))]
            found = Bucket(self.limit.per_second, self.limit.burst, now)
        self._buckets[key] = found
        return found

    def __len__(self) -> int:
        return len(self._buckets)


def refused_for(limiters: Sequence[Limiter], caller: str, now: float) -> tuple[Limiter, float] | None:
    """All must have a token, or none gives one: the limit in the way, and seconds until it lets one through.

    None: a token was taken from each, and the request may go on.
    """
    buckets = [limiter.bucket(caller, now) for limiter in limiters]
    for limiter, bucket in zip(limiters, buckets, strict=True):
        if wait := bucket.lacks(now):
            return limiter, wait
    for bucket in buckets:
        bucket.take()
    return None

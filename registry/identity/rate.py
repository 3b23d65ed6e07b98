"""Sans-IO. Token buckets: how often certificates may be asked for (trap 25)."""

from dataclasses import dataclass

BUCKETS_MAX = 65_536  # instances; a full bucket says nothing and is dropped first


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """`per_s` on average and `burst` at once, for each key. Times are seconds, monotonic."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: str, now: float) -> bool:
        """Whether one more is allowed now."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                self._drop_full(now)
            bucket = self._buckets[key] = _Bucket(self._burst, now)
        bucket.tokens = self._filled(bucket, now)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _filled(self, bucket: _Bucket, now: float) -> float:
        return min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)

    def _drop_full(self, now: float) -> None:
        full = [key for key, bucket in self._buckets.items() if self._filled(bucket, now) >= self._burst]
        for key in full or list(self._buckets)[: BUCKETS_MAX // 2]:
            del self._buckets[key]

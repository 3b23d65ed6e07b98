"""Sans-IO. Token buckets, one for each key, of which those asked last are kept."""

BUCKETS_MAX = 65_536
"""Keys in one table, at some 200 bytes. Of more, who was quiet longest is forgotten: its bucket is most
probably full, which is what a new one is too."""


class RateLimit:
    """`per_s` on average and `burst` at once, for each key. Times are seconds, monotonic."""

    def __init__(self, per_s: float, burst: float, buckets_max: int = BUCKETS_MAX) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets_max = buckets_max
        self._buckets: dict[
            str, tuple[float, float]
        ] = {}  # tokens, as of when; the one asked last at the end

    def take(self, key: str, now: float) -> bool:
        """Whether one more is allowed now."""
        tokens, at = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - at) * self._per_s)
        allowed = tokens >= 1
        if len(self._buckets) >= self._buckets_max:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (tokens - 1 if allowed else tokens, max(now, at))
        return allowed

    def __len__(self) -> int:
        return len(self._buckets)

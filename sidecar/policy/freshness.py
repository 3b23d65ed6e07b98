"""Sans-IO. When a set of keys that is fetched is asked for again, and when it is too old to be believed.

Times are seconds of one monotonic clock.
"""

import math

from .renewal import backoff_s

PAUSE_S_MIN = 1.0  # between fetches, whatever the configuration says
# Tokens can name keys that nobody has, and whoever sends one must not make us ask each time: jose and Envoy
# take 30 s and more, but it is also how long a new key of the provider's may be refused.
MISSED_PAUSE_S = 10.0
SPREAD_SHARE = 0.1  # of the cache's duration, so that sidecars that started together part
# Keys are believed so long after the provider was heard last. It issues no tokens while it is down, and those
# that it has issued live for hours at most.
STALE_S_MAX = 24 * 3600.0


class Freshness:
    """Of one set. It is due at once."""

    def __init__(self) -> None:
        self.due = -math.inf
        self.failures = 0
        self._asked_at = -math.inf
        self._fetched_at = math.inf

    def succeeded(self, now: float, cache_s: float, draw: float) -> None:
        """The set has been fetched. `draw` is in [0, 1)."""
        self.failures = 0
        self._asked_at = self._fetched_at = now
        self.due = now + max(PAUSE_S_MIN, cache_s * (1.0 - SPREAD_SHARE * draw))

    def failed(self, now: float, retries: int, cache_s: float, draw: float) -> None:
        """It has not: again soon, as often as `retries` says, and then once a cache's duration or sooner."""
        self.failures += 1
        self._asked_at = now
        wait_s = backoff_s(self.failures, draw)
        if self.failures > retries:
            wait_s = max(wait_s, PAUSE_S_MIN, min(cache_s, MISSED_PAUSE_S))
        self.due = now + wait_s

    def missed(self) -> None:
        """A token names a key that is not there: perhaps it is new."""
        self.due = min(self.due, self._asked_at + MISSED_PAUSE_S)

    def is_stale(self, now: float) -> bool:
        return now - self._fetched_at > STALE_S_MAX

"""Sans-IO. How often each limit was met, for metrics and for a line in the log now and then."""

from collections import Counter
from enum import StrEnum

TELL_EVERY_S = 10.0
"""At most one line for each limit: a flood must not fill the log."""


class Limit(StrEnum):
    """Every limit that can be met; the value is its label in metrics."""

    READ_RATE = "global/read"
    WRITE_RATE = "global/write"
    SOURCE_READ_RATE = "source/read"
    SOURCE_WRITE_RATE = "source/write"
    HTTP_CONNECTIONS = "http/connections"
    HTTP_CONNECTIONS_OF_SOURCE = "http/connections-of-source"
    SLOW_HEAD = "http/slow-head"
    SLOW_BODY = "http/slow-body"
    SLOW_READER = "http/slow-reader"
    BODY = "http/body"
    WATCHES = "watches/total"
    WATCHES_OF_TOKEN = "watches/of-token"
    WATCHES_OF_SOURCE = "watches/of-source"
    GRPC_CALLS = "grpc/calls"
    GRPC_CALLS_OF_SOURCE = "grpc/calls-of-source"
    DNS_RATE_OF_SOURCE = "dns/rate-of-source"
    DNS_CONNECTIONS = "dns/connections"


class Refusals:
    """Counts since the start. `now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self.counts: Counter[Limit] = Counter()
        self._told_at: dict[Limit, float] = {}

    def count(self, limit: Limit, now: float) -> bool:
        """Counts one; whether a line in the log is due."""
        self.counts[limit] += 1
        told = self._told_at.get(limit)
        if told is not None and now - told < TELL_EVERY_S:
            return False
        self._told_at[limit] = now
        return True

"""Sans-IO. Requests a second: of all callers of this server, and of each source address."""

from enum import Enum, auto

from .rate import RateLimit
from .refusals import Limit
from .settings import BURST_S, UNLIMITED, Mode, RequestRates

_ALL = ""


class Kind(Enum):
    READ = auto()
    WRITE = auto()


class RequestLimits:
    """The buckets of one server."""

    def __init__(self, rates: RequestRates) -> None:
        self.mode = rates.mode
        self._limits = {
            Kind.READ: (
                (Limit.SOURCE_READ_RATE, _limit(rates.source_read), True),
                (Limit.READ_RATE, _limit(rates.read), False),
            ),
            Kind.WRITE: (
                (Limit.SOURCE_WRITE_RATE, _limit(rates.source_write), True),
                (Limit.WRITE_RATE, _limit(rates.write), False),
            ),
        }

    def exceeded(self, kind: Kind, source: str, now: float) -> Limit | None:
        """The limit that one more request is over, if any. What a source's own bucket does not allow takes
        nothing from the bucket of all: one source's flood costs others nothing."""
        if self.mode is Mode.DISABLED:
            return None
        for name, limit, is_of_source in self._limits[kind]:
            if limit is not None and not limit.take(source if is_of_source else _ALL, now):
                return name
        return None


def _limit(rate: float) -> RateLimit | None:
    return None if rate == UNLIMITED else RateLimit(rate, max(1.0, rate * BURST_S))

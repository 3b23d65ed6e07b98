"""One server's limits as its listeners ask them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from . import settings as bounds
from .errors import OverRate, TooManyCalls, TooManyWatches
from .places import Places
from .refusals import Limit, Refusals
from .requests import Kind, RequestLimits
from .settings import LimitSettings, Mode

log = structlog.get_logger(__name__)


class Limits:
    """`monotonic` is a clock in seconds. Sources are those of `source_of`."""

    def __init__(self, settings: LimitSettings, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._requests = RequestLimits(settings.rates)
        self._is_limited = settings.rates.mode is not Mode.DISABLED
        self._refusals = Refusals()
        self.connections = Places(bounds.HTTP_CONNECTIONS_MAX, Limit.HTTP_CONNECTIONS).each(
            settings.http_connections_per_source, Limit.HTTP_CONNECTIONS_OF_SOURCE
        )
        self.watches = (
            Places(bounds.WATCHES_MAX, Limit.WATCHES)
            .each(settings.watches_per_token, Limit.WATCHES_OF_TOKEN)
            .each(settings.watches_per_source, Limit.WATCHES_OF_SOURCE)
        )
        self.calls = Places(bounds.GRPC_CALLS_MAX, Limit.GRPC_CALLS).each(
            bounds.GRPC_CALLS_PER_SOURCE_MAX, Limit.GRPC_CALLS_OF_SOURCE
        )

    def request(self, kind: Kind, source: str) -> None:
        """One more request. Raises OverRate where rates are enforced."""
        if not self._is_limited:
            return
        limit = self._requests.exceeded(kind, source, self._monotonic())
        if limit is None:
            return
        self.refused(limit, source)
        if self._requests.mode is Mode.ENFORCING:
            raise OverRate(f"rate limit {limit.value} is exceeded; try again later")

    @contextmanager
    def watch(self, token: str, source: str) -> Iterator[None]:
        """While a query is parked. `token` is its accessor id; "" has no bound of its own.

        Raises TooManyWatches.
        """
        if limit := self.watches.enter(token, source):
            self.refused(limit, source)
            raise TooManyWatches(f"too many blocking queries at once ({limit.value}); try again later")
        try:
            yield
        finally:
            self.watches.leave(token, source)

    @contextmanager
    def call(self, source: str) -> Iterator[None]:
        """While a gRPC call is under way. Raises TooManyCalls."""
        if limit := self.calls.enter(source):
            self.refused(limit, source)
            raise TooManyCalls(f"too many calls at once ({limit.value}); try again later")
        try:
            yield
        finally:
            self.calls.leave(source)

    def refused(self, limit: Limit, source: str) -> None:
        """Counts that a limit was met, and says so now and then."""
        if self._refusals.count(limit, self._monotonic()):
            log.warning("a limit is met", limit=limit.value, source=source, so_far=self.counts()[limit])

    def counts(self) -> dict[Limit, int]:
        """How often each limit was met since the start."""
        return {limit: self._refusals.counts[limit] for limit in Limit}

"""Pools whose connections carry one exchange at a time: HTTP/1.1, and bytes of any protocol."""

import asyncio
from collections.abc import Callable
from typing import Any

from weft.errors import Unavailable

from ..h2.outbox import Outbox
from .endpoint import Endpoint, Lane
from .exchange import Exchange
from .http1_upstream import Http1Upstream
from .pool import Pool
from .upstream import Upstream

# Connections to one application: each is a request being served by it, or idle for a few seconds.
CONNECTIONS_MAX = 1024
# Being opened at once: a backlog of 128 is what most servers have.
CONNECTING_MAX = 64

Make = Callable[[Outbox, Pool, Endpoint], Http1Upstream]


class SinglePool(Pool):
    """`endpoint.conns` holds only those that are idle, the one used last in front."""

    def __init__(self, *args: Any, make: Make = Http1Upstream, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._make = make
        self._open: set[Upstream] = set()
        self._connecting = 0
        self.on_failed: Callable[[], None] | None = None

    def _lane(self, endpoint: Endpoint, exchange: Exchange) -> Lane:
        """Nothing stands behind anything else."""
        return endpoint

    def _connect_more(self, endpoint: Endpoint, lane: Lane) -> None:
        wanted = len(endpoint.pending) - self._connecting
        room = min(CONNECTIONS_MAX - len(self._open), CONNECTING_MAX - self._connecting)
        for _ in range(min(wanted, room)):
            self._connecting += 1
            name = f"connect to {endpoint.key} at {endpoint.address}"
            self._tasks.spawn(self._connect(endpoint, lane), name)

    async def _connect(self, endpoint: Endpoint, lane: Lane) -> None:
        upstream = self._make(self.outbox, self, endpoint)
        self._open.add(upstream)
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await self.dialer.dial(endpoint.address, upstream)
                await upstream.ready
        except (OSError, Unavailable) as error:  # TimeoutError is an OSError
            self._connecting -= 1
            self._open.discard(upstream)
            upstream.abort()
            self._connect_failed(endpoint, lane, str(error) or type(error).__name__)
        else:
            self._connecting -= 1
            if upstream.retired:  # accepted and closed in one
                self._connect_failed(endpoint, lane, "the connection was closed at once")
            elif endpoint.removed:
                upstream.retire()
            else:
                endpoint.conns.append(upstream)
            self.serve(endpoint)
        self.outbox.flush()

    def _connect_failed(self, endpoint: Endpoint, lane: Lane, why: str) -> None:
        super()._connect_failed(endpoint, lane, why)
        if self.on_failed is not None:
            self.on_failed()

    def lost(self, upstream: Upstream) -> None:
        self._open.discard(upstream)
        super().lost(upstream)

    def connections(self) -> list[Upstream]:
        """All that are open, idle and busy."""
        return list(self._open)

"""The instances of one destination, the connections to them, and the requests that wait for one."""

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from weft.aio import Tasks
from weft.errors import Unavailable
from weft.svid import UntrustedPeer

from .. import errors
from ..h2.outbox import Outbox
from ..policy.balance import RoundRobin, least_request
from ..policy.outlier import Detector
from ..policy.retry import FailureKind, may_retry
from ..respond import ANSWERS
from ..telemetry import PoolSeries
from ..traffic import Balance, Target
from .endpoint import Endpoint
from .exchange import Exchange, answer, waiting_half
from .upstream import Upstream

if TYPE_CHECKING:
    from .dial import Dialer

# Connections to one instance: the first carries all until the peer's SETTINGS_MAX_CONCURRENT_STREAMS is
# reached; more would only thin out what one write and one TLS record carry.
CONNECTIONS_PER_INSTANCE_MAX = 4


class Pool:
    """`only` is the one endpoint that takes requests, where there is exactly one: no choice to make."""

    def __init__(
        self,
        name: str,
        dialer: "Dialer",
        *,
        outbox: Outbox,
        tasks: Tasks,
        series: PoolSeries,
        draw: Callable[[], float],
        no_connection: type[errors.RequestRefused] = errors.ConnectFailed,
    ) -> None:
        self.name = name
        self.dialer = dialer
        self.outbox = outbox
        self.series = series
        self.endpoints: dict[str, Endpoint] = {}
        self.live: list[Endpoint] = []
        self.only: Endpoint | None = None
        self.pending_max = 1024
        self.connect_timeout_s = 5.0
        self._tasks = tasks
        self._draw = draw
        self._no_connection = ANSWERS[no_connection]
        self._round_robin: RoundRobin | None = None
        self._detector: Detector | None = None
        self._joining: set[Upstream] = set()  # connected or about to be, SETTINGS still to come
        self._leaving: set[Upstream] = set()

    # --- configuration -------------------------------------------------------------------------------

    def configure(self, wanted: Collection[Endpoint], policy: Target | None = None) -> None:
        """Takes the endpoints of a new snapshot; those that stayed keep their connections. `policy` is None
        where there is nothing to choose: the application."""
        new = {endpoint.key: endpoint for endpoint in wanted}
        for key, old in list(self.endpoints.items()):
            if key not in new or new[key].address != old.address:
                self._remove(self.endpoints.pop(key))
        for key, endpoint in new.items():
            known = self.endpoints.setdefault(key, endpoint)
            known.pool = self
            known.weight, known.healthy = endpoint.weight, endpoint.healthy
        if policy is not None:
            self._obey(policy, new)
        self._refresh()

    def _obey(self, policy: Target, keys: Collection[str]) -> None:
        self.pending_max = policy.pending_max
        self.connect_timeout_s = policy.connect_timeout_s
        if policy.balance is not Balance.ROUND_ROBIN:
            self._round_robin = None
        elif self._round_robin is None:
            self._round_robin = RoundRobin()
        if self._detector is None:
            self._detector = Detector(policy.ejection, len(keys))
        else:
            self._detector.reconfigure(policy.ejection)
            self._detector.keep(keys)

    def _remove(self, endpoint: Endpoint) -> None:
        endpoint.removed = True
        for upstream in list(endpoint.conns):
            upstream.retire()
        waiting = list(endpoint.pending)
        endpoint.pending.clear()
        self.series.pending -= len(waiting)
        for exchange in waiting:
            exchange.waits_at = None
        for exchange in waiting:
            self.enqueue(exchange, self.pick(endpoint))

    def _refresh(self) -> None:
        out = self._detector.ejected if self._detector else lambda _key: False
        self.live = [t for t in self.endpoints.values() if t.healthy and not out(t.key)]
        self.only = self.live[0] if len(self.live) == 1 else None
        self.series.instances = len(self.endpoints)
        self.series.ejected = sum(1 for key in self.endpoints if out(key))

    def close(self) -> None:
        """The destination is gone: what runs may finish, nothing begins."""
        self.configure(())

    # --- choosing ------------------------------------------------------------------------------------

    def pick(self, avoid: Endpoint | None = None) -> Endpoint | None:
        """The instance for the next request, other than `avoid`; None if there is none."""
        live = self.live
        if avoid is not None:
            live = [endpoint for endpoint in live if endpoint is not avoid]
        if not live:
            return None
        if self._round_robin is not None:
            return self._round_robin.pick(live)
        return least_request(live, self._draw)

    def enqueue(self, exchange: Exchange, endpoint: Endpoint | None) -> None:
        """The request goes on the first connection to `endpoint` that has room, now or later."""
        if endpoint is None:
            answer(exchange, ANSWERS[errors.NoInstance], f"weft: no healthy instance of {self.name}")
            return
        if exchange.peer.conn is not None or exchange.peer.parked is None or exchange.peer.state:
            waiting_half(exchange)
        if self.series.pending >= self.pending_max:
            answer(exchange, ANSWERS[errors.PendingFull], f"weft: too many requests wait for {self.name}")
            return
        endpoint.pending[exchange] = None
        exchange.waits_at = endpoint
        self.series.pending += 1
        self.serve(endpoint)

    def serve(self, endpoint: Endpoint) -> None:
        """Sends what waits for the endpoint, as far as its connections have room."""
        while endpoint.pending:
            for upstream in endpoint.conns:
                if len(upstream.streams) < upstream.room:
                    break
            else:
                self._connect_more(endpoint)
                return
            exchange = next(iter(endpoint.pending))
            self._dequeue(exchange, endpoint)
            upstream.open_queued(exchange, endpoint)

    def _dequeue(self, exchange: Exchange, endpoint: Endpoint) -> None:
        del endpoint.pending[exchange]
        exchange.waits_at = None
        self.series.pending -= 1

    def abandoned(self, exchange: Exchange) -> None:
        """The caller of a waiting request is gone."""
        if exchange.waits_at is not None:
            self._dequeue(exchange, exchange.waits_at)

    # --- connecting ----------------------------------------------------------------------------------

    def _connect_more(self, endpoint: Endpoint) -> None:
        if endpoint.connecting or endpoint.removed:
            return
        if len(endpoint.conns) < CONNECTIONS_PER_INSTANCE_MAX:
            endpoint.connecting = True
            self._tasks.spawn(self._connect(endpoint), f"connect to {endpoint.key} at {endpoint.address}")

    async def _connect(self, endpoint: Endpoint) -> None:
        upstream = Upstream(self.outbox, self, endpoint)
        self._joining.add(upstream)
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await self.dialer.dial(endpoint.address, upstream)
                await upstream.ready
        except (OSError, Unavailable) as error:  # ssl.SSLError and TimeoutError are OSErrors
            self._joining.discard(upstream)
            endpoint.connecting = False
            upstream.abort()
            self._connect_failed(endpoint, str(error) or type(error).__name__)
        else:
            self._joining.discard(upstream)
            endpoint.connecting = False
            if endpoint.removed:
                upstream.retire()
            elif not upstream.retired:
                endpoint.conns.append(upstream)
            self.serve(endpoint)
        self.outbox.flush()

    def _connect_failed(self, endpoint: Endpoint, why: str) -> None:
        self.series.connect_failures += 1
        self.failed(endpoint)
        message = f"weft: no connection to {self.name}: {why}"
        for exchange in list(endpoint.pending):
            self._dequeue(exchange, endpoint)
            self._again(exchange, endpoint, FailureKind.CONNECT_FAILED, message)

    def admit(self, upstream: Upstream, transport: asyncio.BaseTransport) -> bool:
        """Is the peer who it must be? Decided before a byte is sent or read."""
        try:
            upstream.proven = self.dialer.prove(transport)
        except UntrustedPeer as refused:
            upstream.why = str(refused)
            return False
        return True

    def retired(self, upstream: Upstream) -> None:
        """It takes no new streams."""
        endpoint = upstream.endpoint
        if upstream in endpoint.conns:
            endpoint.conns.remove(upstream)
        self._leaving.add(upstream)
        if endpoint.pending:
            self.serve(endpoint)

    def lost(self, upstream: Upstream) -> None:
        """Its socket is closed."""
        endpoint = upstream.endpoint
        if upstream in endpoint.conns:
            endpoint.conns.remove(upstream)
        self._leaving.discard(upstream)
        if endpoint.pending:
            self.serve(endpoint)

    def connections(self) -> list[Upstream]:
        """All that are open, finishing ones included."""
        serving = [upstream for endpoint in self.endpoints.values() for upstream in endpoint.conns]
        return [*serving, *self._joining, *self._leaving]

    # --- outcomes ------------------------------------------------------------------------------------

    def unprocessed(self, exchange: Exchange, avoid: Endpoint | None, why: FailureKind) -> None:
        """The instance did nothing of the request: once more, elsewhere, if it is held whole."""
        self._again(exchange, avoid, why, f"weft: {self.name} did not take the request ({why.label})")

    def _again(self, exchange: Exchange, avoid: Endpoint | None, why: FailureKind, message: str) -> None:
        endpoint = self.pick(avoid)
        if endpoint is None and why is FailureKind.ABOVE_GOAWAY:  # it may serve us on another connection
            endpoint = avoid
        whole = exchange.replay is not None or exchange.peer.conn is None
        if endpoint is not None and may_retry(exchange.attempts, why, whole, exchange.answered):
            exchange.attempts += 1
            self.series.retries += 1
            self.enqueue(exchange, endpoint)
        else:
            answer(exchange, self._no_connection, message)

    def failed(self, endpoint: Endpoint) -> None:
        """A request to the endpoint, or a connection, failed in a way that is the endpoint's fault."""
        endpoint.failing = True
        if self._detector is None or endpoint.removed:
            return
        if self._detector.failure(endpoint.key, self.outbox.clock()) is not None:
            self.series.ejections += 1
            self._refresh()

    def succeeded(self, endpoint: Endpoint) -> None:
        endpoint.failing = False
        if self._detector is not None:
            self._detector.success(endpoint.key)

    def second_passed(self, monotonic: float) -> None:
        """Instances return from ejection; connections roll before their stream ids run out."""
        if self._detector is not None and self._detector.returned(monotonic):
            self._refresh()
        for upstream in self.connections():
            upstream.second_passed()

    def status(self) -> dict[str, object]:
        """For people: who is in the pool, and how it does."""
        out = {e.key: e for e in self._detector.out()} if self._detector else {}
        return {
            "pending": self.series.pending,
            "instances": [
                {
                    "instance": endpoint.key,
                    "address": str(endpoint.address),
                    "healthy": endpoint.healthy,
                    "ejected": endpoint.key in out,
                    "ejections_in_a_row": out[endpoint.key].count if endpoint.key in out else 0,
                    "active_requests": endpoint.active,
                    "connections": len(endpoint.conns),
                    "spiffe_id": next((str(up.proven.identity) for up in endpoint.conns if up.proven), None),
                }
                for endpoint in self.endpoints.values()
            ],
        }

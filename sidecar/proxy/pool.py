"""The instances of one destination, the connections to them, and the requests that wait for one."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from weft.aio import Tasks
from weft.errors import Unavailable
from weft.svid import UntrustedPeer

from .. import errors
from ..h2.outbox import NEVER, Outbox
from ..h2.stream import GONE
from ..policy.balance import least_request
from ..policy.balancers import HASHED, Balancer, balancer_for
from ..policy.presence import Presence
from ..policy.retry import FailureKind
from ..respond import ANSWERS
from ..telemetry import PoolSeries
from ..traffic import NOWHERE, HashPolicy, Locality, Target
from .aside import Aside
from .course import try_again
from .endpoint import Endpoint, Lane
from .exchange import Exchange, answer, needs_half, waiting_half
from .upstream import Upstream

if TYPE_CHECKING:
    from .dial import Dialer

# Connections to one instance, of each lane: the first carries all until the SETTINGS_MAX_CONCURRENT_STREAMS
# of the peer is reached; more would only thin out what one write and one TLS record carry.
CONNECTIONS_PER_INSTANCE_MAX = 4
SERVING_S = 0.001  # of sending what waited, before others have their turn: a head of 64 KiB takes 0.3 ms
GIVE_WAY_LOOK = 64  # of the waiting requests, for one whose caller has more than its share


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
        self.failover: Sequence[Pool] = ()  # where requests go while nothing here is live
        self.draw = draw
        self.hash: HashPolicy = ()  # what its instances are chosen by
        self.requests = 0  # under way; counted only where they are limited
        self.requests_max = 0
        self.pending_max = 1024
        self.connect_timeout_s = 5.0
        self._connections_max = 0
        self._tasks = tasks
        self._no_connection = ANSWERS[no_connection]
        self._balancer: Balancer | None = None  # None: the less loaded of two
        self._planned: object = None  # what the balancer was told last
        self._presence = Presence()
        self._joining: set[Upstream] = set()  # connected or about to be, SETTINGS still to come
        self._leaving: set[Upstream] = set()

    # --- configuration -------------------------------------------------------------------------------

    def configure(
        self, wanted: Collection[Endpoint], policy: Target | None = None, here: Locality = NOWHERE
    ) -> None:
        """Takes the endpoints of a new snapshot; those that stayed keep their connections. `policy` is None
        where there is nothing to choose: the application. `here` is where this proxy is."""
        new = {endpoint.key: endpoint for endpoint in wanted}
        for key, old in list(self.endpoints.items()):
            if key not in new or new[key].address != old.address:
                self._remove(self.endpoints.pop(key))
        now = self.outbox.clock()
        for key, endpoint in new.items():
            known = self.endpoints.setdefault(key, endpoint)
            if known is endpoint:
                endpoint.pool = self
                endpoint.joined_at = now if self._presence.begun else NEVER
            known.share, known.healthy = endpoint.share, endpoint.healthy
            known.locality = endpoint.locality
        if policy is not None:
            self.pending_max = policy.pending_max
            self.requests_max = policy.requests_max
            self.hash = policy.hash if policy.balance in HASHED else ()
            self.connect_timeout_s = policy.connect_timeout_s
            self._connections_max = policy.connections_max
            self._balancer = balancer_for(policy, self._balancer, self.draw)
        self._presence.obey(policy, here, list(self.endpoints))
        self._refresh()

    def _remove(self, endpoint: Endpoint) -> None:
        endpoint.removed = True
        for upstream in endpoint.all_conns():
            upstream.retire()
        waiting = [exchange for lane in endpoint.lanes for exchange in lane.pending]
        for lane in endpoint.lanes:
            lane.pending.clear()
        self.series.pending -= len(waiting)
        for exchange in waiting:
            exchange.waits_at = None
        self._refresh()
        for exchange in waiting:
            self.send(exchange)

    def _refresh(self) -> None:
        """Who takes requests has changed, or how many of them."""
        elsewhere = any(pool.live for pool in self.failover)
        live = self._presence.live(self.endpoints.values(), elsewhere, self.outbox.clock())
        planned = self._balancer, live, [endpoint.weight for endpoint in live]
        if planned != self._planned:  # planning for a large pool is dear, and this is asked each second
            self._planned = planned
            self.live = live
            self.only = live[0] if len(live) == 1 else None
            if self._balancer is not None:
                self._balancer.plan(live)
        self.series.instances = len(self.endpoints)
        self.series.ejected = self._presence.ejected_count()

    def close(self) -> None:
        """The destination is gone: what runs may finish, nothing begins."""
        self.failover = ()
        self.configure(())

    # --- choosing ------------------------------------------------------------------------------------

    def pick(self, key: int | None = None) -> Endpoint | None:
        """The instance for the next request; None if there is none. `key`: a hash of it, where instances are
        chosen by one."""
        live = self.live
        if not live:
            return None
        if self._balancer is not None:
            return self._balancer.pick(live, key)
        return least_request(live, self.draw)

    def pick_again(self, exchange: Exchange, failed: Endpoint | None) -> Endpoint | None:
        """An instance for the next attempt, at best one that was not tried yet, never `failed`."""
        tried = exchange.course.tried if exchange.course is not None else ()
        others = [endpoint for endpoint in self.live if endpoint is not failed]
        fresh = [endpoint for endpoint in others if endpoint not in tried] if tried else others
        choice = fresh or others
        if choice:
            return least_request(choice, self.draw)
        return self._elsewhere(failed)

    def _elsewhere(self, failed: Endpoint | None = None) -> Endpoint | None:
        for pool in self.failover:
            if (endpoint := pool.pick()) is not None and endpoint is not failed:
                self.series.failovers += 1
                return endpoint
        return None

    def still(self, endpoint: Endpoint | None) -> Endpoint | None:
        """`endpoint`, if it still takes requests."""
        return endpoint if endpoint in self.live else None

    def send(self, exchange: Exchange) -> None:
        """The request goes to one of the instances, now or when there is a connection."""
        course = exchange.course
        endpoint = self.only or self.pick(None if course is None else course.key)
        if endpoint is not None and exchange.peer is GONE:
            for upstream in self._lane(endpoint, exchange).conns:
                if len(upstream.streams) < upstream.room:
                    upstream.open(exchange, endpoint)
                    return
        self.enqueue(exchange, endpoint)

    def _lane(self, endpoint: Endpoint, exchange: Exchange) -> Lane:
        """Where the request goes: aside, if its caller has its part of what all share already."""
        caller = exchange.conn
        if len(caller.streams) <= caller.crowd or not self._may_split(endpoint):
            return endpoint
        return endpoint.aside

    def _may_split(self, endpoint: Endpoint) -> bool:
        aside = endpoint.aside
        if aside.conns or aside.connecting or not self._connections_max:
            return True
        return self._carrying() + (not endpoint.conns) < self._connections_max

    def enqueue(self, exchange: Exchange, endpoint: Endpoint | None) -> None:
        """The request goes on the first connection to `endpoint` that has room, now or later."""
        if endpoint is None:
            endpoint = self._elsewhere()
            if endpoint is None:
                answer(exchange, ANSWERS[errors.NoInstance], f"weft: no healthy instance of {self.name}")
                return
        if endpoint.pool is not self:
            endpoint.pool.enqueue(exchange, endpoint)
            return
        if needs_half(exchange):
            waiting_half(exchange)
        if self.series.pending >= self.pending_max:
            self.series.overflow("pending")
            last = self._gives_way(endpoint, exchange)
            if last is not exchange:
                self._dequeue(last, endpoint)
            answer(last, ANSWERS[errors.PendingFull], f"weft: too many requests wait for {self.name}")
            if last is exchange:
                return
        self._lane(endpoint, exchange).pending[exchange] = None
        exchange.conn.waiting += 1
        exchange.waits_at = endpoint
        self.series.pending += 1
        self.serve(endpoint)

    def _gives_way(self, endpoint: Endpoint, exchange: Exchange) -> Exchange:
        """Who has no place where too many wait: `exchange`, or a later one of a caller with more of them."""
        waiting = exchange.conn.waiting
        if 2 * waiting >= self.series.pending:
            return exchange
        latest = (it for lane in endpoint.lanes for it in islice(reversed(lane.pending), GIVE_WAY_LOOK))
        return next((other for other in latest if other.conn.waiting > waiting + 1), exchange)

    def serve(self, endpoint: Endpoint) -> None:
        """Sends what waits for the endpoint, as far as its connections have room."""
        for lane in endpoint.lanes:
            if lane.pending:
                self._serve(endpoint, lane)

    def _serve(self, endpoint: Endpoint, lane: Lane) -> None:
        ends = self.outbox.clock() + SERVING_S
        while lane.pending:
            if self.outbox.clock() > ends:
                self._serve_later(endpoint, lane)
                return
            for upstream in lane.conns:
                if len(upstream.streams) < upstream.room:
                    break
            else:
                self._connect_more(endpoint, lane)
                return
            exchange = next(iter(lane.pending))
            self._dequeue(exchange, endpoint)
            upstream.open_queued(exchange, endpoint)

    def _serve_later(self, endpoint: Endpoint, lane: Lane) -> None:
        """What is left waits until others have had their turn."""

        def go_on() -> None:
            lane.later = False
            self._serve(endpoint, lane)
            self.outbox.flush()

        if not lane.later:
            lane.later = True
            self.outbox.soon(go_on)

    def _dequeue(self, exchange: Exchange, endpoint: Endpoint) -> None:
        lane = endpoint if exchange in endpoint.pending else endpoint.aside
        del lane.pending[exchange]
        exchange.waits_at = None
        exchange.conn.waiting -= 1
        self.series.pending -= 1

    def abandoned(self, exchange: Exchange) -> None:
        """The caller of a waiting request is gone, or it waits no longer."""
        if exchange.waits_at is not None:
            self._dequeue(exchange, exchange.waits_at)

    # --- connecting ----------------------------------------------------------------------------------

    def _connect_more(self, endpoint: Endpoint, lane: Lane) -> None:
        if lane.connecting or endpoint.removed or len(lane.conns) >= CONNECTIONS_PER_INSTANCE_MAX:
            return
        if self._connections_max and self._carrying() >= self._connections_max:
            self.series.overflow("connections")
            if not lane.conns:
                self._crowd(endpoint, lane)
            return
        lane.connecting = True
        self._tasks.spawn(self._connect(endpoint, lane), f"connect to {endpoint.key} at {endpoint.address}")

    def prepare(self, endpoint: Endpoint, lane: Lane) -> None:
        """The connection that carries all will soon be rolled: another one, so that nobody waits for it."""
        full = self._connections_max and self._carrying() >= self._connections_max
        if len(lane.conns) == 1 and not full:
            self._connect_more(endpoint, lane)

    def _carrying(self) -> int:
        lanes = (lane for endpoint in self.endpoints.values() for lane in endpoint.lanes)
        return sum(len(lane.conns) + lane.connecting for lane in lanes)

    def _crowd(self, endpoint: Endpoint, lane: Lane) -> None:
        """No connection to it may be made: what waits for it shares those that there are."""
        other = next((it for it in self.live if it.conns or it.connecting), None)
        for exchange in list(lane.pending):
            self._dequeue(exchange, endpoint)
            if other is None:
                message = f"weft: too many connections to {self.name}"
                answer(exchange, ANSWERS[errors.ConnectionsFull], message)
            else:
                self.enqueue(exchange, other)

    async def _connect(self, endpoint: Endpoint, lane: Lane) -> None:
        kind = Aside if lane is endpoint.aside else Upstream
        upstream = kind(self.outbox, self, endpoint, lane)
        self._joining.add(upstream)
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await self.dialer.dial(endpoint.address, upstream)
                await upstream.ready
        except (OSError, Unavailable) as error:  # ssl.SSLError and TimeoutError are OSErrors
            self._joining.discard(upstream)
            lane.connecting = False
            upstream.abort()
            self._connect_failed(endpoint, lane, str(error) or type(error).__name__)
        except asyncio.CancelledError:
            self._joining.discard(upstream)
            upstream.abort()
            raise
        else:
            self._joining.discard(upstream)
            lane.connecting = False
            if endpoint.removed:
                upstream.retire()
            elif not upstream.retired:
                lane.conns.append(upstream)
            self.serve(endpoint)
        self.outbox.flush()

    def _connect_failed(self, endpoint: Endpoint, lane: Lane, why: str) -> None:
        self.series.connect_failures += 1
        self.failed(endpoint)
        message = f"weft: no connection to {self.name}: {why}"
        for exchange in list(lane.pending):
            self._dequeue(exchange, endpoint)
            if not try_again(exchange, endpoint, FailureKind.CONNECT_FAILED):
                answer(exchange, self._no_connection, message)

    async def reach(self, endpoint: Endpoint, timeout_s: float) -> bool:
        """Whether there is a connection to it, or one can be made. It is kept where it is of use."""
        if endpoint.conns:
            return True
        if not endpoint.connecting and not endpoint.removed:
            endpoint.connecting = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._connect(endpoint, endpoint)
            endpoint.connecting = False
        return bool(endpoint.conns)

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
        lane = upstream.lane
        if upstream in lane.conns:
            lane.conns.remove(upstream)
        self._leaving.add(upstream)
        if lane.pending:
            self.serve(upstream.endpoint)

    def lost(self, upstream: Upstream) -> None:
        """Its socket is closed."""
        endpoint, lane = upstream.endpoint, upstream.lane
        endpoint.opened_before += upstream.opened
        if upstream in lane.conns:
            lane.conns.remove(upstream)
        self._leaving.discard(upstream)
        if lane.pending:
            self.serve(endpoint)

    def waiting(self) -> bool:
        """Whether any request waits for a connection."""
        return any(lane.pending for endpoint in self.endpoints.values() for lane in endpoint.lanes)

    def connections(self) -> list[Upstream]:
        """All that are open, finishing ones included."""
        serving = [upstream for endpoint in self.endpoints.values() for upstream in endpoint.all_conns()]
        return [*serving, *self._joining, *self._leaving]

    # --- outcomes ------------------------------------------------------------------------------------

    def unprocessed(self, exchange: Exchange, endpoint: Endpoint, why: FailureKind) -> None:
        """The instance did nothing of the request: once more, elsewhere, if it is held whole."""
        if not try_again(exchange, endpoint, why):
            message = f"weft: {self.name} did not take the request ({why.label})"
            answer(exchange, self._no_connection, message)

    def failed(self, endpoint: Endpoint, http_status: int = 0) -> None:
        """A request to the endpoint, or a connection, failed in a way that is the endpoint's fault.
        `http_status` is 0 where it did not answer."""
        endpoint.failing = True
        endpoint.failures += 1
        if not endpoint.removed and self._presence.failed(endpoint.key, http_status, self.outbox.clock()):
            self.series.ejections += 1
            self._refresh()

    def succeeded(self, endpoint: Endpoint) -> None:
        endpoint.failing = False
        self._presence.succeeded(endpoint.key)

    def probed(self, endpoint: Endpoint, sick: bool) -> None:
        """What active health checks say of it."""
        if endpoint.sick is not sick:
            endpoint.sick = sick
            self._refresh()

    def second_passed(self, monotonic: float) -> None:
        """Instances return from ejection, or are judged by their rates; connections roll before their stream
        ids run out."""
        ejected = self._presence.look(self.endpoints.values(), monotonic)
        self.series.ejections += ejected
        if ejected or self._presence.returned(monotonic) or self._presence.warming or self.failover:
            self._refresh()
        for upstream in self.connections():
            upstream.second_passed()

    def status(self) -> dict[str, object]:
        """For people: who is in the pool, and how it does."""
        out = {ejection.key: ejection for ejection in self._presence.out()}
        return {
            "pending": self.series.pending,
            "instances": [
                {
                    "instance": endpoint.key,
                    "address": str(endpoint.address),
                    "healthy": endpoint.healthy and not endpoint.sick,
                    "ejected": endpoint.key in out,
                    "ejections_in_a_row": out[endpoint.key].count if endpoint.key in out else 0,
                    "active_requests": endpoint.active,
                    "connections": len(endpoint.all_conns()),
                    "spiffe_id": next(
                        (str(up.proven.identity) for up in endpoint.all_conns() if up.proven), None
                    ),
                }
                for endpoint in self.endpoints.values()
            ],
        }

"""The data plane of one sidecar: its listeners, pools and connections, under one snapshot at a time."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from weft.aio import Tasks
from weft.clock import Clock
from weft.errors import WeftError

from .. import errors
from ..h2.connection import Connection
from ..h2.outbox import HELD_BYTES_MAX, Outbox
from ..h2.settings import STREAMS_MAX
from ..identity import TlsContexts
from ..key_sets import KeySets
from ..outlets import Outlets
from ..snapshot import Address, Snapshot, Target
from ..sockets import Binder, Sockets
from ..telemetry import PoolSeries, Telemetry
from . import watch
from .app import AnyPool, App
from .app_health import AppHealth
from .course import expired
from .dial import Mesh, Plain
from .downstream import Downstream
from .egress import DESTINATION, EgressSide
from .endpoint import Endpoint
from .exchange import Exchange
from .inbound import InboundSide
from .listener import Listener
from .mirror import Mirror
from .observe import Observer
from .outbound import Outbound
from .peer import Peer
from .pool import Pool
from .prober import Prober
from .sink import Sink
from .timers import Timers
from .upstream import Upstream as UpstreamConnection

TICK_S = 1.0
SETTLE_S = 0.3  # for TLS handshakes under way when the listeners close: who made them may call
EGRESS = "(egress)"  # among the listeners; no service can be called so

Accept = Callable[[], asyncio.BaseProtocol]

log = structlog.get_logger(__name__)


class Engine:
    """Serves `snapshot`. All methods belong to the event loop's thread."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        tls: TlsContexts,
        telemetry: Telemetry,
        clock: Clock,
        rng: random.Random,
        outlets: Outlets | None = None,
        binder: Binder | None = None,
        held_max: int = HELD_BYTES_MAX,
    ) -> None:
        """`held_max` is octets that wait for flow control in this process."""
        self.snapshot = snapshot
        self._tls = tls
        self.telemetry = telemetry
        self._clock = clock
        self._rng = rng
        self.outlets = outlets or Outlets(telemetry, clock)
        self.outlets.changed = self._observe
        self._tasks = Tasks()
        self.outbox = Outbox(clock.monotonic, asyncio.get_running_loop().call_soon, held_max)
        self.outbox.relieve = self._relieve
        self.apps = App(self._app_pool)
        self.app = self.apps.http2
        self.app.pending_max = STREAMS_MAX  # what one caller may have open must find a place
        self._key_sets = KeySets(self._tasks, clock, rng.random, telemetry, self._judge_anew)
        self.inbound = InboundSide(
            self.outbox,
            self.apps,
            telemetry,
            own=snapshot.identity,
            tls=lambda: self._tls,
            clock=clock,
            keys=self._key_sets.of,
        )
        self._app_health = AppHealth(self.apps, self.outbox, self._tasks, self.inbound.app_is)
        self._binder = binder or Sockets()
        self._inbound_listener = self._listener(snapshot.inbound.listen, self.inbound.accept)
        self.mirror = Mirror(self.outbox, telemetry, snapshot.identity.service)
        self.egress = EgressSide(
            self.outbox,
            self._outside_pool,
            telemetry,
            snapshot.identity.service,
            snapshot.instance_key,
        )
        self.timers = Timers(self.outbox, self._running, expired)
        self.outbound: dict[str, Outbound] = {}
        self.pools: dict[str, Pool] = {}  # by target id
        self._probers: dict[str, Prober] = {}
        self._listeners: dict[str, Listener] = {}
        self._leaving: set[Outbound] = set()
        self._leaving_pools: set[Pool] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._binding = asyncio.Lock()
        self._unbound: dict[str, str] = {}  # upstream whose listener could not be bound, and why
        self._closed = False

    # --- life ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Binds all listeners. Raises weft.errors.PortTaken or EnvironmentProblem; then nothing is bound."""
        try:
            self._apply(self.snapshot)
            await self._inbound_listener.start(self._tls.server)
            for name, (address, accept) in self._wanted(self.snapshot).items():
                await self._listen(name, address, accept)
        except WeftError:
            self._close_listeners()
            raise
        self._tick()

    def swap(self, snapshot: Snapshot) -> None:
        """Serves another configuration from now on. Listeners that are new are bound in the background."""
        self.snapshot = snapshot
        self._apply(snapshot)
        watch.drop_revoked(self._tls_connections(), snapshot)
        self._tasks.spawn(self._rebind(snapshot), "bind listeners")
        self.outbox.flush()

    def rotate(self, tls: TlsContexts) -> None:
        """A new leaf or new bundles: for new handshakes at once; old connections are judged by them, and
        go before their own certificates end."""
        self._tls = tls
        watch.drop_untrusted(self._tls_connections(), tls)
        self._tasks.spawn(self._inbound_listener.rotate(tls.server), "rotate the inbound listener")
        self.outbox.flush()

    async def drain(self, grace_s: float) -> None:
        """Accepts no more, lets open streams end for up to `grace_s` seconds, then closes everything."""
        self._close_listeners()
        for side in list(self._sides()):
            side.go_away()
        self.outbox.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await asyncio.sleep(SETTLE_S)
                for side in list(self._sides()):
                    await side.empty()
        await self.close()

    async def close(self) -> None:
        """Ends everything now."""
        self._closed = True
        self._close_listeners()
        if self._timer is not None:
            self._timer.cancel()
        self.timers.close()
        self.mirror.close()
        for sink in self._sinks():
            sink.end_all()
        await self._tasks.close()
        for side in self._sides():
            side.cut_silent()
        for conn in self._connections():
            conn.abort()
        await asyncio.sleep(0)  # connection_lost is called in the next turn

    # --- configuration -------------------------------------------------------------------------------

    def _apply(self, snapshot: Snapshot) -> None:
        policy = snapshot.inbound.app_policy
        self.apps.configure(snapshot.inbound.app, snapshot.inbound.app_protocol, policy.connect_timeout_s)
        self._app_health.configure(snapshot.inbound.app, policy.checks)
        self._key_sets.configure(snapshot.inbound.admission.providers.values())
        self.inbound.configure(snapshot.inbound)
        self._apply_egress(snapshot)
        old_pools = self._apply_targets(snapshot)
        for name in self.outbound.keys() - snapshot.upstreams.keys():
            self._drop(name)
        for name, upstream in snapshot.upstreams.items():
            side = self.outbound.get(name)
            if side is None:
                default = self.pools[upstream.default_target]
                source = snapshot.identity.service
                side = Outbound(self.outbox, default, self.telemetry, source, self.mirror)
                self.outbound[name] = side
            side.configure(upstream, self.pools)
        for served in (self.inbound, self.egress, *self.outbound.values()):
            served.limit_heads(snapshot.header_list_max)
        for pool in old_pools:  # last: what waits there is answered by nobody's new rules
            pool.close()
        self._observe()

    def _judge_anew(self) -> None:
        self.inbound.forget_plans()

    def _observe(self) -> None:
        """Sides look at single requests only while something asks for it."""
        policy = self.snapshot.telemetry
        wanted = policy.traces or policy.logs or bool(self.outlets.taps)
        observer = Observer(policy, self.outlets, self._rng, self._clock) if wanted else None
        for side in self._sides():
            if side.observer is not None or observer is not None:
                side.observe(observer)

    def _apply_egress(self, snapshot: Snapshot) -> None:
        self.egress.configure(snapshot.egress)
        if snapshot.egress is None and (listener := self._listeners.pop(EGRESS, None)):
            listener.close()
            self.egress.drain()
        if snapshot.egress is None:
            self._unbound.pop(EGRESS, None)

    def _apply_targets(self, snapshot: Snapshot) -> list[Pool]:
        """One pool per target; answers those that nobody names any more."""
        old = [self._take_out(target_id) for target_id in self.pools.keys() - snapshot.targets.keys()]
        for target_id, target in snapshot.targets.items():
            pool = self.pools.get(target_id)
            if pool is not None and not _is_of(pool, target):  # another destination under the old id
                old.append(self._take_out(target_id))
                pool = None
            if pool is None:
                pool = self.pools[target_id] = self._mesh_pool(target)
            pool.configure(
                [
                    Endpoint(i.key, i.address, max(1, i.weight), healthy=i.healthy, locality=i.locality)
                    for i in target.instances
                ],
                target,
                snapshot.locality,
            )
        for target in snapshot.targets.values():
            self.pools[target.id].failover = [self.pools[it] for it in target.failover]
            self._probe(target)
        return old

    def _probe(self, target: Target) -> None:
        """Has the target's instances asked for their health, if that is wanted."""
        known, pool = self._probers.get(target.id), self.pools[target.id]
        if known is not None and (known.pool is not pool or known.check != target.health_check):
            self._probers.pop(target.id).close()
            known = None
        if known is None and target.health_check is not None:
            self._probers[target.id] = Prober(pool, target.health_check, self.outbox, self._tasks)

    def _take_out(self, target_id: str) -> Pool:
        pool = self.pools.pop(target_id)
        if prober := self._probers.pop(target_id, None):
            prober.close()
        self._leaving_pools.add(pool)
        self.telemetry.forget_pool(pool.series)
        return pool

    def _drop(self, name: str) -> None:
        side = self.outbound.pop(name)
        self._unbound.pop(name, None)
        if listener := self._listeners.pop(name, None):
            listener.close()
        side.drain()
        self._leaving.add(side)

    def _mesh_pool(self, target: Target) -> Pool:
        dialer = Mesh(target.spiffe_id, lambda: self._tls, self._clock)
        series = self.telemetry.pool(target.service, target.id)
        return self._pool(target.name, dialer, series, errors.ConnectFailed)

    def _app_pool(self, kind: type[AnyPool], **more: Any) -> AnyPool:
        return self._plain_pool("the application", errors.AppUnreachable, kind, more)

    def _outside_pool(self, kind: type[AnyPool], **more: Any) -> AnyPool:
        return self._plain_pool(DESTINATION, errors.ConnectFailed, kind, more)

    def _plain_pool(
        self, name: str, refused: type[errors.RequestRefused], kind: type[AnyPool], more: dict[str, Any]
    ) -> AnyPool:
        return kind(
            name,
            Plain(),
            outbox=self.outbox,
            tasks=self._tasks,
            series=self.telemetry.pool(name),
            draw=self._rng.random,
            no_connection=refused,
            **more,
        )

    def _pool(
        self,
        name: str,
        dialer: Plain | Mesh,
        series: PoolSeries,
        no_connection: type[errors.RequestRefused],
    ) -> Pool:
        return Pool(
            name,
            dialer,
            outbox=self.outbox,
            tasks=self._tasks,
            series=series,
            draw=self._rng.random,
            no_connection=no_connection,
        )

    # --- listeners -----------------------------------------------------------------------------------

    def _wanted(self, snapshot: Snapshot) -> dict[str, tuple[Address, Accept]]:
        """Where our own application is to be served, by the names of `_listeners`."""
        wanted: dict[str, tuple[Address, Accept]] = {
            name: (upstream.listen, self.outbound[name].accept)
            for name, upstream in snapshot.upstreams.items()
        }
        if snapshot.egress is not None:
            wanted[EGRESS] = (snapshot.egress.listen, self.egress.accept)
        return wanted

    def _listener(self, address: Address, accept: Accept) -> Listener:
        return Listener(address, accept, self._binder)

    async def _listen(self, name: str, address: Address, accept: Accept) -> None:
        known = self._listeners.get(name)
        if known is not None:
            if known.declared == address:
                return
            del self._listeners[name]
            known.close()  # first, as two upstreams may swap their addresses
        listener = self._listener(address, accept)
        await listener.start(None)
        self._listeners[name] = listener

    async def _rebind(self, snapshot: Snapshot) -> None:
        async with self._binding:
            await self._rebind_inbound(snapshot)
            for name, (address, accept) in self._wanted(self.snapshot).items():
                if self.snapshot is not snapshot or self._closed:
                    return
                try:
                    await self._listen(name, address, accept)
                    self._unbound.pop(name, None)
                except WeftError as error:
                    if self._unbound.get(name) != str(error):
                        log.error("listener not bound; trying again", upstream=name, error=str(error))
                    self._unbound[name] = str(error)

    async def _rebind_inbound(self, snapshot: Snapshot) -> None:
        if snapshot.inbound.listen == self._inbound_listener.declared or self._closed:
            return
        listener = self._listener(snapshot.inbound.listen, self.inbound.accept)
        try:
            await listener.start(self._tls.server)
        except WeftError as error:
            log.error("inbound listener not bound; the old one stays", error=str(error))
            return
        self._inbound_listener.close()
        self._inbound_listener = listener

    def _close_listeners(self) -> None:
        self._inbound_listener.close()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    # --- every second --------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        monotonic = self._clock.monotonic()
        for conn in list(self._connections()):
            watch.second_passed(conn, self._clock.wall())
        for pool in self._pools():
            pool.second_passed(monotonic)
        self._leaving = {side for side in self._leaving if side.connections}
        self._leaving_pools = {pool for pool in self._leaving_pools if pool.connections()}
        if self._unbound and not self._binding.locked():
            self._tasks.spawn(self._rebind(self.snapshot), "bind listeners again")
        self.outbox.flush()

    def _relieve(self) -> None:
        """The process holds all it may: who makes it hold most loses what waits, nobody else."""
        most = max(self._downstreams(), key=Downstream.held, default=None)
        if most is not None:
            most.relieve()

    # --- what there is -------------------------------------------------------------------------------

    def _sides(self) -> Iterator[InboundSide | Outbound | EgressSide]:
        yield self.inbound
        yield self.egress
        yield from self.outbound.values()
        yield from self._leaving

    def _pools(self) -> Iterator[Pool]:
        yield self.app
        yield from self.apps.others
        yield self.egress.pool
        yield from self.egress.pools.values()
        yield from self.pools.values()
        yield from self._leaving_pools

    def _downstreams(self) -> list[Downstream]:
        return [conn for side in self._sides() for conn in side.connections]

    def _connections(self) -> list[Downstream | UpstreamConnection]:
        return [*self._downstreams(), *(conn for pool in self._pools() for conn in pool.connections())]

    def _running(self) -> Iterator[Exchange]:
        for side in self._sides():
            for conn in side.connections:
                yield from conn.streams.values()  # type: ignore[misc]  # a caller's are all exchanges
        for sink in self._sinks():
            yield from sink.streams.values()  # type: ignore[misc]

    def _sinks(self) -> list[Sink]:
        probers = (prober.sink for prober in self._probers.values())
        return [self.mirror.sink, *probers, *self._app_health.sinks()]

    def _tls_connections(self) -> list[tuple[Connection, Peer]]:
        proven: list[tuple[Connection, Peer]] = []
        for conn in self._connections():
            if conn.proven is not None:
                proven.append((conn, conn.proven))
        return proven

    def listening(self) -> dict[str, str]:
        """Where each listener is bound: "" is inbound, EGRESS the forward proxy, others by upstream."""
        bound = {name: str(listener.address) for name, listener in self._listeners.items()}
        return {"": str(self._inbound_listener.address), **bound}

    def unbound(self) -> dict[str, str]:
        """Upstreams whose listener could not be bound yet, and where it should be."""
        wanted = self._wanted(self.snapshot)
        return {name: str(wanted[name][0]) for name in self._unbound}

    def trouble(self) -> str:
        """Why callers should go elsewhere; "" where they need not."""
        return self._app_health.trouble

    async def refresh(self) -> None:
        """They always are."""

    def status(self) -> dict[str, object]:
        """For people and for /config: no secrets."""
        return {
            "index": self.snapshot.index,
            "identity": str(self.snapshot.identity),
            "listeners": self.listening(),
            "unbound_listeners": self.unbound(),
            "inbound": {
                "connections": len(self.inbound.connections),
                "callers": sorted({str(c.proven.identity) for c in self.inbound.connections if c.proven}),
                "app": self.app.status(),
            },
            "targets": {target_id: pool.status() for target_id, pool in self.pools.items()},
            "held_bytes": self.outbox.held,
            "key_sets": self._key_sets.status(),
        }


def _is_of(pool: Pool, target: Target) -> bool:
    assert isinstance(pool.dialer, Mesh)
    return pool.dialer.spiffe_id == target.spiffe_id

"""Engines of the frame switch in this process: real sockets, real TLS, no registry."""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sidecar.identity import Svid, TlsContexts, tls_contexts
from sidecar.proxy.downstream import Downstream
from sidecar.proxy.engine import Engine
from sidecar.proxy.outbound import Outbound
from sidecar.snapshot import (
    Address,
    Inbound,
    Instance,
    Route,
    Rule,
    Snapshot,
    Split,
    Target,
    Upstream,
)
from sidecar.telemetry import Telemetry
from sidecar.traffic import (
    HashInput,
    HashKind,
    HeaderEdits,
    HeaderMatch,
    HttpMatch,
    Mirror,
    RetryOn,
    RetryPolicy,
    TextKind,
)
from tests.support.pki import Domain
from tests.support.wire import GRPC, App, Header, Wire, dial
from weft.clock import SystemClock
from weft.spiffe import SpiffeId

FEATURES: dict[str, Any] = {
    "requests_max": 100_000,
    "connections_max": 1_000,
    "slow_start_s": 60.0,
    "by_locality": True,
    "panic_percent": 1,
}
LOOPBACK = Address("127.0.0.1", 0)
NOWHERE = Address("127.0.0.1", 1)  # nothing listens there
DOMAIN = "dc1.weft"


class Clock(SystemClock):
    """The machine's clocks, and what a test adds to them."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead_s


class Destination(NamedTuple):
    """An upstream and the target that it leads to."""

    upstream: Upstream
    target: Target

    def at(self, listen: Address) -> "Destination":
        return self._replace(upstream=dataclasses.replace(self.upstream, listen=listen))

    def named(self, name: str) -> "Destination":
        return self._replace(upstream=dataclasses.replace(self.upstream, name=name))


def to(snapshot: Snapshot, *destinations: Destination) -> Snapshot:
    """The snapshot with exactly these destinations."""
    return dataclasses.replace(
        snapshot,
        upstreams={it.upstream.name: it.upstream for it in destinations},
        targets={it.target.id: it.target for it in destinations},
    )


def target_id(name: str, subset: str = "") -> str:
    return f"{subset}.{name}.default.default.dc1".removeprefix(".")


def all_to(target: Target, **settings: Any) -> Route:
    """A route for every request."""
    return Route("default", (Split(10_000, target.id),), **settings)


def featured(target: Target) -> Route:
    """A route that has everything on, of which a well-behaved request shows nothing."""
    edits = HeaderEdits(remove=("x-not-there",))
    return all_to(
        target,
        match=HttpMatch(TextKind.PREFIX, "/", headers=(HeaderMatch("x-not-there", invert=True),)),
        sticky=(HashInput(HashKind.HEADER, "user-agent"), HashInput(HashKind.SOURCE)),
        request_headers=edits,
        response_headers=edits,
        timeout_s=600.0,
        idle_s=300.0,
        retry=RetryPolicy(3, frozenset((RetryOn.RETRIABLE_4XX,)), per_try_s=300.0),
        mirrors=(Mirror(target.id, 1),),
    )


class Mesh:
    """A trust domain and the engines in it. `featured`: with every feature of routes and targets on."""

    def __init__(self, name: str = DOMAIN, *, featured: bool = False) -> None:
        self.featured = featured
        now = datetime.now(UTC)
        self.domain = Domain(name, now=now - timedelta(days=30))  # so that leaves can have ended
        self.domain.now = now
        self.clock = Clock()
        self.engines: list[Engine] = []

    def identity(self, service: str) -> SpiffeId:
        return SpiffeId(self.domain.name, "dc1", service)

    def tls(
        self,
        service: str,
        *,
        ttl: timedelta = timedelta(hours=1),
        bundles: dict[str, list[bytes]] | None = None,
        revoked: frozenset[tuple[str, int]] = frozenset(),
    ) -> TlsContexts:
        leaf = self.domain.leaf(service, ttl=ttl)
        svid = Svid(
            leaf.key_pem,
            tuple(leaf.chain_der),
            self.identity(service),
            leaf.issued.not_after.timestamp(),
            0.0,
        )
        return tls_contexts(svid, bundles or self.domain.bundle, revoked, self.clock)

    def snapshot(
        self,
        service: str,
        *,
        app: Address = NOWHERE,
        rules: Sequence[Rule] | None = None,
        upstreams: Sequence[Destination] = (),
        targets: Sequence[Target] = (),
    ) -> Snapshot:
        """`targets` are those that no destination brings with it."""
        allow_all = (Rule("all", "*", self.domain.name, "", True),)
        every = [*(destination.target for destination in upstreams), *targets]
        return Snapshot(
            index=1,
            identity=self.identity(service),
            instance_key=f"dc1/n/{service}",
            inbound=Inbound(LOOPBACK, app, tuple(allow_all if rules is None else rules)),
            upstreams={destination.upstream.name: destination.upstream for destination in upstreams},
            targets={target.id: target for target in every},
            bundles={self.domain.name: (self.domain.root_der,)},
        )

    async def engine(self, snapshot: Snapshot, tls: TlsContexts | None = None) -> Engine:
        engine = Engine(
            snapshot=snapshot,
            tls=tls or self.tls(snapshot.identity.service),
            telemetry=Telemetry(),
            clock=self.clock,
            rng=random.Random(7),
        )
        await engine.start()
        self.engines.append(engine)
        return engine

    def target(self, name: str, peers: Sequence[Engine | int], subset: str = "", **settings: Any) -> Target:
        """The instances of service `name` at these places, and fields of the target."""
        prefix = f"{name}-{subset}-" if subset else f"{name}-"
        return Target(
            target_id(name, subset),
            name,
            self.identity(name),
            subset,
            tuple(
                Instance(f"dc1/n/{prefix}{n}", f"{prefix}{n}", Address("127.0.0.1", _port(peer)))
                for n, peer in enumerate(peers)
            ),
            **settings,
        )

    def upstream(self, name: str, peers: Sequence[Engine | int], **settings: Any) -> Destination:
        """A destination with one route to one target; `settings` are fields of the target."""
        more = FEATURES if self.featured else {}
        target = self.target(name, peers, **{**more, **settings})
        route = featured(target) if self.featured else all_to(target)
        return Destination(Upstream(name, LOOPBACK, (route,), target.id), target)

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()


def _port(peer: Engine | int) -> int:
    return peer if isinstance(peer, int) else inbound_port(peer)


def inbound_port(engine: Engine) -> int:
    return int(engine.listening()[""].rpartition(":")[2])


def outbound_port(engine: Engine, upstream: str = "orders") -> int:
    return int(engine.listening()[upstream].rpartition(":")[2])


def with_rules(snapshot: Snapshot, *rules: Rule) -> Snapshot:
    return dataclasses.replace(
        snapshot, index=snapshot.index + 1, inbound=dataclasses.replace(snapshot.inbound, rules=rules)
    )


@contextlib.asynccontextmanager
async def pair(app_port: int, *, featured: bool = False) -> AsyncIterator[tuple[Engine, Engine]]:
    """web's engine and orders' engine, with mTLS between them and the application behind the latter."""
    mesh = Mesh(featured=featured)
    try:
        orders = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", app_port)))
        web = await mesh.engine(mesh.snapshot("web", upstreams=[mesh.upstream("orders", [orders])]))
        yield web, orders
    finally:
        await mesh.close()


class Plain:
    """One switch without TLS: a listener of its kind in front of the application."""

    def __init__(
        self, engine: Engine, app: App, side: Outbound, port: int, server: asyncio.AbstractServer
    ) -> None:
        self.engine = engine
        self.side = side
        self.app = app
        self.port = port
        self._server = server
        self._callers: list[Wire] = []

    @classmethod
    async def start(cls, mesh: Mesh, app: App) -> "Plain":
        engine = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", app.port)))
        side = Outbound(engine.outbox, engine.app, Telemetry(), "test")
        server = await asyncio.get_running_loop().create_server(side.accept, "127.0.0.1", 0)
        return cls(engine, app, side, server.sockets[0].getsockname()[1], server)

    @property
    def conn(self) -> Downstream:
        """Our end of a caller's connection, where there is one caller."""
        return next(iter(self.side.connections))

    async def caller(self, first: bytes | None = None) -> Wire:
        wire = await dial(self.port, first=first)
        self._callers.append(wire)
        return wire

    async def opened(self, fields: Sequence[Header] = GRPC) -> tuple[Wire, Wire, int]:
        """A caller with stream 1 open, the application's connection, and the stream's id there."""
        caller = await self.caller()
        caller.headers(1, fields)
        wire = await self.app.wire()
        return caller, wire, (await wire.asked())[0]

    def close(self) -> None:
        self._server.close()
        for caller in self._callers:
            caller.close()

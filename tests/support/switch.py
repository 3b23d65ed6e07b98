"""Engines of the frame switch in this process: real sockets, real TLS, no registry."""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from sidecar.identity import Svid, TlsContexts, tls_contexts
from sidecar.proxy.engine import Engine
from sidecar.proxy.outbound import Outbound
from sidecar.snapshot import (
    Address,
    Balance,
    EjectionPolicy,
    Inbound,
    Instance,
    Rule,
    Snapshot,
    Upstream,
)
from sidecar.telemetry import Telemetry
from tests.support.pki import Domain
from tests.support.wire import GRPC, App, Header, Wire, dial
from weft.clock import SystemClock
from weft.spiffe import SpiffeId

LOOPBACK = Address("127.0.0.1", 0)
NOWHERE = Address("127.0.0.1", 1)  # nothing listens there
DOMAIN = "dc1.weft"


class Clock(SystemClock):
    """The machine's clocks, and what a test adds to them."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead_s


class Mesh:
    """A trust domain and the engines in it."""

    def __init__(self, name: str = DOMAIN) -> None:
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
        upstreams: Sequence[Upstream] = (),
    ) -> Snapshot:
        allow_all = (Rule("all", "*", self.domain.name, "", True),)
        return Snapshot(
            index=1,
            identity=self.identity(service),
            instance_key=f"dc1/n/{service}",
            inbound=Inbound(LOOPBACK, app, tuple(allow_all if rules is None else rules)),
            upstreams={upstream.name: upstream for upstream in upstreams},
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

    def upstream(
        self,
        name: str,
        peers: Sequence[Engine | int],
        *,
        balance: Balance = Balance.LEAST_REQUEST,
        ejection: EjectionPolicy | None = None,
        pending_max: int = 1024,
        connect_timeout_s: float = 5.0,
    ) -> Upstream:
        instances = tuple(
            Instance(f"dc1/n/{name}-{number}", f"{name}-{number}", Address("127.0.0.1", _port(peer)))
            for number, peer in enumerate(peers)
        )
        return Upstream(
            name,
            LOOPBACK,
            self.identity(name),
            instances,
            balance,
            ejection or EjectionPolicy(),
            connect_timeout_s,
            pending_max,
        )

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
async def pair(app_port: int) -> AsyncIterator[tuple[Engine, Engine]]:
    """web's engine and orders' engine, with mTLS between them and the application behind the latter."""
    mesh = Mesh()
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

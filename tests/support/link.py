"""A hand-driven caller and a hand-driven application, with one engine between them, in each of its roles."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Literal

from sidecar.proxy.engine import Engine
from sidecar.snapshot import Address, EjectionPolicy
from tests.support.switch import Mesh, Plain, inbound_port, outbound_port
from tests.support.waiting import until
from tests.support.wire import GRPC, App, Header, Wire, dial

# plain: the caller's plaintext, the application's plaintext; inbound: the caller's mTLS, plaintext;
# outbound: plaintext, then mTLS to a peer.
Kind = Literal["plain", "inbound", "outbound"]
NEVER = EjectionPolicy(consecutive_failures=10_000)


class Link:
    """Callers reach `app` through `engine`."""

    def __init__(self, mesh: Mesh, engine: Engine, app: App, port: int, tls: ssl.SSLContext | None) -> None:
        self._mesh = mesh
        self.engine = engine
        self.app = app
        self.port = port
        self.tls = tls
        self._callers: list[Wire] = []
        self._listener: Plain | None = None

    @classmethod
    async def start(cls, kind: Kind, mesh: Mesh) -> "Link":
        if kind == "outbound":
            app = await App(ssl=mesh.tls("orders").server).start()
            upstream = mesh.upstream("orders", [app.port], ejection=NEVER)
            engine = await mesh.engine(mesh.snapshot("web", upstreams=[upstream]))
            return cls(mesh, engine, app, outbound_port(engine), None)
        app = await App().start()
        if kind == "inbound":
            engine = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", app.port)))
            return cls(mesh, engine, app, inbound_port(engine), mesh.tls("web").client)
        plain = await Plain.start(mesh, app)
        link = cls(mesh, plain.engine, app, plain.port, None)
        link._listener = plain
        return link

    def without_alpn(self) -> ssl.SSLContext:
        """A caller's credentials, for a handshake that names no protocol."""
        context = self._mesh.tls("web").client
        context.set_alpn_protocols([])
        return context

    async def caller(self, first: bytes | None = None) -> Wire:
        """A connection to the engine; `first` in place of its preface and SETTINGS."""
        wire = await dial(self.port, first=first, ssl=self.tls)
        self._callers.append(wire)
        return wire

    async def request(
        self, caller: Wire, sid: int, fields: Sequence[Header] = GRPC, *, end: bool = False
    ) -> tuple[Wire, int]:
        """Opens a request, and finds it on the application's side by a field of its own."""
        tag = f"{id(caller)}-{sid}"
        caller.headers(sid, [*fields, ("x-tag", tag)], end=end)
        return await self.find(tag)

    async def find(self, tag: str) -> tuple[Wire, int]:
        def found() -> tuple[Wire, int] | None:
            for wire in self.app.wires:
                for sid in wire.requests():
                    if wire.heard(sid).blocks[0].get("x-tag") == tag:
                        return wire, sid
            return None

        there: tuple[Wire, int] = await until(found, "the request reaches the application")
        return there

    async def opened(
        self, fields: Sequence[Header] = GRPC, *, end: bool = False, caller: Wire | None = None
    ) -> tuple[Wire, Wire, int]:
        """A caller with stream 1 open, the application's connection, and the stream's id there."""
        caller = caller or await self.caller()
        wire, sid = await self.request(caller, 1, fields, end=end)
        return caller, wire, sid

    async def serves(self) -> None:
        """A new caller is answered: whatever happened to others did not reach it."""
        caller, app, sid = await self.opened(end=True)
        app.headers(sid, [(":status", "200"), ("grpc-status", "0")], end=True)
        assert (await caller.over(1)).blocks[0]["grpc-status"] == "0"

    async def close(self) -> None:
        for wire in self._callers:
            wire.close()
        if self._listener is not None:
            self._listener.close()
        self.app.close()
        await asyncio.sleep(0)

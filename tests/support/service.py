"""One service behind its inbound listener, and callers of it: what is asked of requests that arrive."""

import dataclasses
from typing import Any

from sidecar.admission import Admission, Permission
from sidecar.proxy.engine import Engine
from sidecar.snapshot import Address, Inbound, Rule
from sidecar.traffic import HttpMatch, TextKind
from tests.support.scripted import Calls, Peer
from tests.support.switch import DOMAIN, Mesh, inbound_port
from tests.support.wire import Wire, dial


class Service:
    """orders' engine with an application that serves, and callers of it."""

    def __init__(self, mesh: Mesh, app: Peer) -> None:
        self.mesh = mesh
        self.app = app
        self._wires: list[Wire] = []

    async def start(self) -> "Service":
        await self.app.start()
        address = Address("127.0.0.1", self.app.port)
        self.engine: Engine = await self.mesh.engine(self.mesh.snapshot("orders", app=address))
        return self

    def configure(self, *rules: Rule, default_allow: bool = False, **admission: Any) -> None:
        old = self.engine.snapshot
        inbound = Inbound(
            old.inbound.listen, old.inbound.app, rules, default_allow, admission=Admission(**admission)
        )
        self.engine.swap(dataclasses.replace(old, inbound=inbound))

    def change(self, **inbound: Any) -> None:
        """Other fields of the inbound side."""
        old = self.engine.snapshot
        self.engine.swap(dataclasses.replace(old, inbound=dataclasses.replace(old.inbound, **inbound)))

    async def caller(self, name: str = "web") -> Calls:
        self._wires.append(await dial(inbound_port(self.engine), ssl=self.mesh.tls(name).client))
        return Calls(self._wires[-1])

    @property
    def paths(self) -> list[str]:
        return [head[":path"] for head in self.app.heads]

    def close(self) -> None:
        for wire in self._wires:
            wire.close()
        self.app.close()


def rule(*permissions: Permission, source: str = "web", **settings: Any) -> Rule:
    return Rule(
        f"{source}-rule", source, DOMAIN, "", allow=not permissions, permissions=permissions, **settings
    )


def allow(match: HttpMatch | None = None, **settings: Any) -> Permission:
    return Permission(True, match, **settings)


def deny(match: HttpMatch) -> Permission:
    return Permission(False, match)


def prefix(text: str) -> HttpMatch:
    return HttpMatch(TextKind.PREFIX, text)

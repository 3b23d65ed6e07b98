"""Rows and commands for tests of the registry's core: short to write, valid unless said otherwise."""

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import Any

from registry.catalog import commands
from registry.catalog.apply import Applied, apply, raise_refusal
from registry.catalog.commands import Stamp
from registry.catalog.feature_level import ID_META, LEVEL_META
from registry.catalog.model import CONNECT_PROXY, CaRoot, Check, Cluster, Intention, Node, Proxy, Service
from registry.catalog.state import State
from registry.catalog.watches import WatchKey
from weft.pb.catalog.v1.command_pb2 import Command

CLUSTER = Cluster("11111111-2222-3333-4444-555555555555", "dc1", "11111111-2222-3333-4444-555555555555.weft")
_numbers = itertools.count(1)


def stamp(time_ms: int = 1_000) -> Stamp:
    """A request id that no other command has."""
    return Stamp(time_ms, next(_numbers).to_bytes(16, "big"))


def node(name: str = "n1", **fields: Any) -> Node:
    return Node(name=name, **{"address": "10.0.0.1", "datacenter": "dc1", **fields})


def service(service_id: str, name: str = "", on: str = "n1", **fields: Any) -> Service:
    return Service(node=on, id=service_id, name=name or service_id, datacenter="dc1", port=8080, **fields)


def server(server_id: str, level: int = commands.COMMAND_VERSION) -> Service:
    """A server's own entry, which says what it knows."""
    return service("consul", meta={ID_META: server_id, LEVEL_META: str(level)})


def proxy(service_id: str, name: str, on: str = "n1", **fields: Any) -> Service:
    """The sidecar of an instance; `fields` are those of its Proxy."""
    return Service(
        node=on,
        id=f"{service_id}-sidecar-proxy",
        name=f"{name}-sidecar-proxy",
        datacenter="dc1",
        kind=CONNECT_PROXY,
        port=21000,
        proxy=Proxy(name, service_id, local_port=8080, **fields),
    )


def check(
    check_id: str, service_id: str = "", status: str = "passing", on: str = "n1", **fields: Any
) -> Check:
    return Check(node=on, id=check_id, name=check_id, status=status, service_id=service_id, **fields)


def intention(source: str, destination: str, allow: bool = True) -> Intention:
    return Intention(source, destination, allow, id=f"00000000-0000-4000-8000-{next(_numbers):012x}")


def root(name: str = "r1", **fields: Any) -> CaRoot:
    return CaRoot(
        id=name,
        name=name,
        not_after_ms=10**13,
        **{"trust_domain": CLUSTER.trust_domain, "certificate_der": b"der " + name.encode(), **fields},
    )


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


@dataclass
class World:
    """A catalog that commands are applied to one after the other."""

    state: State = field(default_factory=State)
    log: list[Command] = field(default_factory=list)

    @classmethod
    def set_up(cls) -> "World":
        """With the cluster's name and the node n1."""
        world = cls()
        world.do(commands.init_cluster(stamp(), CLUSTER))
        world.do(commands.register(stamp(), node()))
        return world

    def attempt(self, command: Command) -> Applied:
        """Applies the command; its outcome may be a refusal."""
        done = apply(self.state, command, self.state.index + 1)
        self.log.append(command)
        self.state = done.state
        return done

    def do(self, command: Command) -> frozenset[WatchKey]:
        """Applies a command that must succeed; answers what it touched."""
        done = self.attempt(command)
        raise_refusal(done.answer)
        return done.touched

    def register(self, *rows: Service | Check, on: str = "n1") -> frozenset[WatchKey]:
        services = [row for row in rows if isinstance(row, Service)]
        checks = [row for row in rows if isinstance(row, Check)]
        return self.do(commands.register(stamp(), self.state.nodes.get((on,)) or node(on), services, checks))

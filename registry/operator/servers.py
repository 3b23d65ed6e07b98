"""The servers of the cluster: what consensus knows of them, joined with what the catalog does.

Each server registers itself as an instance of the service `consul`, with its server id and ports as meta.
So every server knows where every other one takes sidecars and clients.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..catalog.feature_level import ID_META, SERVER_SERVICE
from ..catalog.model import CRITICAL, NODE_ALIVE_ID, Node, Service
from ..catalog.state import State
from ..replica.membership import MemberStatus

GRPC_META, HTTPS_META, AGENT_META, VERSION_META = "grpc_tls_port", "https_port", "agent_port", "version"


class Members(Protocol):
    """Membership of the engine, as `replica.membership.Membership` has it."""

    def members(self) -> tuple[MemberStatus, ...]: ...

    async def remove(self, server_id: str) -> None: ...

    async def transfer(self, to: str = "") -> str: ...


@dataclass(frozen=True, slots=True)
class Registered:
    """A server's own entry in the catalog."""

    node: Node
    service: Service
    alive: bool

    @property
    def server_id(self) -> str:
        return self.service.meta.get(ID_META, "")

    @property
    def host(self) -> str:
        return self.service.address or self.node.address

    def address(self, port_meta: str) -> str:
        """`host:port` of one of its listeners; "" where it has none."""
        port = self.service.meta.get(port_meta, "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{port}" if port else ""


@dataclass(frozen=True, slots=True)
class Server:
    """A member. `registered` is None until it has told the catalog about itself."""

    member: MemberStatus
    registered: Registered | None = field(default=None)

    @property
    def name(self) -> str:
        return self.registered.node.name if self.registered else "(unknown)"

    @property
    def alive(self) -> bool:
        return self.registered is None or self.registered.alive

    @property
    def meta(self) -> Mapping[str, str]:
        return self.registered.service.meta if self.registered else {}


def registered(state: State) -> tuple[Registered, ...]:
    """Servers that the catalog knows, members or not, by node."""
    found = []
    for service in state.services_by_name.prefix((SERVER_SERVICE,)):
        node = state.nodes.get((service.node,))
        if node is not None:
            check = state.checks.get((service.node, NODE_ALIVE_ID))
            found.append(Registered(node, service, check is None or check.status != CRITICAL))
    return tuple(found)


def servers(state: State, members: Iterable[MemberStatus]) -> tuple[Server, ...]:
    """The members, by id."""
    known = {row.server_id: row for row in registered(state) if row.server_id}
    return tuple(Server(member, known.get(member.id)) for member in members)


def others(state: State, own_id: str) -> tuple[Registered, ...]:
    """The servers beside this one that say where their gRPC listener is, by node."""
    rows = (row for row in registered(state) if row.server_id not in ("", own_id))
    return tuple(row for row in rows if row.address(GRPC_META))


def find(state: State, server_id: str) -> Registered | None:
    """A server's entry by its id."""
    return next((row for row in registered(state) if row.server_id == server_id and server_id), None)


def grpc_addresses(state: State, own: str) -> tuple[str, ...]:
    """Where sidecars find the registry: this server first, then the others by node."""
    return addresses(state, GRPC_META, own)


def addresses(state: State, port_meta: str, own: str) -> tuple[str, ...]:
    """host:port of one listener of every server: this one's first, unless it is "", then by node."""
    others = (row.address(port_meta) for row in registered(state))
    return tuple(dict.fromkeys(filter(None, (own, *others))))

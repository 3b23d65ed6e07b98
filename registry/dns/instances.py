"""Sans-IO. Instances of a service as DNS tells of them, remembered while nothing about them changes.

What is kept belongs to a name and to the index that its watch key has. Beside it is what the last caller may
read of it, under the very rules that decided so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..catalog import watches
from ..catalog.model import CRITICAL, PASSING, Node, ServiceEntry
from ..catalog.state import Read, State
from .limits import INSTANCES_KEPT_MAX
from .names import fold
from .records import SRV_HEAD, SRV_PRIORITY, Place, absolute, node_place, packed, place

_ADDR = b"addr"


class Host(NamedTuple):
    """What SRV and NS records name. `name` is in wire form; a host of ours lacks the domain."""

    name: bytes
    is_ours: bool

    def under(self, domain: bytes) -> bytes:
        return self.name + domain if self.is_ours else self.name


class Instance(NamedTuple):
    """One that is not critical. `host` is None where DNS cannot say any."""

    node: str
    service: str
    tags: frozenset[bytes]
    is_passing: bool
    place: Place
    srv: bytes
    host: Host | None


@dataclass(slots=True)
class _Kept:
    stamp: tuple[int, int]
    rows: list[Instance]
    may: Authorizer | None = None
    told: list[Instance] | None = None


class Instances:
    """Of one registry's state, as it goes on."""

    def __init__(self) -> None:
        self._kept: dict[tuple[bool, str], _Kept] = {}
        self._count = 0

    def readable(self, state: State, name: str, may: Authorizer, *, in_mesh: bool = False) -> list[Instance]:
        """Those of a service, or its mesh endpoints, whose service and node may be read."""
        kept = self._of(state, name, in_mesh)
        if kept.told is None or kept.may is not may:
            kept.may = may
            kept.told = [
                row
                for row in kept.rows
                if may.allows("node", row.node, Access.READ)
                and may.allows("service", row.service, Access.READ)
            ]
        return kept.told

    def _of(self, state: State, name: str, in_mesh: bool) -> _Kept:
        key = watches.connect(name) if in_mesh else watches.service(name)
        stamp = (state.index_of(key), state.index_of(watches.EVERYTHING))
        kept = self._kept.get((in_mesh, name))
        if kept is None or kept.stamp != stamp:
            found = state.connect_nodes(name) if in_mesh else state.service_nodes(name)
            kept = _Kept(stamp, _instances(found))
            self._keep((in_mesh, name), kept)
        return kept

    def _keep(self, key: tuple[bool, str], kept: _Kept) -> None:
        if old := self._kept.pop(key, None):
            self._count -= len(old.rows)
        if not kept.rows:
            return  # names that nobody has are without end
        self._kept[key] = kept
        self._count += len(kept.rows)
        while self._count > INSTANCES_KEPT_MAX:
            self._count -= len(self._kept.pop(next(iter(self._kept))).rows)


def of_entries(rows: Iterable[ServiceEntry]) -> list[Instance]:
    """Whatever their status: somebody else has decided that they are well."""
    return [_instance(row, row.status) for row in rows]


def _instances(found: Read[tuple[ServiceEntry, ...]]) -> list[Instance]:
    rows = ((row, row.status) for row in found.rows)
    return [_instance(row, status) for row, status in rows if status != CRITICAL]


def _instance(row: ServiceEntry, status: str) -> Instance:
    service, is_passing = row.service, status == PASSING
    tagged = {kind: it.address for kind, it in service.tagged_addresses.items()}
    where = place(service.address, tagged) if service.address else node_place(row.node)
    weight = service.weight_passing if is_passing else service.weight_warning
    return Instance(
        row.node.name,
        service.name,
        frozenset(map(fold, service.tags)),
        is_passing,
        where,
        SRV_HEAD.pack(SRV_PRIORITY, weight, service.port),
        _service_host(row, where) if service.address else host_of(row.node),
    )


def _service_host(row: ServiceEntry, where: Place) -> Host | None:
    """What stands for the instance's own address."""
    if where.plain:
        return _hex_host(where.plain, row.service.datacenter)
    return Host(where.alias, is_ours=False) if where.alias else None


def host_of(node: Node) -> Host | None:
    """`NODE.node.DC`, or what stands for the node's address where its name is too long for DNS."""
    labels = (*node.name.encode().split(b"."), b"node", node.datacenter.encode())
    if name := _ours(labels):
        return Host(name, is_ours=True)
    address = packed(node.address)
    return _hex_host(address, node.datacenter) if address else None


def _hex_host(address: bytes, datacenter: str) -> Host | None:
    """`HEX.addr.DC`, which says the address itself."""
    name = _ours((address.hex().encode(), _ADDR, datacenter.encode()))
    return Host(name, is_ours=True) if name else None


_LONGEST = b"\x06consul\0"  # of the domains that may follow


def _ours(labels: tuple[bytes, ...]) -> bytes | None:
    whole = absolute(labels, _LONGEST)
    return whole[: -len(_LONGEST)] if whole else None

"""The state of the catalog at one log index: an immutable value that queries read.

Each query answers a `Read`: rows in a stable order, the index scoped to what was read, and the watch
keys to wait on for that index to move. Index and keys belong together: a blocking query waits until
one of exactly those keys is above the index that the client already has.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Generic, TypeVar

from ..acl.tables import AclTables
from ..config_entries.entry import Entry
from . import watches
from .address_row import VirtualAddress
from .answers import Answered as Answered
from .answers import Answers
from .enrolment_model import JoinToken, Member, agent_leaf_key
from .experiment_row import Experiment
from .model import (
    AUTOPILOT_DEFAULT,
    Authority,
    AutopilotConfig,
    CaRoot,
    Check,
    Cluster,
    ConfigEntry,
    Coordinate,
    CredentialRecord,
    Event,
    Intention,
    IntentionDefaults,
    KeyValue,
    LeafRecord,
    LockDelay,
    Node,
    PreparedQuery,
    RestorePart,
    Revocation,
    Service,
    ServiceEntry,
    Session,
    split_instance_key,
)
from .tree import Tree
from .watches import WatchKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """What a query found. `index` is at least 1 and moves when `rows` may have changed."""

    rows: T
    index: int
    keys: tuple[WatchKey, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """When what a watch key covers last changed."""

    index: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class State:
    """All tables. The comment at each says its key."""

    index: int = 0  # of the last applied command
    time_ms: int = 0  # of the state: the greatest that a command brought
    floor: int = 1  # index of watch keys without an entry; rises when old tombstones are dropped
    roots_epoch: int = 0  # counts changes of the roots
    addressing: bool = False  # services of the mesh have virtual addresses
    cluster: Cluster | None = None
    authority: Authority | None = None
    autopilot: AutopilotConfig = AUTOPILOT_DEFAULT
    nodes: Tree[Node] = field(default_factory=Tree)  # name
    services: Tree[Service] = field(default_factory=Tree)  # node, id
    services_by_name: Tree[Service] = field(default_factory=Tree)  # name, node, id
    services_by_connect: Tree[Service] = field(default_factory=Tree)  # connects_to, node, id
    checks: Tree[Check] = field(default_factory=Tree)  # node, id
    checks_by_service: Tree[Check] = field(default_factory=Tree)  # node, service id, id
    intentions: Tree[Intention] = field(default_factory=Tree)  # destination, source
    intentions_by_source: Tree[Intention] = field(default_factory=Tree)  # source, destination
    intention_defaults: Tree[IntentionDefaults] = field(default_factory=Tree)  # destination
    config_entries: Tree[ConfigEntry] = field(default_factory=Tree)  # kind, name
    kv: Tree[KeyValue] = field(default_factory=Tree)  # key
    kv_locked: Tree[KeyValue] = field(default_factory=Tree)  # session, key
    sessions: Tree[Session] = field(default_factory=Tree)  # id
    sessions_by_node: Tree[Session] = field(default_factory=Tree)  # node, id
    lock_delays: Tree[LockDelay] = field(default_factory=Tree)  # key
    lock_delays_by_end: Tree[LockDelay] = field(default_factory=Tree)  # until_ms, key
    events: Tree[Event] = field(default_factory=Tree)  # ltime
    coordinates: Tree[Coordinate] = field(default_factory=Tree)  # node
    queries: Tree[PreparedQuery] = field(default_factory=Tree)  # id
    queries_by_name: Tree[PreparedQuery] = field(default_factory=Tree)  # template, name
    queries_by_session: Tree[PreparedQuery] = field(default_factory=Tree)  # session, id
    join_tokens: Tree[JoinToken] = field(default_factory=Tree)  # id
    join_tokens_by_end: Tree[JoinToken] = field(default_factory=Tree)  # expires_ms, id
    members: Tree[Member] = field(default_factory=Tree)  # node
    experiments: Tree[Experiment] = field(default_factory=Tree)  # name
    addresses: Tree[VirtualAddress] = field(default_factory=Tree)  # service
    free_numbers: Tree[None] = field(default_factory=Tree)  # number of an address that nobody has
    credentials: Tree[CredentialRecord] = field(default_factory=Tree)  # instance key
    leaves: Tree[LeafRecord] = field(default_factory=Tree)  # instance key, serial
    leaves_by_expiry: Tree[LeafRecord] = field(default_factory=Tree)  # not_after_ms, instance key, serial
    revocations: Tree[Revocation] = field(default_factory=Tree)  # not_after_ms, trust domain, serial
    roots: Tree[CaRoot] = field(default_factory=Tree)  # id
    acl: AclTables = field(default_factory=AclTables)
    restoring: Tree[RestorePart] = field(default_factory=Tree)  # part
    moved: Tree[Moved] = field(default_factory=Tree)  # watch key
    tombstones: Tree[None] = field(default_factory=Tree)  # time_ms, then the parts of a watch key
    answers: Answers = field(default_factory=Answers)

    def branch(self) -> "State":
        """A copy that nobody else holds. (copy.copy goes by the pickle protocol: ten times the time.)"""
        return State(*_fields(self))

    def nodes_of_rows(self) -> list[object]:
        """What holds the rows of all tables (`Tree.leaves`)."""
        return [leaf for it in _fields(self) if isinstance(it, Tree) for leaf in it.leaves()]

    def index_of(self, key: WatchKey) -> int:
        """When what the key covers last changed, deletions included; at least 1."""
        found = self.moved.get(key)
        return found.index if found else self.floor

    def read(self, rows: T, *keys: WatchKey) -> Read[T]:
        """Rows that were read under these keys, with the index that the keys give."""
        return Read(rows, max(map(self.index_of, keys)), keys)

    # Catalog

    def list_nodes(self) -> Read[tuple[Node, ...]]:
        return self.read(tuple(self.nodes.values()), watches.NODES)

    def node(self, name: str) -> Read[tuple[Node, tuple[Service, ...]] | None]:
        """The node with its instances, or None."""
        row = self.nodes.get((name,))
        found = (row, tuple(self.services.prefix((name,)))) if row else None
        return self.read(found, watches.node(name))

    def service_names(self) -> Read[dict[str, tuple[str, ...]]]:
        """Service name -> sorted union of its instances' tags, names in order."""
        tags: dict[str, set[str]] = {}
        for row in self.services_by_name.values():
            tags.setdefault(row.name, set()).update(row.tags)
        return self.read({name: tuple(sorted(found)) for name, found in tags.items()}, watches.SERVICES)

    def service_nodes(self, name: str) -> Read[tuple[ServiceEntry, ...]]:
        """Instances of a service with node and checks (catalog/service and health/service)."""
        return self.read(self._entries(self.services_by_name, name), watches.service(name))

    def connect_nodes(self, name: str) -> Read[tuple[ServiceEntry, ...]]:
        """Mesh endpoints of a service: proxies that stand for it and native instances."""
        return self.read(self._entries(self.services_by_connect, name), watches.connect(name))

    def service(self, node: str, service_id: str) -> Read[ServiceEntry | None]:
        """One instance, or None."""
        row, on = self.services.get((node, service_id)), self.nodes.get((node,))
        return self.read(self._entry(on, row) if row and on else None, watches.node(node))

    def _entries(self, table: Tree[Service], name: str) -> tuple[ServiceEntry, ...]:
        found = ((self.nodes.get((row.node,)), row) for row in table.prefix((name,)))
        return tuple(self._entry(node, row) for node, row in found if node)

    def _entry(self, node: Node, row: Service) -> ServiceEntry:
        return ServiceEntry(node, row, self.checks_of(row))

    def checks_of(self, row: Service) -> tuple[Check, ...]:
        """The node's own checks, then the instance's."""
        return (
            *self.checks_by_service.prefix((row.node, "")),
            *self.checks_by_service.prefix((row.node, row.id)),
        )

    def virtual_address(self, service: str) -> str:
        """Of a service of the mesh; "" where it has none."""
        row = self.addresses.get((service,)) if service else None
        return row.address if row else ""

    # Checks

    def check(self, node: str, check_id: str) -> Read[Check | None]:
        return self.read(self.checks.get((node, check_id)), watches.node(node))

    def node_checks(self, node: str) -> Read[tuple[Check, ...]]:
        return self.read(tuple(self.checks.prefix((node,))), watches.node(node))

    def service_checks(self, name: str) -> Read[tuple[Check, ...]]:
        """The instances' own checks, without those of their nodes (health/checks)."""
        rows = self.services_by_name.prefix((name,))
        found = (check for row in rows for check in self.checks_by_service.prefix((row.node, row.id)))
        return self.read(tuple(found), watches.service(name))

    def checks_in(self, status: str = "any") -> Read[tuple[Check, ...]]:
        """All checks in a status, or all (health/state)."""
        rows = (row for row in self.checks.values() if status in ("any", row.status))
        return self.read(tuple(rows), watches.CHECKS)

    def intention(self, source: str, destination: str) -> Read[Intention | None]:
        """The intention of exactly this pair. Lists and matches are in registry.intentions."""
        row = self.intentions.get((destination, source))
        return self.read(row, watches.intention_destination(destination))

    # Config entries. service-intentions are in registry.intentions

    def config_entry(self, kind: str, name: str) -> Read[ConfigEntry | None]:
        return self.read(self.config_entries.get((kind, name)), watches.config_entry(kind, name))

    def config_entries_of(self, kind: str) -> Read[tuple[ConfigEntry, ...]]:
        """All of a kind, by name."""
        return self.read(tuple(self.config_entries.prefix((kind,))), watches.config_kind(kind))

    def config(self, kind: str, name: str) -> Entry | None:
        """What an entry says, for those that keep account of what they read themselves."""
        row = self.config_entries.get((kind, name))
        return row.entry if row else None

    # Keys and values

    def key(self, key: str) -> Read[KeyValue | None]:
        return self.read(self.kv.get((key,)), watches.kv(key))

    def keys_under(self, prefix: str) -> Read[tuple[KeyValue, ...]]:
        """Keys that begin with the prefix, in order.

        The index is that of these keys alone, deleted ones included. What is waited for is their directory: a
        change beside them wakes the reader, who finds the index where it was.
        """
        index = self.floor
        for key, moved in self.moved.items(watches.kv(prefix)):
            if key[0] != "kv" or not key[1].startswith(prefix):
                break
            index = max(index, moved.index)
        return Read(tuple(self.kv_under(prefix)), index, (watches.kv_directory(prefix),))

    def kv_under(self, prefix: str) -> Iterator[KeyValue]:
        for (key,), row in self.kv.items((prefix,)):
            if not key.startswith(prefix):
                return
            yield row

    # Sessions

    def session(self, session_id: str) -> Read[Session | None]:
        return self.read(self.sessions.get((session_id,)), watches.session(session_id))

    def list_sessions(self) -> Read[tuple[Session, ...]]:
        return self.read(tuple(self.sessions.values()), watches.SESSIONS)

    def sessions_on(self, node: str) -> Read[tuple[Session, ...]]:
        return self.read(tuple(self.sessions_by_node.prefix((node,))), watches.SESSIONS)

    # Identity

    def credential(self, key: str) -> Read[CredentialRecord | None]:
        return self.read(self.credentials.get((key,)), watches.credential(key))

    def leaves_of(self, key: str) -> tuple[LeafRecord, ...]:
        """Certificates recorded for an instance and not yet dropped as expired."""
        return tuple(self.leaves.prefix((key,)))

    def agent_leaf(self, node: str, serial: int, now_ms: int) -> LeafRecord | None:
        """The certificate of a member that has this serial number, unless it has ended or was withdrawn."""
        leaf = self.leaves.get((agent_leaf_key(node), serial)) if (node,) in self.members else None
        return leaf if leaf and leaf.not_after_ms > now_ms else None

    def revoked(self) -> Read[tuple[Revocation, ...]]:
        return self.read(tuple(self.revocations.values()), watches.REVOCATIONS)

    def ca_roots(self) -> Read[tuple[CaRoot, ...]]:
        return self.read(tuple(self.roots.values()), watches.ROOTS)

    def active_root(self) -> CaRoot | None:
        """The cluster's root that signs; None before there is one."""
        domain = self.cluster.trust_domain if self.cluster else ""
        return next((row for row in self.roots.values() if row.active and row.trust_domain == domain), None)

    def ca(self) -> Read[Authority]:
        """The CA's settings, key and rotation; the defaults before any was set."""
        return self.read(self.authority or Authority(), watches.AUTHORITY)

    def instance(self, key: str) -> Read[Service | None]:
        """The instance that a key names, if it belongs to this cluster and is registered."""
        datacenter, node, service_id = split_instance_key(key)
        row = self.services.get((node, service_id))
        here = row if row and row.datacenter == datacenter else None
        return self.read(here, watches.instance(key))

    def sidecars_of(self, row: Service) -> Iterator[Service]:
        """Proxies on the same node that stand for this instance."""
        for other in self.services_by_connect.prefix((row.name, row.node)):
            if other.proxy and other.proxy.destination_service_id == row.id:
                yield other


_fields = attrgetter(*State.__dataclass_fields__)

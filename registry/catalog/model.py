"""Rows of the catalog: what the registry knows, and nothing about how it is stored or shown.

Rows are immutable; mappings and tuples in them are never changed in place. `indexes` is zero in rows
that are proposed and set by `apply`. Times are milliseconds since the Unix epoch, durations
milliseconds. A field that ends in `_json` holds canonical JSON that the catalog echoes unread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

from ca.authority import LEAF_TTL_DEFAULT, ROOT_TTL_DEFAULT
from ca.rotation import Phase, Position
from ca.sealing import SealedKey

from ..config_entries.entry import Entry
from ..config_entries.matching import JwtRequirement
from ..config_entries.service_intentions import (
    Permission,
    ServiceIntentions,
    decoded_jwt,
    decoded_permissions,
)

PASSING, WARNING, CRITICAL = "passing", "warning", "critical"
STATUSES = (PASSING, WARNING, CRITICAL)
NODE_ALIVE_ID, NODE_ALIVE_NAME = "serfHealth", "Serf Health Status"  # what Consul's clients look for
NODE_ALIVE_OUTPUT = "Agent alive and reachable"
CONNECT_PROXY = "connect-proxy"
WILDCARD = "*"
SERVICE_INTENTIONS = ServiceIntentions.KIND  # the kind of config entry that is kept as intentions


def instance_key(datacenter: str, node: str, service_id: str) -> str:
    """Names one service instance among all clusters. Neither datacenter nor node contains a slash."""
    return f"{datacenter}/{node}/{service_id}"


def service_leaf_key(service: str) -> str:
    """Under what leaves of a service by name are recorded: never the key of an instance."""
    return f"service/{service}"


def split_instance_key(key: str) -> tuple[str, str, str]:
    """Datacenter, node and service id; empty strings for what is not an instance key."""
    parts = key.split("/", 2)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", "", "")


class Indexes(NamedTuple):
    """Log indexes of the commands that created and last changed a row."""

    create: int = 0
    modify: int = 0


NO_INDEXES = Indexes()


@dataclass(frozen=True, slots=True)
class Cluster:
    """Who this cluster is; set once."""

    id: str
    datacenter: str
    trust_domain: str


@dataclass(frozen=True, slots=True)
class Node:
    """A machine. Key: name."""

    name: str
    address: str
    datacenter: str
    id: str = ""
    tagged_addresses: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    indexes: Indexes = NO_INDEXES


class TaggedAddress(NamedTuple):
    """One entry of a service's TaggedAddresses."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """A destination that the application behind a proxy reaches on a local address."""

    destination_name: str
    local_bind_port: int = 0
    local_bind_address: str = ""  # "" is 127.0.0.1
    local_bind_socket_path: str = ""
    local_bind_socket_mode: str = ""  # octal digits; "" is 0600
    datacenter: str = ""
    destination_type: str = ""  # "" is "service"
    config_json: bytes = b""
    rest_json: bytes = b""  # what is only echoed: MeshGateway, ...


@dataclass(frozen=True, slots=True)
class Proxy:
    """What makes a service a sidecar: whom it stands for and what it reaches."""

    destination_service: str
    destination_service_id: str = ""
    local_address: str = ""  # of the application; "" is 127.0.0.1
    local_port: int = 0
    local_socket_path: str = ""
    mode: str = ""
    config_json: bytes = b""
    upstreams: tuple[Upstream, ...] = ()
    rest_json: bytes = b""  # what is only echoed: MeshGateway, Expose, ...


@dataclass(frozen=True, slots=True)
class Service:
    """One service instance. Key: node and id."""

    node: str
    id: str
    name: str
    datacenter: str
    kind: str = ""  # "" or CONNECT_PROXY
    tags: tuple[str, ...] = ()
    address: str = ""  # "" is the node's
    port: int = 0
    socket_path: str = ""
    tagged_addresses: Mapping[str, TaggedAddress] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    weight_passing: int = 1
    weight_warning: int = 1
    enable_tag_override: bool = False
    connect_native: bool = False
    proxy: Proxy | None = None
    locality_json: bytes = b""
    indexes: Indexes = NO_INDEXES

    @property
    def instance_key(self) -> str:
        return instance_key(self.datacenter, self.node, self.id)

    @property
    def connects_to(self) -> str:
        """The service that a mesh connection to this instance reaches; "" when it is not in the mesh."""
        if self.proxy is not None and self.kind == CONNECT_PROXY:
            return self.proxy.destination_service
        return self.name if self.connect_native else ""


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """How an agent finds a check's status. Durations in milliseconds; 0 and "" are absent."""

    interval_ms: int = 0
    timeout_ms: int = 0
    ttl_ms: int = 0
    deregister_critical_after_ms: int = 0
    http: str = ""
    method: str = ""
    header_json: bytes = b""
    body: str = ""
    tls_server_name: str = ""
    tls_skip_verify: bool = False
    tcp: str = ""
    tcp_use_tls: bool = False
    grpc: str = ""
    grpc_use_tls: bool = False
    alias_node: str = ""
    alias_service: str = ""
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0
    udp: str = ""
    h2ping: str = ""
    h2ping_plaintext: bool = False
    os_service: str = ""
    args: tuple[str, ...] = ()
    output_bytes_max: int = 0
    disable_redirects: bool = False


NO_DEFINITION = CheckDefinition()


@dataclass(frozen=True, slots=True)
class Check:
    """A health check. Key: node and id. Without service_id it is the node's and counts for all on it.

    `service_name` and `service_tags` are filled in by `apply` from the service.
    """

    node: str
    id: str
    name: str
    status: str = CRITICAL
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""  # "ttl", "http", "tcp", "grpc", "alias", "maintenance" or ""
    exposed_port: int = 0
    definition: CheckDefinition = NO_DEFINITION
    indexes: Indexes = NO_INDEXES


@dataclass(frozen=True, slots=True)
class Intention:
    """Who may call whom. Key: destination and source; either may be "*"."""

    source: str
    destination: str
    allow: bool
    id: str = ""  # UUID, from the proposer; an existing intention keeps its own
    description: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0
    updated_ms: int = 0
    permissions_json: bytes = b""  # canonical; where there are some, `allow` says nothing
    indexes: Indexes = NO_INDEXES

    @property
    def action(self) -> str:
        """ "" where the permissions decide."""
        if self.permissions_json:
            return ""
        return "allow" if self.allow else "deny"

    @property
    def permissions(self) -> tuple[Permission, ...]:
        return decoded_permissions(self.permissions_json)


@dataclass(frozen=True, slots=True)
class IntentionDefaults:
    """What holds for all intentions of one destination. Key: destination."""

    destination: str
    jwt_json: bytes = b""
    meta: Mapping[str, str] = field(default_factory=dict)
    indexes: Indexes = NO_INDEXES

    @property
    def jwt(self) -> JwtRequirement | None:
        return decoded_jwt(self.jwt_json)


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """Settings that an operator wrote. Key: kind and name. service-intentions are Intention rows instead."""

    kind: str
    name: str
    body: bytes  # canonical JSON
    entry: Entry  # what it says
    indexes: Indexes = NO_INDEXES


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A value under a key, which clients name as they like. Key: the key."""

    key: str
    value: bytes = b""
    flags: int = 0  # 64 bits of the client's own
    session: str = ""  # who holds the lock; "" is nobody
    lock_index: int = 0  # how often the lock was taken
    indexes: Indexes = NO_INDEXES


RELEASE, DELETE = "release", "delete"


@dataclass(frozen=True, slots=True)
class Session:
    """Who may hold locks, for as long as its node and checks are well. Key: id."""

    id: str
    node: str
    name: str = ""
    lock_delay_ms: int = 15_000  # how long nobody may take a lock that it lost
    behavior: str = RELEASE  # what becomes of the keys that it has locked
    ttl: str = ""  # as the client wrote it; "" lives until it is ended
    node_checks: tuple[str, ...] = ()
    service_checks: tuple[str, ...] = ()
    indexes: Indexes = NO_INDEXES

    def depends_on(self, check_id: str) -> bool:
        return check_id in self.node_checks or check_id in self.service_checks


@dataclass(frozen=True, slots=True)
class LockDelay:
    """A key whose lock was lost, and until when nobody may take it. Key: the key."""

    key: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user has told the nodes. Key: ltime."""

    ltime: int  # index of the command
    id: str
    name: str
    payload: bytes = b""
    node_filter: str = ""  # regular expressions; "" is everybody
    service_filter: str = ""
    tag_filter: str = ""


@dataclass(frozen=True, slots=True)
class Coordinate:
    """Where a node is in the space of round-trip times, in seconds. Key: node."""

    node: str
    segment: str = ""
    vec: tuple[float, ...] = ()
    error: float = 0.0
    adjustment: float = 0.0
    height: float = 0.0


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A question about a service that is kept under a name. Key: id."""

    id: str
    name: str = ""  # of a template: what names begin with
    session: str = ""  # it ends with this one
    owner: str = ""  # accessor id of the token whose permissions it has; "" is its caller's
    template: bool = False
    regexp: str = ""
    definition: bytes = b""  # JSON of {"Service", "DNS", "RemoveEmptyTags"}
    indexes: Indexes = NO_INDEXES

    @property
    def is_named(self) -> bool:
        """A template without a name is the one for all names."""
        return bool(self.name) or self.template


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """Proof that a secret was given to one instance. The secret itself is not stored."""

    instance_key: str
    digest: bytes = field(repr=False)  # SHA-256 of the secret
    minted_ms: int = 0
    indexes: Indexes = NO_INDEXES


@dataclass(frozen=True, slots=True)
class LeafRecord:
    """A certificate that an instance holds."""

    serial: int
    instance_key: str
    not_after_ms: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class Revocation:
    """A certificate that peers must refuse although it has not expired."""

    serial: int
    trust_domain: str
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class CaRoot:
    """A root of a trust bundle. Exactly one of a cluster's roots is active."""

    id: str
    name: str
    trust_domain: str
    certificate_der: bytes
    serial_number: str = ""
    signing_key_id: str = ""
    not_before_ms: int = 0
    not_after_ms: int = 0
    intermediates_der: tuple[bytes, ...] = ()
    active: bool = True
    key_type: str = "ec"
    key_bits: int = 256
    indexes: Indexes = NO_INDEXES


CSR_PER_S_DEFAULT = 200  # at about 1 ms a certificate, a fifth of one core


@dataclass(frozen=True, slots=True)
class CaSettings:
    """What an operator may say about the CA. `root_ttl_ms` is of the next root."""

    leaf_ttl_ms: int = LEAF_TTL_DEFAULT // timedelta(milliseconds=1)
    root_ttl_ms: int = ROOT_TTL_DEFAULT // timedelta(milliseconds=1)
    csr_per_s_max: int = CSR_PER_S_DEFAULT  # certificate requests of all; 0 is no limit

    def with_leaf_ttl(self, leaf_ttl_ms: int) -> "CaSettings":
        return replace(self, leaf_ttl_ms=leaf_ttl_ms)


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA besides its roots. `key` is that of the active root; None before there is one."""

    settings: CaSettings = CaSettings()
    phase: Phase = Phase.EMPTY
    retire_at_ms: int = 0
    key: SealedKey | None = None
    indexes: Indexes = NO_INDEXES

    def position(self, root: CaRoot | None) -> Position:
        """What the rotation's table decides by; `root` is the one that signs."""
        ends_ms = root.not_after_ms if root else 0
        return Position(self.phase, self.settings.leaf_ttl_ms, ends_ms, self.retire_at_ms)


@dataclass(frozen=True, slots=True)
class AutopilotConfig:
    """What the leader does by itself about servers that are gone. Names and defaults are Consul's, except
    `min_quorum`, which is 0 there."""

    cleanup_dead_servers: bool = True
    last_contact_threshold_ms: int = 200  # above it, a server is not healthy
    max_trailing_logs: int = 250  # entries; further behind, a server is not healthy
    min_quorum: int = 3  # voters that clean-up leaves
    server_stabilization_ms: int = 10_000
    indexes: Indexes = NO_INDEXES


AUTOPILOT_DEFAULT = AutopilotConfig()


@dataclass(frozen=True, slots=True)
class RestorePart:
    """A part of a snapshot that is being restored. Key: part."""

    id: bytes
    part: int
    records: tuple[bytes, ...] = field(repr=False)


class ServiceEntry(NamedTuple):
    """A service instance with what its health is told by, as health/service lists it."""

    node: Node
    service: Service
    checks: tuple[Check, ...]  # the node's own first, then the instance's

    @property
    def status(self) -> str:
        return aggregate(self.checks)


NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"  # the service's id follows
"""Ids of checks by which an operator takes a node or an instance out, under Consul's names."""


def is_maintenance(check: Check) -> bool:
    """Whether this check was set by an operator, and no probe will ever change it."""
    return check.id == NODE_MAINTENANCE or check.id.startswith(SERVICE_MAINTENANCE)


def aggregate(checks: tuple[Check, ...]) -> str:
    """The worst status of all; passing when there is none."""
    worst = PASSING
    for check in checks:
        if check.status == CRITICAL:
            return CRITICAL
        if check.status == WARNING:
            worst = WARNING
    return worst

"""The frozen configuration that a sidecar serves from.

`policy.compile` builds one from the resources of the subscription; the holder swaps it whole. The
frame switch reads attributes of these objects and never asks anyone else. Two snapshots are compared
by identity: whatever was memoised against another snapshot is void.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from weft.spiffe import SpiffeId


class Balance(Enum):
    LEAST_REQUEST = "least_request"
    ROUND_ROBIN = "round_robin"


@dataclass(frozen=True, slots=True)
class Address:
    """TCP host and port, or a Unix socket when `path` is set."""

    host: str = ""
    port: int = 0
    path: str = ""
    mode: int = 0o600  # of a socket that we bind

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EjectionPolicy:
    """Passive health: when an instance leaves the pool, and for how long.

    The n-th ejection in a row lasts `min(base_s * n, max_s)`. At most `max_percent` of the pool is out
    at once, but one instance may always be ejected where the pool has more than one.
    """

    consecutive_failures: int = 5
    base_s: float = 30.0
    max_s: float = 300.0
    max_percent: int = 50


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a destination service, reached by its sidecar."""

    key: str  # "<datacenter>/<node>/<service id>"
    service_id: str
    address: Address
    weight: int = 1
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Upstream:
    """A destination that the application reaches on a local listener."""

    name: str
    listen: Address
    spiffe_id: SpiffeId  # what every instance must prove
    instances: tuple[Instance, ...] = ()
    balance: Balance = Balance.LEAST_REQUEST
    ejection: EjectionPolicy = field(default_factory=EjectionPolicy)
    connect_timeout_s: float = 5.0
    pending_max: int = 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """One intention for calls to this service. Rules are sorted by precedence, highest first."""

    id: str
    source: str  # a service name, or "*"
    trust_domain: str
    datacenter: str  # "" is any datacenter of the trust domain
    allow: bool


@dataclass(frozen=True, slots=True)
class Inbound:
    """The mTLS listener for peers and the application behind it."""

    listen: Address
    app: Address
    rules: tuple[Rule, ...] = ()
    default_allow: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one proxy must do."""

    index: int  # catalog index it stands for
    identity: SpiffeId
    instance_key: str
    inbound: Inbound
    upstreams: Mapping[str, Upstream]
    bundles: Mapping[str, tuple[bytes, ...]]  # trust domain -> roots, DER
    revoked: frozenset[tuple[str, int]] = frozenset()  # (trust domain, serial)
    signing_key_id: bytes = b""  # of the root that signs our leaves now; b"" where the registry does not say

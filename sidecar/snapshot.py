"""The frozen configuration that a sidecar serves from.

`policy.compile` builds one from the resources of the subscription; the holder swaps it whole. The
frame switch reads attributes of these objects and never asks anyone else. Two snapshots are compared
by identity: whatever was memoised against another snapshot is void.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.pb.mesh.v1 import mesh_pb2
from weft.spiffe import SpiffeId

from .admission import Admission, Permission, Requirement
from .h2.settings import HEADER_LIST_BYTES_MAX
from .traffic import (
    NOWHERE,
    Address,
    Balance,
    EjectionPolicy,
    HealthCheck,
    Instance,
    Locality,
    Protocol,
    Route,
    Split,
    Target,
    Upstream,
)

__all__ = [
    "Address",
    "AppPolicy",
    "Balance",
    "EjectionPolicy",
    "Inbound",
    "Instance",
    "Protocol",
    "Route",
    "Rule",
    "Snapshot",
    "Split",
    "Target",
    "Upstream",
]


@dataclass(frozen=True, slots=True)
class Rule:
    """One intention for calls to this service. Rules are sorted by precedence, highest first."""

    id: str
    source: str  # a service name, or "*"
    trust_domain: str
    datacenter: str  # "" is any datacenter of the trust domain
    allow: bool  # says nothing where there are permissions
    permissions: tuple[Permission, ...] = ()  # the first that matches a request decides; none: denied
    jwt: Requirement = ()  # of each request


@dataclass(frozen=True, slots=True)
class AppPolicy:
    """How the application behind the proxy is used. Times are seconds."""

    connect_timeout_s: float = 5.0
    request_timeout_s: float = 0.0  # for an answer as a whole; 0: no limit
    checks: tuple[HealthCheck, ...] = ()  # while one of them fails, peers are sent elsewhere


@dataclass(frozen=True, slots=True)
class Inbound:
    """The mTLS listener for peers and the application behind it."""

    listen: Address
    app: Address
    rules: tuple[Rule, ...] = ()
    default_allow: bool = False
    app_protocol: Protocol = Protocol.HTTP2
    parsed_only: bool = False  # rules read requests: bytes that do not parse are refused, never spliced
    admission: Admission = field(default_factory=Admission)
    app_policy: AppPolicy = AppPolicy()
    connections_max: int = 0  # from peers; 0: as many as the process takes


@dataclass(frozen=True, slots=True)
class TelemetryPolicy:
    """What is told of single requests. Shares are of 1,000,000."""

    trace_ppm: int = 0  # requests that begin a sampled trace, of those that come without one
    otlp_endpoint: str = ""  # http, https, grpc or grpcs URL; "" exports nothing
    access_log_ppm: int = 0
    access_log_errors: bool = False  # those that fail are logged all the same
    access_log_path: str = ""  # "": standard output

    @property
    def traces(self) -> bool:
        """Whether requests join traces. Where none is begun or exported they pass as they came."""
        return self.trace_ppm > 0 or self.otlp_endpoint != ""

    @property
    def logs(self) -> bool:
        return self.access_log_ppm > 0 or self.access_log_errors


@dataclass(frozen=True, slots=True)
class EgressRule:
    """Destinations outside the mesh. `host` is a name, "*." and a name, or a block of addresses."""

    name: str
    host: str
    ports: frozenset[int] = frozenset()  # empty: any


@dataclass(frozen=True, slots=True)
class Egress:
    """The forward proxy's listener, and what may be reached through it."""

    listen: Address
    rules: tuple[EgressRule, ...] = ()
    default_allow: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one proxy must do."""

    index: int  # catalog index it stands for
    identity: SpiffeId
    instance_key: str
    inbound: Inbound
    upstreams: Mapping[str, Upstream]
    targets: Mapping[str, Target]  # by id: every one that an upstream, or another target, names
    bundles: Mapping[str, tuple[bytes, ...]]  # trust domain -> roots, DER
    revoked: frozenset[tuple[str, int]] = frozenset()  # (trust domain, serial)
    telemetry: TelemetryPolicy = TelemetryPolicy()
    signing_key_id: bytes = b""  # of the root that signs our leaves now; b"" where the registry does not say
    locality: Locality = NOWHERE  # of this instance
    header_list_max: int = HEADER_LIST_BYTES_MAX  # of a request, as RFC 9113 counts it
    egress: Egress | None = None  # None: there is no forward proxy
    # What it was compiled from, by name: for those who compile it once more.
    source: Mapping[str, mesh_pb2.Resource] = field(default_factory=dict, compare=False, repr=False)
    draining: bool = False  # the registry takes this instance out, and wants to hear what is open

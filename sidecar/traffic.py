"""The frozen configuration of traffic: targets and the instances in them, routes and what they say.

Part of `sidecar.snapshot.Snapshot`; `policy` makes these from the registry's resources and has checked
every number. Times are seconds. What is 0 where that is said means "not limited" or "not used".
"""

from dataclasses import dataclass, field
from enum import Enum

from weft.spiffe import SpiffeId


class Balance(Enum):
    LEAST_REQUEST = "least_request"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    RING_HASH = "ring_hash"
    MAGLEV = "maglev"


class Protocol(Enum):
    """What the bytes of a connection are."""

    UNKNOWN = ""  # not declared: detected from the first bytes
    TCP = "tcp"
    HTTP = "http"  # HTTP/1.1, and HTTP/2 where a caller begins with its preface
    HTTP2 = "http2"
    GRPC = "grpc"


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
class Locality:
    """Where an instance is; both "" where nobody said."""

    region: str = ""
    zone: str = ""


NOWHERE = Locality()


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
    interval_s: float = 0.0  # between looks at shares of failures; 0: never
    consecutive_gateway_failures: int = 0  # HTTP 502, 503, 504, and no answer at all; 0: not counted apart
    # Success rate: below the pool's mean by more than so many standard deviations; 0: not looked at.
    success_rate_stdevs: float = 0.0
    success_rate_min_hosts: int = 5
    success_rate_min_requests: int = 100
    failure_percent: int = 0  # above so many percent in one interval; 0: not looked at
    failure_percent_min_requests: int = 50


class ProbeKind(Enum):
    GRPC = "grpc"  # grpc.health.v1; `what` names the service, "" the server as a whole
    HTTP = "http"  # GET of the path `what`; 2xx and 3xx are healthy
    TCP = "tcp"  # a connection is healthy


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Active health: what this sidecar asks each instance."""

    kind: ProbeKind
    what: str = ""
    interval_s: float = 10.0
    timeout_s: float = 5.0
    unhealthy_threshold: int = 3
    healthy_threshold: int = 2


class HashKind(Enum):
    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query_parameter"
    SOURCE = "source_address"


@dataclass(frozen=True, slots=True)
class HashInput:
    """One thing of a request that decides where it goes."""

    kind: HashKind
    name: str = ""
    terminal: bool = False  # where the request has it, later inputs are not looked at
    cookie_generate: bool = False  # a cookie is made for callers that have none
    cookie_ttl_s: int = 0  # 0: a session cookie
    cookie_path: str = ""


HashPolicy = tuple[HashInput, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a destination service, reached by its sidecar."""

    key: str  # "<datacenter>/<node>/<service id>"
    service_id: str
    address: Address
    weight: int = 1
    healthy: bool = True
    locality: Locality = NOWHERE


@dataclass(frozen=True, slots=True)
class Target:
    """A set of instances and how it is used. `id` is "[<subset>.]<service>.<ns>.<partition>.<dc>"."""

    id: str
    service: str
    spiffe_id: SpiffeId  # what every instance must prove
    subset: str = ""
    instances: tuple[Instance, ...] = ()
    balance: Balance = Balance.LEAST_REQUEST
    hash: HashPolicy = ()
    ring_size_min: int = 1024
    ring_size_max: int = 8 * 1024 * 1024
    choice_count: int = 2  # of least request
    ejection: EjectionPolicy = field(default_factory=EjectionPolicy)
    connect_timeout_s: float = 5.0
    connections_max: int = 0  # circuit breakers; 0: not limited
    pending_max: int = 1024
    requests_max: int = 0
    failover: tuple[str, ...] = ()  # target ids
    by_locality: bool = False  # instances of our zone first, then of our region, then the others
    slow_start_s: float = 0.0  # over which a new instance's share rises; 0: it has it at once
    panic_percent: int = 0  # below this share of usable instances all are used; 0: never
    health_check: HealthCheck | None = None

    @property
    def name(self) -> str:
        """For messages to callers."""
        return f"{self.subset}.{self.service}" if self.subset else self.service


class TextKind(Enum):
    PRESENT = "present"
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"  # RE2, the whole of the text


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    name: str
    kind: TextKind = TextKind.PRESENT
    text: str = ""
    invert: bool = False
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class QueryMatch:
    name: str
    kind: TextKind = TextKind.PRESENT
    text: str = ""


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """What a request must be like: all that is set must hold. `path_kind` None: any path."""

    path_kind: TextKind | None = None
    path: str = ""
    case_insensitive: bool = False
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    methods: tuple[str, ...] = ()
    grpc_service: str | None = None  # None: any, also what is no gRPC path
    grpc_method: str | None = None
    sources: tuple[str, ...] = ()  # calling services, where the caller is proven


Fields = tuple[tuple[str, str], ...]  # lower-case names and values


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """`remove`, then `set`, then `add`."""

    set: Fields = ()
    add: Fields = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)


NO_EDITS = HeaderEdits()


class RetryOn(Enum):
    """Envoy's and gRPC's words for what may be tried again."""

    CONNECT_FAILURE = "connect-failure"
    REFUSED_STREAM = "refused-stream"
    RESET = "reset"
    SERVER_ERROR = "5xx"
    GATEWAY_ERROR = "gateway-error"
    RETRIABLE_4XX = "retriable-4xx"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline-exceeded"
    INTERNAL = "internal"
    RESOURCE_EXHAUSTED = "resource-exhausted"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    attempts_max: int = 2  # the first included
    on: frozenset[RetryOn] = frozenset()
    status_codes: frozenset[int] = frozenset()  # HTTP
    per_try_s: float = 0.0  # 0: no limit of its own
    backoff_base_s: float = 0.025
    backoff_max_s: float = 0.25
    # Retries under way: at most this share of the route's other requests under way, or `budget_min`.
    budget_percent: int = 20
    budget_min: int = 3
    body_bytes_max: int = 64 * 1024  # a longer request body is not kept


@dataclass(frozen=True, slots=True)
class Mirror:
    target: str  # target id
    ppm: int  # share of requests, of 1,000,000


@dataclass(frozen=True, slots=True)
class Split:
    weight: int  # of 10,000
    target: str  # target id
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


@dataclass(frozen=True, slots=True)
class Route:
    """One rule of an upstream: what becomes of a request that it matches. Times: 0 is no limit."""

    name: str
    splits: tuple[Split, ...]
    match: HttpMatch | None = None  # None: every request
    sticky: HashPolicy = ()
    prefix_rewrite: str = ""
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS
    timeout_s: float = 0.0  # of the request as a whole, retries included
    idle_s: float = 0.0
    retry: RetryPolicy | None = None
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class Upstream:
    """A destination that the application reaches on a local listener."""

    name: str
    listen: Address
    routes: tuple[Route, ...]  # the first that matches
    default_target: str  # target id, of what has no requests
    protocol: Protocol = Protocol.HTTP2

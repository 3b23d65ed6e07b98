"""service-defaults and proxy-defaults: what holds for a service, its callers, and every proxy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from . import checks
from .entry import Entry
from .errors import InvalidEntry
from .fields import (
    duration,
    flag,
    integer,
    nested,
    number,
    objects,
    opaque,
    optional_integer,
    pattern,
    tenancy,
    text,
    unsupported,
)
from .routing import CONNECT_TIMEOUT_MS_MAX, POLICIES, PrioritizeByLocality
from .schema import refuse_unless

PROTOCOLS = ("tcp", "http", "http2", "grpc")
_ENVOY = "there is no Envoy here"
_TRANSPARENT = "applications reach upstreams on their local addresses"
_EXPOSE = "checks of other machines go to the sidecar's own port"
_MODES = ("none", "local", "remote")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshGateway:
    mode: str = text("Mode", "Kept for clusters that peer.", choices=_MODES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Circuit breakers. What is above them fails at once, and is counted."""

    max_connections: int = integer("MaxConnections", "To all instances; no limit by default.", 0, 1_000_000)
    max_pending: int = integer("MaxPendingRequests", "Waiting for a connection; 1024 by default.", 0, 65_536)
    max_requests: int = integer("MaxConcurrentRequests", "Active at once; no limit by default.", 0, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassiveHealthCheck:
    """When an instance is left out because calls to it fail."""

    interval_ms: int = duration("Interval", "Between looks at success rate and failure share.")
    max_failures: int = integer("MaxFailures", "Failures in a row; 5 by default.", 0, 10_000)
    consecutive_5xx: int = integer("Consecutive5xx", "The same, by Envoy's name.", 0, 10_000)
    consecutive_gateway: int = integer("ConsecutiveGatewayFailure", "502, 503 and 504 in a row.", 0, 10_000)
    enforcing_5xx: int | None = optional_integer("EnforcingConsecutive5xx", "0 switches it off.", 0, 100)
    enforcing_gateway: int | None = optional_integer(
        "EnforcingConsecutiveGatewayFailure", "0 switches it off.", 0, 100
    )
    max_ejection_percent: int = integer("MaxEjectionPercent", "Of the instances; 50 by default.", 0, 100)
    base_ejection_ms: int = duration(
        "BaseEjectionTime", "Times the number of ejections in a row; 30s by default."
    )
    max_ejection_ms: int = duration("MaxEjectionTime", "Never longer; 5m by default.")
    success_rate_stdev: float = number("SuccessRateStdev", "Standard deviations below the mean.", 0, 100)
    success_rate_min_hosts: int = integer(
        "SuccessRateMinHosts", "Instances with enough requests; 5.", 0, 10_000
    )
    success_rate_min_requests: int = integer("SuccessRateMinRequests", "In an interval; 100.", 0, 1_000_000)
    failure_percent: int = integer("FailurePercent", "Share of failures in an interval.", 0, 100)
    failure_percent_min_requests: int = integer(
        "FailurePercentMinRequests", "In an interval; 50.", 0, 1_000_000
    )
    panic_percent: int = integer("PanicPercent", "With fewer healthy instances, all are used.", 0, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcCheck:
    service: str = text("Service", "As grpc.health.v1 names it; the server as a whole where empty.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    path: str = text("Path", "2xx and 3xx are healthy.", check=checks.http_path)

    def check(self, path: str) -> None:
        refuse_unless(self.path, path, "Path", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveHealthCheck:
    """Asked by a sidecar. One of GRPC, HTTP, TCP."""

    interval_ms: int = duration("Interval", "10s by default.")
    timeout_ms: int = duration("Timeout", "1s by default.")
    unhealthy: int = integer("UnhealthyThreshold", "Failures in a row; 3 by default.", 0, 100)
    healthy: int = integer("HealthyThreshold", "Successes in a row; 2 by default.", 0, 100)
    grpc: GrpcCheck | None = nested("GRPC", GrpcCheck, "grpc.health.v1.")
    http: HttpCheck | None = nested("HTTP", HttpCheck, "A GET.")
    tcp: bool = flag("TCP", "A connection.")

    def check(self, path: str) -> None:
        given = (self.grpc is not None, self.http is not None, self.tcp)
        refuse_unless(sum(given) == 1, path, "", "give one of GRPC, HTTP, TCP")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig:
    """How callers use an upstream. What is 0 or absent is left to the next wider setting."""

    name: str = text("Name", "The upstream; of Overrides only.", check=checks.service_name)
    protocol: str = text("Protocol", "Detected where nobody says it.", choices=PROTOCOLS)
    connect_timeout_ms: int = integer("ConnectTimeoutMs", "Milliseconds; 5000.", 0, CONNECT_TIMEOUT_MS_MAX)
    balance: str = text("Balance", "Instead of the resolver's LoadBalancer.Policy.", choices=POLICIES)
    limits: Limits | None = nested("Limits", Limits, "Circuit breakers.")
    passive: PassiveHealthCheck | None = nested("PassiveHealthCheck", PassiveHealthCheck, "Ejection.")
    active: ActiveHealthCheck | None = nested(
        "HealthCheck", ActiveHealthCheck, "Asked by the callers' sidecars."
    )
    mesh_gateway: MeshGateway | None = nested("MeshGateway", MeshGateway, "Kept for clusters that peer.")
    namespace: None = tenancy("Namespace")
    partition: None = tenancy("Partition")
    peer: None = unsupported("Peer", "clusters do not peer yet")
    envoy_listener: None = unsupported("EnvoyListenerJSON", _ENVOY)
    envoy_cluster: None = unsupported("EnvoyClusterJSON", _ENVOY)
    balance_outbound: None = unsupported("BalanceOutboundConnections", _ENVOY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    defaults: UpstreamConfig | None = nested("Defaults", UpstreamConfig, "Of all upstreams of this service.")
    overrides: tuple[UpstreamConfig, ...] = objects("Overrides", UpstreamConfig, "By Name.", most=256)

    def check(self, path: str) -> None:
        refuse_unless(not self.defaults or not self.defaults.name, path, "Defaults.Name", "only in Overrides")
        names = [it.name for it in self.overrides]
        for at, name in enumerate(names):
            refuse_unless(name, path, f"Overrides[{at}].Name", "is missing")
            refuse_unless(name not in names[:at], path, f"Overrides[{at}].Name", f"{name!r} is there twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitRoute:
    path_exact: str = text("PathExact", "The path.", check=checks.http_path)
    path_prefix: str = text("PathPrefix", "What the path begins with.", check=checks.http_path)
    path_regex: str = pattern("PathRegex", "The whole path.")
    requests_per_second: float = number("RequestsPerSecond", "Let through.", 0, 1_000_000)
    burst: int = integer("RequestsMaxBurst", "At once; RequestsPerSecond where 0.", 0, 1_000_000)

    def check(self, path: str) -> None:
        given = (self.path_exact, self.path_prefix, self.path_regex)
        refuse_unless(sum(map(bool, given)) == 1, path, "", "give one of PathExact, PathPrefix, PathRegex")
        refuse_unless(self.requests_per_second, path, "RequestsPerSecond", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLevel:
    requests_per_second: float = number("RequestsPerSecond", "Of all requests.", 0, 1_000_000)
    burst: int = integer("RequestsMaxBurst", "At once; RequestsPerSecond where 0.", 0, 1_000_000)
    routes: tuple[RateLimitRoute, ...] = objects("Routes", RateLimitRoute, "Each beside the limit of all.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    instance_level: InstanceLevel | None = nested("InstanceLevel", InstanceLevel, "Of each instance.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefaults(Entry):
    """What holds for all instances of a service, and for its calls to others."""

    KIND: ClassVar[str] = "service-defaults"

    protocol: str = text("Protocol", "Detected from the first bytes where empty.", choices=PROTOCOLS)
    max_inbound_connections: int = integer(
        "MaxInboundConnections", "From peers, to each instance; no limit where 0.", 0, 1_000_000
    )
    local_connect_timeout_ms: int = integer("LocalConnectTimeoutMs", "To the application; 5000.", 0, 60_000)
    local_request_timeout_ms: int = integer(
        "LocalRequestTimeoutMs", "For a whole answer of the application; none where 0."
    )
    max_request_headers_kb: int = integer(
        "MaxRequestHeadersKB", "KiB, of a request; 64. Larger ones get 431.", 0, 1024
    )
    upstreams: Upstreams | None = nested("UpstreamConfig", Upstreams, "How it uses what it calls.")
    rate_limits: RateLimits | None = nested("RateLimits", RateLimits, "Requests that an instance takes.")
    health_checks: tuple[ActiveHealthCheck, ...] = objects(
        "HealthChecks", ActiveHealthCheck, "Of the application, asked by its own sidecar.", most=4
    )
    mesh_gateway: MeshGateway | None = nested(
        "MeshGateway", MeshGateway, "Kept for clusters that peer.", is_shown_empty=True
    )
    mode: None = unsupported("Mode", _TRANSPARENT)
    transparent_proxy: None = unsupported("TransparentProxy", _TRANSPARENT)
    mutual_tls: str = text("MutualTLSMode", "Always strict.", choices=("strict",))
    expose: None = unsupported("Expose", _EXPOSE)
    external_sni: None = unsupported("ExternalSNI", "terminating gateways are not there yet")
    destination: None = unsupported(
        "Destination", "terminating gateways are not there yet; see the kind egress"
    )
    balance_inbound: None = unsupported("BalanceInboundConnections", _ENVOY)
    envoy_extensions: None = unsupported("EnvoyExtensions", _ENVOY)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLogs:
    enabled: bool = flag("Enabled", "Requests are logged as lines of JSON.")
    type: str = text("Type", "Where to; `stdout` by default.", choices=("file", "stdout"))
    path: str = text("Path", "Of `file`.")
    sample_percent: float = number("SamplePercent", "Share of requests.", 0, 100, default=100.0)
    errors: bool = flag("Errors", "Those that fail always, also where Enabled is false.")
    listener_logs: None = unsupported("DisableListenerLogs", _ENVOY)
    json_format: None = unsupported("JSONFormat", "the fields are fixed")
    text_format: None = unsupported("TextFormat", "the fields are fixed")

    def check(self, path: str) -> None:
        refuse_unless(bool(self.path) == (self.type == "file"), path, "Path", "goes with Type file")
        absolute = not self.path or (self.path.startswith("/") and "\0" not in self.path)
        refuse_unless(absolute and len(self.path.encode()) <= 1024, path, "Path", "must be an absolute path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    sample_percent: float = number("SamplePercent", "Share of requests that begin a sampled trace.", 0, 100)
    endpoint: str = text("OTLPEndpoint", "`http://host:4318` or `grpc://host:4317`.", check=checks.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyDefaults(Entry):
    """What holds for every proxy of the mesh."""

    KIND: ClassVar[str] = "proxy-defaults"
    ONLY_NAME: ClassVar[str] = "global"

    config: Mapping[str, object] = opaque(
        "Config",
        "Defaults of every proxy's and upstream's Config; `protocol` is that of services without one.",
    )
    access_logs: AccessLogs | None = nested("AccessLogs", AccessLogs, "Of every sidecar.")
    tracing: Tracing | None = nested("Tracing", Tracing, "Of every sidecar.")
    locality: PrioritizeByLocality | None = nested(
        "PrioritizeByLocality", PrioritizeByLocality, "Of services whose resolver says nothing."
    )
    mesh_gateway: MeshGateway | None = nested(
        "MeshGateway", MeshGateway, "Kept for clusters that peer.", is_shown_empty=True
    )
    mode: None = unsupported("Mode", _TRANSPARENT)
    transparent_proxy: None = unsupported("TransparentProxy", _TRANSPARENT)
    mutual_tls: str = text("MutualTLSMode", "Always strict.", choices=("strict",))
    expose: None = unsupported("Expose", _EXPOSE)
    envoy_extensions: None = unsupported("EnvoyExtensions", _ENVOY)
    failover_policy: None = unsupported("FailoverPolicy", "fail-over goes by the order of the list")

    def check(self, path: str) -> None:
        said = self.said_protocol
        refuse_unless(
            not said or said in PROTOCOLS,
            path,
            "Config.protocol",
            f"{said[:40]!r} is none of {', '.join(PROTOCOLS)}",
        )

    @property
    def said_protocol(self) -> str:
        """Of services that declare none."""
        found = self.config.get("protocol") or self.config.get("Protocol") or ""
        if not isinstance(found, str):
            raise InvalidEntry("Config.protocol", "must be a string")
        return found.lower()

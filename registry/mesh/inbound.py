"""What a proxy does with calls to its service: intentions, limits, faults, reading of paths, telemetry."""

from weft.pb.mesh.v1 import mesh_pb2 as pb

from ..catalog.experiments import rule_of, running
from ..catalog.model import WILDCARD, Cluster
from ..catalog.state import State
from ..config_entries.inbound import FaultRule, RateLimitRule, ServiceFaults, ServiceRateLimits
from ..config_entries.matching import JwtRequirement
from ..config_entries.mesh_wide import Egress, JwtProvider, Mesh, decoded_jwks
from ..config_entries.service_defaults import ProxyDefaults, RateLimits, ServiceDefaults
from ..config_entries.service_intentions import providers_of
from ..intentions.match import match_destination
from ..intentions.precedence import precedence
from .matching import health_check, jwt_of, match_of, permission_of, ppm

_SLASHES = {
    "KEEP_UNCHANGED": pb.PathNormalization.ESCAPED_SLASHES_KEEP,
    "REJECT_REQUEST": pb.PathNormalization.ESCAPED_SLASHES_REJECT,
    "UNESCAPE_AND_FORWARD": pb.PathNormalization.ESCAPED_SLASHES_UNESCAPE,
}
_UNDERSCORES = {
    "ALLOW": pb.PathNormalization.UNDERSCORED_HEADERS_ALLOW,
    "REJECT_REQUEST": pb.PathNormalization.UNDERSCORED_HEADERS_REJECT,
    "DROP_HEADER": pb.PathNormalization.UNDERSCORED_HEADERS_DROP,
}
_UNSAID_SLASHES = pb.PathNormalization.ESCAPED_SLASHES_UNSPECIFIED
_UNSAID_UNDERSCORES = pb.PathNormalization.UNDERSCORED_HEADERS_UNSPECIFIED
_DISTRIBUTIONS = {
    "uniform": pb.Fault.DISTRIBUTION_UNIFORM,
    "normal": pb.Fault.DISTRIBUTION_NORMAL,
    "exponential": pb.Fault.DISTRIBUTION_EXPONENTIAL,
}
PROTOCOLS = {
    "": pb.PROTOCOL_UNSPECIFIED,
    "tcp": pb.PROTOCOL_TCP,
    "http": pb.PROTOCOL_HTTP,
    "http2": pb.PROTOCOL_HTTP2,
    "grpc": pb.PROTOCOL_GRPC,
}
EGRESS_ADDRESS = "127.0.0.1"


def entries_of(service: str) -> list[tuple[str, str]]:
    """Kinds and names of the entries that `settle` and `normalization` read."""
    return [
        (ServiceDefaults.KIND, service),
        (ServiceRateLimits.KIND, service),
        (ServiceFaults.KIND, service),
        (ProxyDefaults.KIND, ProxyDefaults.ONLY_NAME),
        (Mesh.KIND, Mesh.ONLY_NAME),
        (Egress.KIND, Egress.ONLY_NAME),
    ]


def settle(proxy: pb.Proxy, state: State, service: str) -> None:
    """Fills in what config entries say about the proxies of a service."""
    own = state.config(ServiceDefaults.KIND, service)
    if isinstance(own, ServiceDefaults):
        proxy.max_inbound_connections = own.max_inbound_connections
        proxy.local_connect_timeout_ms = own.local_connect_timeout_ms
        proxy.local_request_timeout_ms = own.local_request_timeout_ms
        proxy.max_request_headers_kb = own.max_request_headers_kb
        proxy.app_checks.extend(filter(None, map(health_check, own.health_checks)))
        proxy.rate_limits.extend(_instance_level(own.rate_limits))
    limits, faults = state.config(ServiceRateLimits.KIND, service), state.config(ServiceFaults.KIND, service)
    if isinstance(limits, ServiceRateLimits):
        proxy.rate_limits.extend(map(_limit, limits.limits))
    if isinstance(faults, ServiceFaults):
        proxy.faults.extend(map(_fault, faults.faults))
    proxy.faults.extend(_fault(rule_of(row.fault)) for row in running(state, service))
    _settle_mesh(proxy, state)


def _settle_mesh(proxy: pb.Proxy, state: State) -> None:
    mesh, shared = (
        state.config(Mesh.KIND, Mesh.ONLY_NAME),
        state.config(ProxyDefaults.KIND, ProxyDefaults.ONLY_NAME),
    )
    if isinstance(mesh, Mesh) and mesh.http and mesh.http.incoming and mesh.http.incoming.normalization:
        said = mesh.http.incoming.normalization
        proxy.normalization.CopyFrom(
            pb.PathNormalization(
                disabled=said.disabled,
                merge_slashes=said.merge_slashes,
                escaped_slashes=_SLASHES.get(said.escaped_slashes, _UNSAID_SLASHES),
                underscored_headers=_UNDERSCORES.get(said.underscores, _UNSAID_UNDERSCORES),
            )
        )
    if isinstance(shared, ProxyDefaults) and (shared.access_logs or shared.tracing):
        proxy.telemetry.CopyFrom(_telemetry(shared))


def _telemetry(shared: ProxyDefaults) -> pb.Telemetry:
    logs, tracing = shared.access_logs, shared.tracing
    made = pb.Telemetry()
    if tracing:
        made.trace_ppm, made.otlp_endpoint = ppm(tracing.sample_percent), tracing.endpoint
    if logs:
        made.access_log_ppm = ppm(logs.sample_percent) if logs.enabled else 0
        made.access_log_errors, made.access_log_path = logs.errors, logs.path
    return made


def _limit(rule: RateLimitRule) -> pb.RateLimit:
    return pb.RateLimit(
        name=rule.name,
        match=match_of(rule.match),
        requests_per_second=rule.requests_per_second,
        burst=rule.burst or _burst(rule.requests_per_second),
        per_caller=rule.per_caller,
    )


def _burst(per_second: float) -> int:
    """One second's worth, at least one request."""
    return max(1, round(per_second))


def _instance_level(said: RateLimits | None) -> list[pb.RateLimit]:
    level = said.instance_level if said else None
    if level is None:
        return []
    made = []
    if level.requests_per_second:
        rate = level.requests_per_second
        made.append(
            pb.RateLimit(name="instance", requests_per_second=rate, burst=level.burst or _burst(rate))
        )
    for at, route in enumerate(level.routes):
        match = pb.HttpMatch()
        for name in ("path_exact", "path_prefix", "path_regex"):
            if value := getattr(route, name):
                setattr(match, name, value)
        rate = route.requests_per_second
        made.append(
            pb.RateLimit(
                name=f"instance/{at}",
                match=match,
                requests_per_second=rate,
                burst=route.burst or _burst(rate),
            )
        )
    return made


def _fault(rule: FaultRule) -> pb.Fault:
    made = pb.Fault(
        name=rule.name,
        match=match_of(rule.match),
        ppm=ppm(rule.percent),
        bytes_per_second=rule.bytes_per_second,
        reset=rule.reset,
        ends_unix_ms=rule.ends_unix_ms,
    )
    if rule.abort:
        made.abort.http_status, made.abort.grpc_status = rule.abort.http_status, rule.abort.grpc_status
    if said := rule.delay:
        made.delay.CopyFrom(
            pb.Fault.Delay(
                fixed_ms=said.fixed_ms,
                distribution=_DISTRIBUTIONS.get(said.distribution, pb.Fault.DISTRIBUTION_UNSPECIFIED),
                mean_ms=said.mean_ms,
                deviation_ms=said.deviation_ms,
                least_ms=said.least_ms,
                most_ms=said.most_ms,
            )
        )
    return made


# Intentions


def intentions_of(state: State, cluster: Cluster, service: str, default_allow: bool) -> pb.Intentions:
    """What the entry of a rule's destination asks of tokens holds for the rule."""
    rules = []
    for row in match_destination(state, service).rows:
        defaults = state.intention_defaults.get((row.destination,))
        rules.append(
            pb.Intentions.Rule(
                id=row.id,
                source=row.source,
                source_trust_domain=cluster.trust_domain,
                allow=row.allow,
                precedence=precedence(row),
                permissions=map(permission_of, row.permissions),
                jwt=jwt_of(defaults.jwt) if defaults else None,
            )
        )
    return pb.Intentions(rules=rules, default_allow=default_allow, jwt=jwt_of(_asked_of_all(state, service)))


def _asked_of_all(state: State, service: str) -> JwtRequirement | None:
    """What the service's own entry asks, and else the one for all services: also of callers that no rule
    matches, where the default lets them in."""
    found = state.intention_defaults.get((service,)) or state.intention_defaults.get((WILDCARD,))
    return found.jwt if found else None


def providers_named(state: State, service: str) -> list[str]:
    """JWT providers that the service's intentions need."""
    names: set[str] = set()
    for row in match_destination(state, service).rows:
        defaults = state.intention_defaults.get((row.destination,))
        names |= providers_of(row.permissions, defaults.jwt if defaults else None)
    names |= providers_of((), _asked_of_all(state, service))
    return sorted(names)


def jwt_provider(entry: JwtProvider) -> pb.JwtProvider:
    made = pb.JwtProvider(
        name=entry.name, issuer=entry.issuer, audiences=entry.audiences, clock_skew_s=entry.clock_skew_s
    )
    if entry.forwarding:
        made.forward_header = entry.forwarding.header.lower()
        made.pad_forward_header = entry.forwarding.pad
    if entry.keys and entry.keys.local:
        made.jwks = decoded_jwks(entry.keys.local.jwks)
    if entry.keys and (remote := entry.keys.remote):
        made.remote.CopyFrom(
            pb.JwtProvider.RemoteJwks(
                uri=remote.uri,
                request_timeout_ms=remote.request_timeout_ms,
                cache_ms=remote.cache_ms,
                retries=remote.retry.retries if remote.retry else 0,
            )
        )
    for it in entry.locations:
        location = made.locations.add()
        if it.header:
            location.header.name = it.header.name.lower()
            location.header.value_prefix = it.header.value_prefix
            location.header.forward = it.header.forward
        elif it.query:
            location.query_parameter = it.query.name
        elif it.cookie:
            location.cookie = it.cookie.name
    return made


def egress_of(entry: Egress, bind_address: str, bind_port: int) -> pb.Egress:
    """The registration's word on the listener goes first: proxies of one machine share its ports."""
    made = pb.Egress(
        bind_address=bind_address or entry.bind_address or EGRESS_ADDRESS,
        bind_port=bind_port or entry.bind_port,
        default_allow=entry.default_allow,
    )
    for rule in entry.rules:
        for host in rule.hosts:
            made.rules.add(name=rule.name, host=host, ports=rule.ports)
    return made

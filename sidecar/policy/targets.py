"""Sans-IO. One target with its endpoints becomes the snapshot's `Target`.

Numbers that are 0 on the wire were not set (proto3) and take the default written in `sidecar.traffic`.
"""

from weft.pb.mesh.v1 import mesh_pb2

from ..errors import InvalidResource
from ..traffic import (
    NOWHERE,
    Balance,
    EjectionPolicy,
    HashInput,
    HashKind,
    HashPolicy,
    HealthCheck,
    Instance,
    Locality,
    ProbeKind,
    Target,
)
from .fields import check_count, check_key, identity_of, peer_address
from .match import header_name
from .numbers import PERCENT_MAX, number, seconds

ENDPOINTS_MAX = 10_000  # instances of one service; each holds at least one connection when in use
WEIGHT_MAX = 65535  # as Consul bounds it
CONNECTIONS_MAX = 1_000_000  # circuit breakers: a larger number limits nothing
PENDING_MAX = 65536  # requests in one queue, each holding up to its body's bound
CONNECT_TIMEOUT_MS_MAX = 60_000  # longer than any SYN retry that still makes sense
EJECTION_MS_MAX = 24 * 3600 * 1000
FAILURES_MAX = 10_000
REQUESTS_MAX = 1_000_000  # that a rate is taken of
RING_SIZE_MAX = 8 * 1024 * 1024  # as Envoy bounds it; what is built is bounded by the balancer
CHOICES_MAX = 100  # of least request; more is looking at all
FAILOVER_MAX = 32  # targets
HASH_INPUTS_MAX = 16
COOKIE_TTL_S_MAX = 10 * 365 * 86400
SLOW_START_MS_MAX = 3600 * 1000
PROBE_MS_MAX = 3600 * 1000
PROBE_THRESHOLD_MAX = 1000
NAME_BYTES_MAX = 256
SERVICE_NAME_BYTES_MAX = 127  # of a gRPC service that is asked for its health

_BALANCES: dict[int, Balance] = {
    mesh_pb2.Target.BALANCE_UNSPECIFIED: Balance.LEAST_REQUEST,
    mesh_pb2.Target.BALANCE_LEAST_REQUEST: Balance.LEAST_REQUEST,
    mesh_pb2.Target.BALANCE_ROUND_ROBIN: Balance.ROUND_ROBIN,
    mesh_pb2.Target.BALANCE_RANDOM: Balance.RANDOM,
    mesh_pb2.Target.BALANCE_RING_HASH: Balance.RING_HASH,
    mesh_pb2.Target.BALANCE_MAGLEV: Balance.MAGLEV,
}
_DEFAULT = EjectionPolicy()
_CONNECT_TIMEOUT_S = 5.0
_PENDING = 1024
_RING = 1024


def target_of(name: str, target: mesh_pb2.Target, endpoints: mesh_pb2.Endpoints) -> Target:
    """Raises InvalidResource."""
    resource = f"target/{name}"
    if target.id != name:
        raise InvalidResource(resource, f"is of target {target.id[:80]!r}")
    identity = identity_of(resource, target.spiffe_id)
    said = (target.service, target.datacenter, target.trust_domain)
    if (identity.service, identity.datacenter, identity.trust_domain) != said:
        raise InvalidResource(resource, f"SPIFFE id {identity} is not that of {'/'.join(said)[:200]!r}")
    if target.balance not in _BALANCES:
        raise InvalidResource(resource, f"balance {target.balance} is unknown to this version")
    check_count(resource, "fail-over targets", len(target.failover), FAILOVER_MAX)
    ring_min = number(resource, "ring_size_min", target.ring_size_min, _RING, RING_SIZE_MAX)
    ring_max = number(resource, "ring_size_max", target.ring_size_max, RING_SIZE_MAX, RING_SIZE_MAX)
    if ring_min > ring_max:
        raise InvalidResource(resource, f"ring_size_min {ring_min} is over ring_size_max {ring_max}")
    return Target(
        id=target.id,
        service=target.service,
        spiffe_id=identity,
        subset=target.subset,
        instances=_instances(f"endpoints/{name}", endpoints),
        balance=_BALANCES[target.balance],
        hash=hash_policy(resource, target.hash),
        ring_size_min=ring_min,
        ring_size_max=ring_max,
        choice_count=max(2, number(resource, "choice_count", target.choice_count, 2, CHOICES_MAX)),
        ejection=_ejection(resource, target.ejection),
        connect_timeout_s=seconds(
            resource, "connect_timeout_ms", target.connect_timeout_ms, _CONNECT_TIMEOUT_S,
            CONNECT_TIMEOUT_MS_MAX,
        ),
        connections_max=number(resource, "max_connections", target.max_connections, 0, CONNECTIONS_MAX),
        pending_max=number(
            resource, "max_pending_requests", target.max_pending_requests, _PENDING, PENDING_MAX
        ),
        requests_max=number(resource, "max_requests", target.max_requests, 0, CONNECTIONS_MAX),
        failover=tuple(dict.fromkeys(it for it in target.failover if it != target.id)),
        by_locality=target.prioritize_by_locality,
        slow_start_s=seconds(resource, "slow_start_ms", target.slow_start_ms, 0.0, SLOW_START_MS_MAX),
        panic_percent=number(resource, "panic_percent", target.panic_percent, 0, PERCENT_MAX),
        health_check=health_check_of(resource, target.health_check)
        if target.HasField("health_check")
        else None,
    )  # fmt: skip


def hash_policy(resource: str, policy: mesh_pb2.HashPolicy) -> HashPolicy:
    """Raises InvalidResource."""
    check_count(resource, "inputs of a hash", len(policy.inputs), HASH_INPUTS_MAX)
    return tuple(_hash_input(resource, it) for it in policy.inputs)


def _hash_input(resource: str, said: mesh_pb2.HashPolicy.Input) -> HashInput:
    kind = said.WhichOneof("kind")
    if kind is None or (kind == "source_address" and not said.source_address):
        raise InvalidResource(resource, "has an input of a hash that names nothing")
    name = "" if kind == "source_address" else str(getattr(said, kind))
    if kind == "header":
        name = header_name(resource, name)
    elif kind != "source_address" and not 0 < len(name.encode()) <= NAME_BYTES_MAX:
        raise InvalidResource(resource, f"{kind} of a hash has a name of 0 or over {NAME_BYTES_MAX} bytes")
    if kind == "cookie" and not _is_cookie_name(name):
        raise InvalidResource(resource, f"{name[:80]!r} cannot be the name of a cookie")
    if not all(0x20 < ord(char) < 0x7F and char != ";" for char in said.cookie_path[:NAME_BYTES_MAX]):
        raise InvalidResource(resource, "cookie_path has a character that no cookie's path may have")
    return HashInput(
        kind=HashKind(kind),
        name=name,
        terminal=said.terminal,
        cookie_generate=said.cookie_generate,
        cookie_ttl_s=number(resource, "cookie_ttl_s", said.cookie_ttl_s, 0, COOKIE_TTL_S_MAX),
        cookie_path=said.cookie_path[:NAME_BYTES_MAX],
    )


def _is_cookie_name(name: str) -> bool:
    """RFC 6265 section 4.1.1: a token."""
    return all(0x20 < ord(char) < 0x7F and char not in '()<>@,;:\\"/[]?={}' for char in name)


def _instances(resource: str, endpoints: mesh_pb2.Endpoints) -> tuple[Instance, ...]:
    check_count(resource, "endpoints", len(endpoints.endpoints), ENDPOINTS_MAX)
    instances = tuple(_instance(resource, endpoint) for endpoint in endpoints.endpoints)
    if len({instance.key for instance in instances}) != len(instances):
        raise InvalidResource(resource, "names one instance twice")
    return instances


def _instance(resource: str, endpoint: mesh_pb2.Endpoint) -> Instance:
    check_key(resource, endpoint.instance_key)
    return Instance(
        key=endpoint.instance_key,
        service_id=endpoint.service_id,
        address=peer_address(resource, endpoint.address, endpoint.port),
        weight=number(resource, "weight", endpoint.weight, 1, WEIGHT_MAX),
        healthy=endpoint.healthy,
        locality=locality_of(endpoint.locality),
    )


def locality_of(locality: mesh_pb2.Locality) -> Locality:
    if not locality.region and not locality.zone:
        return NOWHERE
    return Locality(locality.region, locality.zone)


def _ejection(resource: str, said: mesh_pb2.Ejection) -> EjectionPolicy:
    def count(field: str, default: int, most: int = FAILURES_MAX) -> int:
        return number(resource, field, getattr(said, field), default, most)

    def time_s(field: str, default_s: float) -> float:
        return seconds(resource, field, getattr(said, field), default_s, EJECTION_MS_MAX)

    base_s = time_s("base_ejection_ms", _DEFAULT.base_s)
    return EjectionPolicy(
        consecutive_failures=count("consecutive_failures", _DEFAULT.consecutive_failures),
        base_s=base_s,
        max_s=max(base_s, time_s("max_ejection_ms", _DEFAULT.max_s)),
        max_percent=count("max_ejection_percent", _DEFAULT.max_percent, PERCENT_MAX),
        interval_s=time_s("interval_ms", 0.0),
        consecutive_gateway_failures=count("consecutive_gateway_failures", 0),
        success_rate_stdevs=count("success_rate_stdev_milli", 0, 1_000_000) / 1000,
        success_rate_min_hosts=count("success_rate_min_hosts", _DEFAULT.success_rate_min_hosts),
        success_rate_min_requests=count(
            "success_rate_min_requests", _DEFAULT.success_rate_min_requests, REQUESTS_MAX
        ),
        failure_percent=count("failure_percent", 0, PERCENT_MAX),
        failure_percent_min_requests=count(
            "failure_percent_min_requests", _DEFAULT.failure_percent_min_requests, REQUESTS_MAX
        ),
    )


def health_check_of(resource: str, said: mesh_pb2.HealthCheck) -> HealthCheck:
    """Raises InvalidResource."""
    kind = said.WhichOneof("kind")
    if kind is None:
        raise InvalidResource(resource, "health_check does not say what to ask")
    path = said.http_path
    if kind == "http_path" and (not path.startswith("/") or not path.isascii() or not path.isprintable()):
        raise InvalidResource(resource, f"health_check path {path[:80]!r} is not an absolute path")
    if len(said.grpc_service.encode()) > SERVICE_NAME_BYTES_MAX:
        raise InvalidResource(resource, f"health_check service is over {SERVICE_NAME_BYTES_MAX} bytes")
    probe = HealthCheck(ProbeKind(kind.partition("_")[0]))
    return HealthCheck(
        kind=probe.kind,
        what="" if kind == "tcp" else str(getattr(said, kind)),
        interval_s=seconds(resource, "interval_ms", said.interval_ms, probe.interval_s, PROBE_MS_MAX),
        timeout_s=seconds(resource, "timeout_ms", said.timeout_ms, probe.timeout_s, PROBE_MS_MAX),
        unhealthy_threshold=number(
            resource, "unhealthy_threshold", said.unhealthy_threshold, probe.unhealthy_threshold,
            PROBE_THRESHOLD_MAX,
        ),
        healthy_threshold=number(
            resource, "healthy_threshold", said.healthy_threshold, probe.healthy_threshold,
            PROBE_THRESHOLD_MAX,
        ),
    )  # fmt: skip

"""Sans-IO. One upstream with its endpoints becomes the snapshot's `Upstream`.

Numbers that are 0 on the wire were not set (proto3) and take the default written in `sidecar.snapshot`.
"""

from weft.pb.mesh.v1 import mesh_pb2

from ..errors import InvalidResource
from ..snapshot import Address, Balance, EjectionPolicy, Instance, Upstream
from .fields import check_count, check_key, identity_of, listen_address, peer_address, socket_address

ENDPOINTS_MAX = 10_000  # instances of one service; each holds at least one connection when in use
WEIGHT_MAX = 65535  # as Consul bounds it
PENDING_MAX = 65536  # requests in one queue, each holding up to its body's bound
CONNECT_TIMEOUT_MS_MAX = 60_000  # longer than any SYN retry that still makes sense
EJECTION_MS_MAX = 24 * 3600 * 1000
FAILURES_MAX = 10_000

_BALANCES: dict[int, Balance] = {
    mesh_pb2.Upstream.BALANCE_UNSPECIFIED: Balance.LEAST_REQUEST,
    mesh_pb2.Upstream.BALANCE_LEAST_REQUEST: Balance.LEAST_REQUEST,
    mesh_pb2.Upstream.BALANCE_ROUND_ROBIN: Balance.ROUND_ROBIN,
}
_DEFAULT = EjectionPolicy()
_CONNECT_TIMEOUT_MS = 5_000
_PENDING = 1024


def upstream_of(name: str, upstream: mesh_pb2.Upstream, endpoints: mesh_pb2.Endpoints) -> Upstream:
    """Raises InvalidResource."""
    resource = f"upstream/{name}"
    identity = identity_of(resource, upstream.spiffe_id)
    said = (upstream.name, upstream.datacenter, upstream.trust_domain)
    if (identity.service, identity.datacenter, identity.trust_domain) != said:
        raise InvalidResource(resource, f"SPIFFE id {identity} is not that of {'/'.join(said)[:200]!r}")
    if upstream.balance not in _BALANCES:
        raise InvalidResource(resource, f"balance {upstream.balance} is unknown to this version")
    return Upstream(
        name=upstream.name,
        listen=_listen(resource, upstream),
        spiffe_id=identity,
        instances=_instances(f"endpoints/{name}", endpoints),
        balance=_BALANCES[upstream.balance],
        ejection=_ejection(resource, upstream.ejection),
        connect_timeout_s=_number(
            resource, "connect_timeout_ms", upstream.connect_timeout_ms, _CONNECT_TIMEOUT_MS,
            CONNECT_TIMEOUT_MS_MAX,
        ) / 1000,
        pending_max=_number(
            resource, "max_pending_requests", upstream.max_pending_requests, _PENDING, PENDING_MAX
        ),
    )  # fmt: skip


def _listen(resource: str, upstream: mesh_pb2.Upstream) -> Address:
    if upstream.bind_socket_path:
        return socket_address(resource, upstream.bind_socket_path, upstream.bind_socket_mode)
    return listen_address(resource, upstream.bind_address, upstream.bind_port)


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
        weight=_number(resource, "weight", endpoint.weight, 1, WEIGHT_MAX),
        healthy=endpoint.healthy,
    )


def _ejection(resource: str, ejection: mesh_pb2.Ejection) -> EjectionPolicy:
    base_ms = _number(
        resource, "base_ejection_ms", ejection.base_ejection_ms, int(_DEFAULT.base_s * 1000), EJECTION_MS_MAX
    )
    max_ms = _number(
        resource, "max_ejection_ms", ejection.max_ejection_ms, int(_DEFAULT.max_s * 1000), EJECTION_MS_MAX
    )
    return EjectionPolicy(
        consecutive_failures=_number(
            resource, "consecutive_failures", ejection.consecutive_failures,
            _DEFAULT.consecutive_failures, FAILURES_MAX,
        ),
        base_s=base_ms / 1000,
        max_s=max(base_ms, max_ms) / 1000,
        max_percent=_number(
            resource, "max_ejection_percent", ejection.max_ejection_percent, _DEFAULT.max_percent, 100
        ),
    )  # fmt: skip


def _number(resource: str, field: str, value: int, default: int, value_max: int) -> int:
    if value > value_max:
        raise InvalidResource(resource, f"{field} {value} is over {value_max}")
    return value or default

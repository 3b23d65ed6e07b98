"""What one proxy must do, from the catalog: the only place where that is worked out.

Pure. Resources are named and versioned by their content, so equal content is never sent twice and the
order in which the catalog changed does not show.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from weft.pb.mesh.v1 import mesh_pb2 as pb
from weft.spiffe import SpiffeId

from ..catalog import codec, watches
from ..catalog.model import CONNECT_PROXY, Cluster, Proxy, Service, Upstream
from ..catalog.proxy_config import read_proxy, read_upstream
from ..catalog.rules import bind_address, is_ip
from ..catalog.state import State
from ..catalog.watches import WatchKey
from ..errors import NotFound
from ..intentions.match import match_destination
from ..intentions.precedence import precedence
from .endpoints import endpoints

_VERSION_CHARS = 16  # 64 bits of SHA-256: versions of one resource are compared, not versions of all


_ANY_ADDRESS = "0.0.0.0"  # where the registered address is a name: a listener needs an IP address


@dataclass(frozen=True, slots=True)
class Settings:
    """What compiling depends on besides the catalog."""

    default_allow: bool  # when no intention matches


def compile_proxy(state: State, instance_key: str, settings: Settings) -> dict[str, pb.Resource]:
    """Resource name -> resource, for the sidecar of an instance.

    The key may name the application's instance or its proxy. Raises NotFound when neither is registered
    as part of the mesh, or the cluster is not set up.
    """
    row, cluster = _proxy_of(state, instance_key), state.cluster
    if not row or not row.proxy or not cluster:
        raise NotFound(
            f"instance {instance_key[:128]!r} has no sidecar; register it with Connect.SidecarService"
        )
    bodies = {
        "proxy": _proxy(state, cluster, instance_key, row, row.proxy),
        "intentions": _intentions(state, cluster, row.proxy.destination_service, settings),
        "revocations": _revocations(state),
        **_bundles(state),
    }
    for upstream in row.proxy.upstreams:
        bodies[f"upstream/{upstream.destination_name}"] = _upstream(cluster, upstream)
        found = endpoints(state, upstream.destination_name)
        bodies[f"endpoints/{upstream.destination_name}"] = pb.Resource(endpoints=found)
    return {name: _named(name, body) for name, body in bodies.items()}


def depends(state: State, instance_key: str) -> frozenset[WatchKey]:
    """All that `compile_proxy` reads: it need not run again before one of these moves.

    The set itself changes only when one of its members moves.
    """
    keys = {watches.instance(instance_key), watches.ROOTS, watches.REVOCATIONS}
    proxy = _proxy_of(state, instance_key)
    row = state.instance(instance_key).rows
    if row and row.kind != CONNECT_PROXY:
        keys.add(watches.connect(row.name))  # where its proxy appears
    if not proxy or not proxy.proxy:
        return frozenset(keys)
    keys.add(watches.instance(proxy.instance_key))
    keys.update(match_destination(state, proxy.proxy.destination_service).keys)
    for upstream in proxy.proxy.upstreams:
        keys |= {watches.connect(upstream.destination_name), watches.service(upstream.destination_name)}
    return frozenset(keys)


def _proxy_of(state: State, instance_key: str) -> Service | None:
    row = state.instance(instance_key).rows
    if row is None or row.kind == CONNECT_PROXY:
        return row
    return next(state.sidecars_of(row), None)


def _named(name: str, body: pb.Resource) -> pb.Resource:
    body.name = name
    digest = hashlib.sha256(body.SerializeToString(deterministic=True))
    body.version = digest.hexdigest()[:_VERSION_CHARS]
    return body


def _spiffe_id(cluster: Cluster, service: str) -> str:
    return SpiffeId(cluster.trust_domain, cluster.datacenter, service).uri


def _proxy(state: State, cluster: Cluster, instance_key: str, row: Service, proxy: Proxy) -> pb.Resource:
    node = state.nodes.get((row.node,))
    settings = read_proxy(proxy.config_json, "Proxy.Config")
    reached_at = row.address or (node.address if node else "")
    return pb.Resource(
        proxy=pb.Proxy(
            instance_key=instance_key,
            service=proxy.destination_service,
            service_id=proxy.destination_service_id or row.id,
            datacenter=cluster.datacenter,
            trust_domain=cluster.trust_domain,
            spiffe_id=_spiffe_id(cluster, proxy.destination_service),
            public_address=settings.bind_address or (reached_at if is_ip(reached_at) else _ANY_ADDRESS),
            public_port=settings.bind_port or row.port,
            app_address=proxy.local_address or "127.0.0.1",
            app_port=proxy.local_port,
            app_socket_path=proxy.local_socket_path,
            protocol=settings.protocol,
        )
    )


def _bundles(state: State) -> Mapping[str, pb.Resource]:
    """One per trust domain; the roots in the order of their ids."""
    found: dict[str, list[bytes]] = {}
    for row in state.roots.values():
        found.setdefault(row.trust_domain, []).append(row.certificate_der)
    return {
        f"bundle/{domain}": pb.Resource(bundle=pb.TrustBundle(trust_domain=domain, roots_der=roots))
        for domain, roots in sorted(found.items())
    }


def _intentions(state: State, cluster: Cluster, service: str, settings: Settings) -> pb.Resource:
    rules = [
        pb.Intentions.Rule(
            id=row.id,
            source=row.source,
            source_trust_domain=cluster.trust_domain,
            allow=row.allow,
            precedence=precedence(row),
        )
        for row in match_destination(state, service).rows
    ]
    return pb.Resource(intentions=pb.Intentions(rules=rules, default_allow=settings.default_allow))


def _revocations(state: State) -> pb.Resource:
    leaves = [
        pb.Revocations.Leaf(
            serial=codec.serial_bytes(row.serial),
            trust_domain=row.trust_domain,
            not_after_unix_s=-(-row.not_after_ms // 1000),
        )
        for row in state.revocations.values()
    ]
    return pb.Resource(revocations=pb.Revocations(leaves=leaves))


_BALANCE = {
    "least_request": pb.Upstream.BALANCE_LEAST_REQUEST,
    "round_robin": pb.Upstream.BALANCE_ROUND_ROBIN,
}


def _upstream(cluster: Cluster, row: Upstream) -> pb.Resource:
    settings = read_upstream(row.config_json, "Config")
    has_socket = bool(row.local_bind_socket_path)
    return pb.Resource(
        upstream=pb.Upstream(
            name=row.destination_name,
            datacenter=cluster.datacenter,
            trust_domain=cluster.trust_domain,
            bind_address="" if has_socket else bind_address(row),
            bind_port=row.local_bind_port,
            bind_socket_path=row.local_bind_socket_path,
            bind_socket_mode=int(row.local_bind_socket_mode or "600", 8) if has_socket else 0,
            spiffe_id=_spiffe_id(cluster, row.destination_name),
            balance=_BALANCE[settings.balance],
            connect_timeout_ms=settings.connect_timeout_ms,
            ejection=pb.Ejection(
                consecutive_failures=settings.ejection_failures,
                base_ejection_ms=settings.ejection_base_ms,
                max_ejection_ms=settings.ejection_max_ms,
                max_ejection_percent=settings.ejection_percent,
            ),
            max_pending_requests=settings.pending_max,
        )
    )

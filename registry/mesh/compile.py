"""What one proxy must do, from the catalog: the only place where that is worked out.

Pure, but for a memo. Resources are named and versioned by their content, so equal content is never sent
twice and the order in which the catalog changed does not show.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from weft.pb.mesh.v1 import mesh_pb2 as pb
from weft.spiffe import SpiffeId

from ..catalog import codec, watches
from ..catalog.model import CONNECT_PROXY, Cluster, Node, Proxy, Service, Upstream
from ..catalog.proxy_config import UpstreamSettings, read_proxy, read_upstream
from ..catalog.rules import bind_address, is_ip
from ..catalog.state import State
from ..catalog.watches import WatchKey
from ..errors import NotFound
from ..intentions.match import match_destination
from ..intentions.precedence import precedence
from .endpoints import endpoints
from .memo import Memo

_VERSION_CHARS = 16  # 64 bits of SHA-256: versions of one resource are compared, not versions of all


_Body = Callable[[], pb.Resource]
_ANY_ADDRESS = "0.0.0.0"  # where the registered address is a name: a listener needs an IP address


@dataclass(frozen=True, slots=True)
class Settings:
    """What compiling depends on besides the catalog."""

    default_allow: bool  # when no intention matches


class ProxyCompiler:
    """Compiles for many proxies. Equal arguments give equal results: what is kept only saves time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._memo = Memo()

    def resources(self, state: State, instance_key: str) -> dict[str, pb.Resource]:
        """Resource name -> resource, for the sidecar of an instance. They are shared: do not change them.

        The key may name the application's instance or its proxy. Raises NotFound when neither is
        registered as part of the mesh, or the cluster is not set up.
        """
        row, cluster = _proxy_of(state, instance_key), state.cluster
        if not row or not row.proxy or not cluster:
            raise NotFound(
                f"instance {instance_key[:128]!r} has no sidecar; register it with Connect.SidecarService"
            )
        made = [
            self._proxy(state, cluster, instance_key, row, row.proxy),
            self._intentions(state, cluster, row.proxy.destination_service),
            self._revocations(state),
            *self._bundles(state),
        ]
        for upstream in row.proxy.upstreams:
            name, target = upstream.destination_name, target_id(upstream.destination_name, cluster.datacenter)
            made += (
                self._upstream(cluster, instance_key, upstream),
                self._target(cluster, instance_key, upstream),
                self._endpoints(state, target, name),
            )
        return {resource.name: resource for resource in made}

    def _get(self, name: str, of: str, inputs: tuple[object, ...], body: _Body) -> pb.Resource:
        return self._memo.get(name, of, inputs, lambda: _named(name, body()))

    def _proxy(
        self, state: State, cluster: Cluster, instance_key: str, row: Service, proxy: Proxy
    ) -> pb.Resource:
        node = state.nodes.get((row.node,))
        inputs = (cluster, row, node)
        return self._get(
            "proxy", instance_key, inputs, lambda: _proxy(cluster, instance_key, row, proxy, node)
        )

    def _intentions(self, state: State, cluster: Cluster, service: str) -> pb.Resource:
        inputs, allow = (cluster, state.intentions), self._settings.default_allow
        return self._get("intentions", service, inputs, lambda: _intentions(state, cluster, service, allow))

    def _revocations(self, state: State) -> pb.Resource:
        return self._get("revocations", "", (state.revocations,), lambda: _revocations(state))

    def _bundles(self, state: State) -> list[pb.Resource]:
        """One per trust domain."""
        domains = sorted({row.trust_domain for row in state.roots.values()})
        return [self._bundle(state, domain) for domain in domains]

    def _bundle(self, state: State, domain: str) -> pb.Resource:
        return self._get(f"bundle/{domain}", "", (state.roots,), lambda: _bundle(state, domain))

    def _upstream(self, cluster: Cluster, instance_key: str, row: Upstream) -> pb.Resource:
        name = f"upstream/{row.destination_name}"
        return self._get(name, instance_key, (cluster, row), lambda: _upstream(cluster, row))

    def _target(self, cluster: Cluster, instance_key: str, row: Upstream) -> pb.Resource:
        name = f"target/{target_id(row.destination_name, cluster.datacenter)}"
        return self._get(name, instance_key, (cluster, row), lambda: _target(cluster, row))

    def _endpoints(self, state: State, name: str, service: str) -> pb.Resource:
        inputs = (state.services_by_connect, state.services, state.nodes, state.checks_by_service)
        return self._get(
            f"endpoints/{name}", "", inputs, lambda: pb.Resource(endpoints=endpoints(state, service))
        )


def compile_proxy(state: State, instance_key: str, settings: Settings) -> dict[str, pb.Resource]:
    """As `ProxyCompiler.resources`, for one proxy."""
    return ProxyCompiler(settings).resources(state, instance_key)


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


def _proxy(cluster: Cluster, instance_key: str, row: Service, proxy: Proxy, node: Node | None) -> pb.Resource:
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


def _bundle(state: State, domain: str) -> pb.Resource:
    """The roots of a trust domain in the order of their ids, and which of them signs."""
    rows = [row for row in state.roots.values() if row.trust_domain == domain]
    signing = next((row.signing_key_id for row in rows if row.active), "")
    return pb.Resource(
        bundle=pb.TrustBundle(
            trust_domain=domain,
            roots_der=[row.certificate_der for row in rows],
            signing_key_id=bytes.fromhex(signing.replace(":", "")),
        )
    )


def _intentions(state: State, cluster: Cluster, service: str, default_allow: bool) -> pb.Resource:
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
    return pb.Resource(intentions=pb.Intentions(rules=rules, default_allow=default_allow))


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
    "least_request": pb.Target.BALANCE_LEAST_REQUEST,
    "round_robin": pb.Target.BALANCE_ROUND_ROBIN,
}
_PROTOCOLS = {
    "": pb.PROTOCOL_UNSPECIFIED,
    "grpc": pb.PROTOCOL_GRPC,
    "http2": pb.PROTOCOL_HTTP2,
}
ALL_SPLITS = 10_000  # weights are hundredths of a percent


def target_id(service: str, datacenter: str, subset: str = "") -> str:
    """Consul's id of a set of instances. A dot within a service's name is escaped, since it separates."""
    name = service.replace(".", "%2E")
    return f"{subset + '.' if subset else ''}{name}.default.default.{datacenter}"


def _ejection(settings: UpstreamSettings) -> pb.Ejection:
    return pb.Ejection(
        consecutive_failures=settings.ejection_failures,
        base_ejection_ms=settings.ejection_base_ms,
        max_ejection_ms=settings.ejection_max_ms,
        max_ejection_percent=settings.ejection_percent,
    )


def _target(cluster: Cluster, row: Upstream) -> pb.Resource:
    settings = read_upstream(row.config_json, "Config")
    return pb.Resource(
        target=pb.Target(
            id=target_id(row.destination_name, cluster.datacenter),
            service=row.destination_name,
            datacenter=cluster.datacenter,
            trust_domain=cluster.trust_domain,
            spiffe_id=_spiffe_id(cluster, row.destination_name),
            balance=_BALANCE[settings.balance],
            connect_timeout_ms=settings.connect_timeout_ms,
            ejection=_ejection(settings),
            max_pending_requests=settings.pending_max,
        )
    )


def _upstream(cluster: Cluster, row: Upstream) -> pb.Resource:
    settings = read_upstream(row.config_json, "Config")
    has_socket = bool(row.local_bind_socket_path)
    target = target_id(row.destination_name, cluster.datacenter)
    return pb.Resource(
        upstream=pb.Upstream(
            name=row.destination_name,
            datacenter=cluster.datacenter,
            trust_domain=cluster.trust_domain,
            bind_address="" if has_socket else bind_address(row),
            bind_port=row.local_bind_port,
            bind_socket_path=row.local_bind_socket_path,
            bind_socket_mode=int(row.local_bind_socket_mode or "600", 8) if has_socket else 0,
            protocol=_PROTOCOLS[settings.protocol],
            routes=[pb.Route(name="default", splits=[pb.Split(weight=ALL_SPLITS, target=target)])],
            default_target=target,
        )
    )

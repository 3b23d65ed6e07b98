"""What one proxy must do, from the catalog: the only place where that is worked out.

Pure, but for a memo. Resources are named and versioned by their content, so equal content is never sent
twice and the order in which the catalog changed does not show.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from weft.pb.mesh.v1 import mesh_pb2 as pb
from weft.spiffe import SpiffeId

from ..catalog import codec, watches
from ..catalog.model import CONNECT_PROXY, SERVICE_MAINTENANCE, Cluster, Node, Proxy, Service, Upstream
from ..catalog.proxy_config import DEFAULT_PROTOCOL, read_proxy
from ..catalog.rules import bind_address, is_ip
from ..catalog.state import State
from ..catalog.watches import WatchKey
from ..config_entries.mesh_wide import Egress, JwtProvider
from ..config_entries.service_defaults import ProxyDefaults, UpstreamConfig
from ..discovery_chain.chain import Chain, Target
from ..discovery_chain.compile import compile_chain, declared_protocol
from ..errors import NotFound
from ..intentions.match import match_destination
from .endpoints import ALL_INSTANCES, endpoints, locality_of
from .inbound import PROTOCOLS, egress_of, entries_of, intentions_of, jwt_provider, providers_named, settle
from .memo import Memo
from .routes import default_target, routes_of
from .settings import UpstreamSettings
from .targets import target_of

_VERSION_CHARS = 16  # 64 bits of SHA-256: versions of one resource are compared, not versions of all
CHAINS_MAX = 65_536  # then all are forgotten; each is some KiB, and most services have only the plain one
_SERVED = ("grpc", "http2")  # words of `Proxy.protocol`; `app_protocol` says the rest


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
        self._chains: dict[tuple[str, str, str], tuple[object, Chain]] = {}

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
        proxy = row.proxy
        made = [
            self._proxy(state, cluster, instance_key, row, proxy),
            self._intentions(state, cluster, proxy.destination_service),
            self._revocations(state),
            *self._bundles(state),
            *self._providers(state, proxy.destination_service),
            *self._egress(state, instance_key, proxy),
            *self._outbound(state, cluster, instance_key, proxy),
        ]
        return {resource.name: resource for resource in made}

    def depends(self, state: State, instance_key: str) -> frozenset[WatchKey]:
        """All that `resources` reads, with the chains that it has made."""
        return depends(state, instance_key, self.chain)

    def chain(self, state: State, cluster: Cluster, service: str, protocol: str) -> Chain:
        """Made once for each content of the entries."""
        entries, key = state.config_entries, (cluster.datacenter, service, protocol)
        known = self._chains.get(key)
        if known is not None and known[0] is entries:
            return known[1]
        if len(self._chains) >= CHAINS_MAX:
            self._chains.clear()
        chain = _made_anew(state, cluster, service, protocol)
        self._chains[key] = (entries, chain)
        return chain

    def _outbound(
        self, state: State, cluster: Cluster, instance_key: str, proxy: Proxy
    ) -> Iterator[pb.Resource]:
        """Upstreams, and the targets that they lead to: each target once, as its first upstream uses it."""
        told = UpstreamSettings(state, proxy)
        found: dict[str, tuple[Target, Chain, str]] = {}
        for upstream in proxy.upstreams:
            name = upstream.destination_name
            chain = self.chain(state, cluster, name, told.of(name, name).protocol)
            yield self._upstream(state, cluster, instance_key, upstream, chain)
            for target_id, target in chain.targets.items():
                known = found.get(target_id)
                if known is None or f"resolver:{target_id}" not in known[1].nodes:
                    found[target_id] = (target, chain, known[2] if known else name)
        for target, chain, name in found.values():
            settings = told.of(name, target.leg.service)
            yield self._target(state, cluster, instance_key, proxy, target, chain, settings)
            yield self._endpoints(state, cluster, target)

    def _get(self, name: str, of: str, inputs: tuple[object, ...], body: _Body) -> pb.Resource:
        return self._memo.get(name, of, inputs, lambda: _named(name, body()))

    def _proxy(
        self, state: State, cluster: Cluster, instance_key: str, row: Service, proxy: Proxy
    ) -> pb.Resource:
        node = state.nodes.get((row.node,))
        inputs = (cluster, row, node, state.config_entries, state.experiments, _draining(state, row))
        return self._get(
            "proxy", instance_key, inputs, lambda: _proxy(state, cluster, instance_key, row, proxy, node)
        )

    def _intentions(self, state: State, cluster: Cluster, service: str) -> pb.Resource:
        inputs = (cluster, state.intentions, state.intention_defaults)
        allow = self._settings.default_allow
        return self._get(
            "intentions",
            service,
            inputs,
            lambda: pb.Resource(intentions=intentions_of(state, cluster, service, allow)),
        )

    def _providers(self, state: State, service: str) -> Iterator[pb.Resource]:
        for name in providers_named(state, service):
            entry = state.config(JwtProvider.KIND, name)
            if isinstance(entry, JwtProvider):
                yield self._get(f"jwt-provider/{name}", "", (entry,), partial(_jwt_provider, entry))

    def _egress(self, state: State, instance_key: str, proxy: Proxy) -> Iterator[pb.Resource]:
        entry = state.config(Egress.KIND, Egress.ONLY_NAME)
        if isinstance(entry, Egress):
            yield self._get("egress", instance_key, (entry, proxy), lambda: _egress(entry, proxy))

    def _revocations(self, state: State) -> pb.Resource:
        return self._get("revocations", "", (state.revocations,), lambda: _revocations(state))

    def _bundles(self, state: State) -> list[pb.Resource]:
        """One per trust domain."""
        domains = sorted({row.trust_domain for row in state.roots.values()})
        return [self._bundle(state, domain) for domain in domains]

    def _bundle(self, state: State, domain: str) -> pb.Resource:
        return self._get(f"bundle/{domain}", "", (state.roots,), lambda: _bundle(state, domain))

    def _upstream(
        self, state: State, cluster: Cluster, instance_key: str, row: Upstream, chain: Chain
    ) -> pb.Resource:
        name = f"upstream/{row.destination_name}"
        return self._get(name, instance_key, (cluster, row, chain), lambda: _upstream(cluster, row, chain))

    def _target(
        self,
        state: State,
        cluster: Cluster,
        instance_key: str,
        proxy: Proxy,
        target: Target,
        chain: Chain,
        told: UpstreamConfig,
    ) -> pb.Resource:
        shared = state.config(ProxyDefaults.KIND, ProxyDefaults.ONLY_NAME)
        defaults = shared if isinstance(shared, ProxyDefaults) else None
        inputs = (cluster, proxy, chain, state.config_entries)
        return self._get(
            f"target/{target.leg.id}",
            instance_key,
            inputs,
            lambda: pb.Resource(target=target_of(cluster, target, chain, told, defaults)),
        )

    def _endpoints(self, state: State, cluster: Cluster, target: Target) -> pb.Resource:
        """None for a target of another datacenter: clusters do not peer yet."""
        leg, entry = target.leg, target.entry
        if leg.datacenter != cluster.datacenter:
            return self._get(f"endpoints/{leg.id}", "", (), lambda: pb.Resource(endpoints=pb.Endpoints()))
        subset = entry.subsets[leg.subset] if entry and leg.subset else ALL_INSTANCES
        inputs = (subset, state.services_by_connect, state.services, state.nodes, state.checks_by_service)
        return self._get(
            f"endpoints/{leg.id}",
            "",
            inputs,
            lambda: pb.Resource(endpoints=endpoints(state, leg.service, subset)),
        )


def compile_proxy(state: State, instance_key: str, settings: Settings) -> dict[str, pb.Resource]:
    """As `ProxyCompiler.resources`, for one proxy."""
    return ProxyCompiler(settings).resources(state, instance_key)


def _made_anew(state: State, cluster: Cluster, service: str, protocol: str) -> Chain:
    return compile_chain(service, cluster.datacenter, state.config, protocol=protocol)


def depends(
    state: State, instance_key: str, chain_of: Callable[[State, Cluster, str, str], Chain] = _made_anew
) -> frozenset[WatchKey]:
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
    keys.add(watches.connect(proxy.proxy.destination_service))  # its own maintenance
    keys.update(match_destination(state, proxy.proxy.destination_service).keys)
    service = proxy.proxy.destination_service
    keys.add(watches.experiments_on(service))
    entries = set(entries_of(service))
    entries |= {(JwtProvider.KIND, name) for name in providers_named(state, service)}
    told, cluster = UpstreamSettings(state, proxy.proxy), state.cluster
    for upstream in proxy.proxy.upstreams if cluster else ():
        name = upstream.destination_name
        assert cluster is not None  # for the type checker
        chain = chain_of(state, cluster, name, told.of(name, name).protocol)
        entries |= chain.reads
        for reached in chain.services:
            keys |= {watches.connect(reached), watches.service(reached)}
    return frozenset(keys | {watches.config_entry(*entry) for entry in entries})


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


def _proxy(
    state: State, cluster: Cluster, instance_key: str, row: Service, proxy: Proxy, node: Node | None
) -> pb.Resource:
    settings = read_proxy(proxy.config_json, "Proxy.Config")
    reached_at = row.address or (node.address if node else "")
    protocol = settings.protocol or declared_protocol(proxy.destination_service, state.config)
    application = state.services.get((row.node, proxy.destination_service_id))
    made = pb.Resource(
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
            protocol=protocol if protocol in _SERVED else DEFAULT_PROTOCOL,
            app_protocol=PROTOCOLS[protocol],
            locality=locality_of(row) or (locality_of(application) if application else None),
            draining=_draining(state, row),
        )
    )
    settle(made.proxy, state, proxy.destination_service)
    return made


def _draining(state: State, row: Service) -> bool:
    """Whether this proxy itself is in maintenance. (Who watches the checks of its application, or of all
    that runs on its node, would wake with each of them.)"""
    found = state.checks.get((row.node, SERVICE_MAINTENANCE + row.id))
    return found is not None and found.service_id == row.id


def _jwt_provider(entry: JwtProvider) -> pb.Resource:
    return pb.Resource(jwt_provider=jwt_provider(entry))


def _egress(entry: Egress, proxy: Proxy) -> pb.Resource:
    settings = read_proxy(proxy.config_json, "Proxy.Config")
    return pb.Resource(egress=egress_of(entry, settings.egress_bind_address, settings.egress_bind_port))


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


def _upstream(cluster: Cluster, row: Upstream, chain: Chain) -> pb.Resource:
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
            protocol=PROTOCOLS[chain.protocol],
            routes=routes_of(chain),
            default_target=default_target(chain),
        )
    )

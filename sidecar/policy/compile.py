"""Sans-IO. The registry's resources become the frozen snapshot that the switch reads.

All checks are made here, where time does not matter: what the switch finds in a snapshot it may trust.
A resource that is unknown, incomplete or contradictory refuses the whole delta; nothing is skipped.
"""

from collections.abc import Mapping

from weft.pb.mesh.v1 import mesh_pb2

from ..errors import InvalidResource
from ..snapshot import Egress, Inbound, Snapshot, Target, Upstream
from .egress import egress_of
from .fields import (
    app_address,
    bundle_roots,
    check_count,
    listen_address,
    protocol_of,
    proxy_identity,
    serial_of,
    signing_key_id,
)
from .inbound import admission_of, rules_of
from .local import app_policy_of, connections_max_of, header_list_max_of
from .targets import locality_of, target_of
from .telemetry import telemetry_of
from .upstreams import check_targets, upstream_of

BUNDLES_MAX = 64  # peered clusters; each costs a handshake the reading of its roots
REVOCATIONS_MAX = 100_000  # live leaves withdrawn; each is 100 bytes here
UPSTREAMS_MAX = 1024  # each holds a listening socket
TARGETS_MAX = 4096  # each may hold connections

_SINGLE = frozenset(("proxy", "intentions", "revocations", "egress"))
_NAMED = frozenset(("bundle", "upstream", "target", "endpoints", "jwt-provider"))


def compile_snapshot(resources: Mapping[str, mesh_pb2.Resource], index: int) -> Snapshot:
    """Builds what the proxy must do from all its resources. Raises InvalidResource naming the first
    one that cannot be obeyed."""
    sorted_out = _sort(resources)
    proxy = _single(sorted_out, "proxy").proxy
    identity = proxy_identity(proxy)
    intentions = _single(sorted_out, "intentions").intentions
    rules = rules_of(intentions)
    inbound = Inbound(
        listen=listen_address("proxy", proxy.public_address, proxy.public_port),
        app=app_address(proxy),
        rules=rules,
        default_allow=intentions.default_allow,
        admission=admission_of(proxy, intentions, sorted_out["jwt-provider"], rules),
        app_protocol=protocol_of("proxy", proxy.app_protocol),
        parsed_only=_reads_requests(intentions),
        app_policy=app_policy_of(proxy),
        connections_max=connections_max_of(proxy),
    )
    upstreams = _upstreams(sorted_out)
    targets = _targets(sorted_out)
    check_targets(upstreams.values(), targets)
    egress = egress_of(sorted_out["egress"][""].egress) if sorted_out["egress"] else None
    _check_listeners(inbound, upstreams, egress)
    return Snapshot(
        index=index,
        identity=identity,
        instance_key=proxy.instance_key,
        inbound=inbound,
        upstreams=upstreams,
        targets=targets,
        bundles=_bundles(sorted_out["bundle"], identity.trust_domain),
        revoked=_revoked(_single(sorted_out, "revocations").revocations),
        telemetry=telemetry_of(proxy),
        signing_key_id=signing_key_id(sorted_out["bundle"][identity.trust_domain].bundle),
        locality=locality_of(proxy.locality),
        header_list_max=header_list_max_of(proxy),
        source=resources,
        egress=egress,
        draining=proxy.draining,
    )


_Sorted = dict[str, dict[str, mesh_pb2.Resource]]  # kind -> what follows "/" in the name -> resource


def _sort(resources: Mapping[str, mesh_pb2.Resource]) -> _Sorted:
    """By kind. A name and a body that disagree are refused: one of them is wrong."""
    found: _Sorted = {kind: {} for kind in _SINGLE | _NAMED}
    for name, resource in resources.items():
        kind, slash, rest = name.partition("/")
        known = kind in _NAMED and rest if slash else kind in _SINGLE
        if not known:
            raise InvalidResource(name, "is of a kind that this version does not know; upgrade the sidecar")
        if resource.name != name or resource.WhichOneof("body") != kind.replace("-", "_"):
            raise InvalidResource(name, f"must hold a body of kind {kind!r} under the same name")
        found[kind][rest] = resource
    return found


def _single(found: _Sorted, kind: str) -> mesh_pb2.Resource:
    resource = found[kind].get("")
    if resource is None:
        raise InvalidResource(kind, "is missing")
    return resource


def _reads_requests(intentions: mesh_pb2.Intentions) -> bool:
    """Whether any rule can be decided only by looking into a request."""
    return intentions.HasField("jwt") or any(
        rule.permissions or rule.HasField("jwt") for rule in intentions.rules
    )


def _bundles(
    resources: Mapping[str, mesh_pb2.Resource], own_trust_domain: str
) -> dict[str, tuple[bytes, ...]]:
    check_count("bundle", "trust domains", len(resources), BUNDLES_MAX)
    if own_trust_domain not in resources:
        raise InvalidResource(f"bundle/{own_trust_domain}", "is missing: it is this proxy's own")
    return {domain: bundle_roots(domain, resource.bundle) for domain, resource in resources.items()}


def _revoked(revocations: mesh_pb2.Revocations) -> frozenset[tuple[str, int]]:
    check_count("revocations", "leaves", len(revocations.leaves), REVOCATIONS_MAX)
    return frozenset((leaf.trust_domain, serial_of(leaf)) for leaf in revocations.leaves)


def _upstreams(found: _Sorted) -> dict[str, Upstream]:
    check_count("upstream", "destinations", len(found["upstream"]), UPSTREAMS_MAX)
    return {name: upstream_of(name, resource.upstream) for name, resource in found["upstream"].items()}


def _targets(found: _Sorted) -> dict[str, Target]:
    check_count("target", "targets", len(found["target"]), TARGETS_MAX)
    for name in found["endpoints"].keys() ^ found["target"].keys():
        missing = "target" if name in found["endpoints"] else "endpoints"
        raise InvalidResource(f"{missing}/{name}", "is missing: a target and its endpoints go together")
    return {
        name: target_of(name, resource.target, found["endpoints"][name].endpoints)
        for name, resource in found["target"].items()
    }


def _check_listeners(inbound: Inbound, upstreams: Mapping[str, Upstream], egress: Egress | None) -> None:
    """No two listeners on one address: the second could not bind, and the first would get its calls."""
    taken = {str(inbound.listen): "proxy"}
    if egress is not None:
        if str(egress.listen) in taken:
            raise InvalidResource("egress", f"listens on {egress.listen} as 'proxy' does")
        taken[str(egress.listen)] = "egress"
    for name, upstream in upstreams.items():
        address = str(upstream.listen)
        if address in taken:
            raise InvalidResource(f"upstream/{name}", f"listens on {address} as {taken[address]!r} does")
        taken[address] = f"upstream/{name}"

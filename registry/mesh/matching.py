"""Matches, edits, hashes and token rules of config entries in the words of the contract."""

from weft.pb.mesh.v1 import mesh_pb2 as pb

from ..config_entries import matching as said
from ..config_entries.service_defaults import ActiveHealthCheck
from ..config_entries.service_intentions import Permission

PPM = 10_000  # of a percent


def ppm(percent: float) -> int:
    return round(percent * PPM)


def http_match(
    http: said.HttpRules | None, grpc: said.GrpcRules | None = None, sources: tuple[str, ...] = ()
) -> pb.HttpMatch | None:
    """None where every request matches."""
    if http is None and grpc is None and not sources:
        return None
    rules = http or said.HttpRules()
    made = pb.HttpMatch(
        case_insensitive=rules.case_insensitive,
        headers=[_header(it) for it in rules.headers],
        query=[_query(it) for it in rules.query],
        methods=rules.methods,
        grpc_service=grpc.service if grpc else "",
        grpc_method=grpc.method if grpc else "",
        sources=sources,
    )
    for name in ("path_exact", "path_prefix", "path_regex"):
        if value := getattr(rules, name):
            setattr(made, name, value)
    return made


def match_of(match: said.Match | None) -> pb.HttpMatch | None:
    """None where every request matches."""
    if match is None:
        return None
    sources = match.sources if isinstance(match, said.InboundMatch) else ()
    return http_match(match.http, match.grpc, sources)


def _header(it: said.HeaderMatch) -> pb.HeaderMatch:
    made = pb.HeaderMatch(name=it.name.lower(), invert=it.invert, ignore_case=it.ignore_case)
    for name in ("present", "exact", "prefix", "suffix", "contains", "regex"):
        if value := getattr(it, name):
            setattr(made, name, value)
    return made


def _query(it: said.QueryMatch) -> pb.QueryMatch:
    made = pb.QueryMatch(name=it.name)
    for name in ("present", "exact", "regex"):
        if value := getattr(it, name):
            setattr(made, name, value)
    return made


def edits_of(*edits: said.HeaderEdits | None) -> pb.HeaderEdits | None:
    """All of them as one, the later over the earlier; None where there is nothing to edit."""
    made = pb.HeaderEdits()
    for it in filter(None, edits):
        made.set.update({name.lower(): value for name, value in it.set.items()})
        made.add.update({name.lower(): value for name, value in it.add.items()})
        made.remove.extend(name.lower() for name in it.remove)
    return made if made.ByteSize() else None


def hash_policy(policies: tuple[said.HashPolicy, ...]) -> pb.HashPolicy | None:
    return pb.HashPolicy(inputs=[_input(it) for it in policies]) if policies else None


def _input(it: said.HashPolicy) -> pb.HashPolicy.Input:
    made = pb.HashPolicy.Input(terminal=it.terminal)
    if it.source_ip:
        made.source_address = True
    else:
        name = it.field_value.lower() if it.field == "header" else it.field_value
        setattr(made, it.field, name)
    if it.cookie:
        made.cookie_generate = True
        made.cookie_ttl_s = -(-it.cookie.ttl_ms // 1000)
        made.cookie_path = it.cookie.path
    return made


def jwt_of(jwt: said.JwtRequirement | None) -> pb.JwtRequirement | None:
    if jwt is None:
        return None
    made = pb.JwtRequirement()
    for it in jwt.providers:
        claims = [pb.JwtRequirement.Claim(path=claim.path, value=claim.value) for claim in it.claims]
        made.providers.add(name=it.name, claims=claims)
    return made


def permission_of(it: Permission) -> pb.Permission:
    return pb.Permission(allow=it.action == "allow", match=http_match(it.http, it.grpc), jwt=jwt_of(it.jwt))


def health_check(it: ActiveHealthCheck | None) -> pb.HealthCheck | None:
    if it is None:
        return None
    made = pb.HealthCheck(
        interval_ms=it.interval_ms,
        timeout_ms=it.timeout_ms,
        unhealthy_threshold=it.unhealthy,
        healthy_threshold=it.healthy,
    )
    if it.grpc:
        made.grpc_service = it.grpc.service
    elif it.http:
        made.http_path = it.http.path
    else:
        made.tcp = True
    return made

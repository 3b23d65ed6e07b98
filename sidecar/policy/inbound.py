"""Sans-IO. What is asked of requests that arrive, checked into the snapshot's types."""

from collections.abc import Iterable, Mapping

from weft.pb.mesh.v1 import mesh_pb2

from ..admission import (
    BEARER,
    Admission,
    Claim,
    EscapedSlashes,
    JwtProvider,
    Location,
    PathPolicy,
    Permission,
    Place,
    ProviderClaims,
    RemoteKeys,
    Requirement,
    Underscored,
)
from ..errors import InvalidResource
from ..snapshot import Rule
from .buckets import limit_of
from .faults import fault_of
from .fields import check_count, rule_of
from .match import header_name, http_match, is_text
from .numbers import number, seconds
from .tokens import JWKS_BYTES_MAX, keys_of

RULES_MAX = 10_000  # intentions of one service; read through once per new caller
PERMISSIONS_MAX = 256  # of one rule; asked in turn for each new head
PROVIDERS_MAX = 64
LOCATIONS_MAX = 16
LIMITS_MAX = 512  # each is matched with each new head
FAULTS_MAX = 256
CLAIMS_MAX = 64
DEPTH_MAX = 16  # of a claim's path
SKEW_S_MAX = 24 * 3600
TEXT_BYTES_MAX = 4096
CACHE_MS_MAX = 24 * 3600 * 1000
FETCH_MS_MAX = 60_000
RETRIES_MAX = 100
_SKEW_S = 30.0

_SLASHES = dict(enumerate(EscapedSlashes))  # in the contract's order
_UNDERSCORED = dict(enumerate((Underscored.ALLOW, *Underscored)))


def rules_of(intentions: mesh_pb2.Intentions) -> tuple[Rule, ...]:
    """Highest precedence first. Raises InvalidResource."""
    check_count("intentions", "rules", len(intentions.rules), RULES_MAX)
    ranked = sorted(intentions.rules, key=lambda rule: rule.precedence, reverse=True)
    return tuple(_rule(rule) for rule in ranked)


def _rule(said: mesh_pb2.Intentions.Rule) -> Rule:
    where = f"intentions: rule {said.id[:80]!r}"
    check_count(where, "permissions", len(said.permissions), PERMISSIONS_MAX)
    permissions = tuple(_permission(where, it) for it in said.permissions)
    return rule_of(said, permissions, _asked(where, said.HasField("jwt"), said.jwt))


def _permission(where: str, said: mesh_pb2.Permission) -> Permission:
    return Permission(
        allow=said.allow,
        match=http_match(where, said.match) if said.HasField("match") else None,
        jwt=_asked(where, said.HasField("jwt"), said.jwt),
    )


def _asked(where: str, is_said: bool, said: mesh_pb2.JwtRequirement) -> Requirement:
    """One that names no provider could not be satisfied, and must not pass for one that asks nothing."""
    if not is_said:
        return ()
    if not said.providers:
        raise InvalidResource(where, "asks for a token of no provider")
    check_count(where, "providers", len(said.providers), PROVIDERS_MAX)
    return tuple(_provider_claims(where, it) for it in said.providers)


def _provider_claims(where: str, said: mesh_pb2.JwtRequirement.Provider) -> ProviderClaims:
    check_count(where, "claims", len(said.claims), CLAIMS_MAX)
    for claim in said.claims:
        if not 0 < len(claim.path) <= DEPTH_MAX:
            raise InvalidResource(where, f"a claim's path has {len(claim.path)} parts, not 1 to {DEPTH_MAX}")
    return ProviderClaims(said.name, tuple(Claim(tuple(it.path), it.value) for it in said.claims))


def admission_of(
    proxy: mesh_pb2.Proxy,
    intentions: mesh_pb2.Intentions,
    providers: Mapping[str, mesh_pb2.Resource],
    rules: Iterable[Rule],
) -> Admission:
    """Raises InvalidResource."""
    check_count("jwt-provider", "providers", len(providers), PROVIDERS_MAX)
    check_count("proxy", "rate limits", len(proxy.rate_limits), LIMITS_MAX)
    check_count("proxy", "faults", len(proxy.faults), FAULTS_MAX)
    made = Admission(
        jwt=_asked("intentions", intentions.HasField("jwt"), intentions.jwt),
        providers={name: provider_of(name, it.jwt_provider) for name, it in providers.items()},
        paths=path_policy(proxy.normalization),
        limits=tuple(map(limit_of, proxy.rate_limits)),
        faults=tuple(map(fault_of, proxy.faults)),
    )
    requirements = [made.jwt]
    for rule in rules:
        requirements += [rule.jwt, *(it.jwt for it in rule.permissions)]
    for asked in (it for requirement in requirements for it in requirement):
        if asked.provider not in made.providers:
            raise InvalidResource(f"jwt-provider/{asked.provider[:80]}", "is missing: intentions ask for it")
    return made


def path_policy(said: mesh_pb2.PathNormalization) -> PathPolicy:
    if said.escaped_slashes not in _SLASHES or said.underscored_headers not in _UNDERSCORED:
        raise InvalidResource("proxy", "has an unknown normalization; upgrade the sidecar")
    return PathPolicy(
        said.disabled,
        said.merge_slashes,
        _SLASHES[said.escaped_slashes],
        _UNDERSCORED[said.underscored_headers],
    )


def provider_of(name: str, said: mesh_pb2.JwtProvider) -> JwtProvider:
    """Raises InvalidResource."""
    where = f"jwt-provider/{name}"
    if said.name != name:
        raise InvalidResource(where, f"is of provider {said.name[:80]!r}")
    check_count(where, "locations", len(said.locations), LOCATIONS_MAX)
    check_count(where, "audiences", len(said.audiences), CLAIMS_MAX)
    if len(said.jwks.encode()) > JWKS_BYTES_MAX:
        raise InvalidResource(where, f"has a key set over {JWKS_BYTES_MAX} bytes")
    kind = said.WhichOneof("keys")
    if kind is None or (kind == "jwks" and not said.jwks):
        raise InvalidResource(where, "has no keys")
    if kind == "jwks":
        keys_of(where, said.jwks)
    return JwtProvider(
        name=name,
        issuer=said.issuer,
        audiences=tuple(said.audiences),
        clock_skew_s=float(number(where, "clock_skew_s", said.clock_skew_s, 0, SKEW_S_MAX) or _SKEW_S),
        jwks=said.jwks,
        remote=_remote(where, said.remote) if kind == "remote" else None,
        locations=tuple(_location(where, it) for it in said.locations) or (BEARER,),
        forward_header=header_name(where, said.forward_header) if said.forward_header else "",
        pad_forward_header=said.pad_forward_header,
    )


def _remote(where: str, said: mesh_pb2.JwtProvider.RemoteJwks) -> RemoteKeys:
    default = RemoteKeys("")
    return RemoteKeys(
        said.uri,
        seconds(where, "request_timeout_ms", said.request_timeout_ms, default.timeout_s, FETCH_MS_MAX),
        seconds(where, "cache_ms", said.cache_ms, default.cache_s, CACHE_MS_MAX),
        number(where, "retries", said.retries, 0, RETRIES_MAX),
    )


def _location(where: str, said: mesh_pb2.JwtProvider.Location) -> Location:
    match said.WhichOneof("kind"):
        case "header":
            prefix = said.header.value_prefix
            if not is_text(prefix) or len(prefix) > TEXT_BYTES_MAX:
                raise InvalidResource(where, "has a value prefix that no header may have")
            return Location(Place.HEADER, header_name(where, said.header.name), prefix, said.header.forward)
        case "query_parameter":
            place, name = Place.QUERY, said.query_parameter
        case "cookie":
            place, name = Place.COOKIE, said.cookie
        case _:
            raise InvalidResource(where, "has an unknown kind of location; upgrade the sidecar")
    if not name or not is_text(name) or len(name) > TEXT_BYTES_MAX:
        raise InvalidResource(where, f"has a location with the name {name[:80]!r}")
    return Location(place, name)

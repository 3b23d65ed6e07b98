"""Logging in: what a JSON Web Token says of its bearer, and what the binding rules make of it.

RFC 7519 (claims), RFC 7515 and RFC 8725 (only algorithms of public keys, each key for what it is, never
"none"). Names of the configuration are those of Consul's auth method "jwt".
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from weft.durations import InvalidDuration, parse_duration_s
from weft.errors import UsageError

from ..errors import InvalidCommand
from ..filter.errors import InvalidFilter
from ..filter.expression import filter_of
from ..filter.fields import TEXT_MAP, TEXTS, MapOf, struct
from .key_set import KEYS_MAX, PublicKey, RemoteKeys, read_pem, read_remote
from .model import AuthMethod, BindingRule, Grants, NodeIdentity, ServiceIdentity, TemplatedPolicy
from .tables import AclTables
from .templates import identity_name

TOKEN_BYTES_MAX = 16 * 1024  # what a login may bring; an OIDC provider's is 1-2 KiB
MAPPINGS_MAX = 64
LIST_MAX = 256  # values of one list claim
VALUE_CHARS_MAX = 512
LEEWAY_S = 150.0
SKEW_S = 60.0

ALGORITHMS: Mapping[str, type] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), rsa.RSAPublicKey),
    **dict.fromkeys(("ES256", "ES384", "ES512"), ec.EllipticCurvePublicKey),
    "EdDSA": ed25519.Ed25519PublicKey,
}

_FIELDS = frozenset(
    (
        "JWTValidationPubKeys",
        "JWKSURL",
        "JWKSCACert",
        "OIDCDiscoveryURL",
        "OIDCDiscoveryCACert",
        "BoundAudiences",
        "BoundIssuer",
        "JWTSupportedAlgs",
        "ClaimMappings",
        "ListClaimMappings",
        "ExpirationLeeway",
        "NotBeforeLeeway",
        "ClockSkewLeeway",
    )
)
_SELECTED = struct(value=TEXT_MAP, list=MapOf(TEXTS))
_UNCHECKED = ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")  # by the library, which asks its own clock
_SIGNATURE_ONLY: Any = dict.fromkeys((f"verify_{claim}" for claim in _UNCHECKED), False)
_GAP = re.compile(r"\$\{\s*value\.([A-Za-z0-9_]{1,64})\s*\}")


class LoginRefused(UsageError):
    """Expected. The bearer's token is not accepted, or no rule binds it to anything."""


class NotSigned(LoginRefused):
    """Expected. No key that we know has signed it; newer keys may."""


@dataclass(frozen=True, slots=True)
class JwtConfig:
    """Whose tokens are believed, and what is read from them. Times in seconds."""

    keys: tuple[PublicKey, ...]
    algorithms: tuple[str, ...]
    audiences: frozenset[str]
    issuer: str
    claims: Mapping[str, str]  # claim, or JSON pointer -> name in `value`
    list_claims: Mapping[str, str]
    expiration_leeway_s: float
    not_before_leeway_s: float
    skew_s: float
    remote: RemoteKeys | None = None  # where the keys are to be fetched from; then `keys` is empty


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a login has proven, as selectors see it."""

    value: Mapping[str, str]
    list: Mapping[str, tuple[str, ...]]


def read_config(row: AuthMethod) -> JwtConfig:
    """The configuration of a method. Raises InvalidCommand, naming the field."""
    config = orjson.loads(row.config_json or b"{}")
    unknown = config.keys() - _FIELDS
    if unknown:
        raise InvalidCommand(f"Config.{min(unknown)[:64]}: there is no such setting of the type jwt")
    keys, remote = _keys(config)
    return JwtConfig(
        keys=keys,
        algorithms=_algorithms(_texts(config, "JWTSupportedAlgs", len(ALGORITHMS))),
        audiences=frozenset(_texts(config, "BoundAudiences", KEYS_MAX)),
        issuer=_text(config, "BoundIssuer") or (remote.url if remote and remote.discovered else ""),
        claims=_mappings(config, "ClaimMappings"),
        list_claims=_mappings(config, "ListClaimMappings"),
        expiration_leeway_s=_leeway(config, "ExpirationLeeway", LEEWAY_S),
        not_before_leeway_s=_leeway(config, "NotBeforeLeeway", LEEWAY_S),
        skew_s=_leeway(config, "ClockSkewLeeway", SKEW_S),
        remote=remote,
    )


def _text(config: Mapping[str, Any], name: str) -> str:
    value = config.get(name) or ""
    if not isinstance(value, str):
        raise InvalidCommand(f"Config.{name}: must be a string")
    return value


def _texts(config: Mapping[str, Any], name: str, most: int) -> list[str]:
    value = config.get(name) or []
    if not isinstance(value, list) or len(value) > most or not all(isinstance(it, str) for it in value):
        raise InvalidCommand(f"Config.{name}: must be a list of at most {most} strings")
    return value


def _mappings(config: Mapping[str, Any], name: str) -> dict[str, str]:
    value = config.get(name) or {}
    if not isinstance(value, dict) or len(value) > MAPPINGS_MAX:
        raise InvalidCommand(f"Config.{name}: must be an object of at most {MAPPINGS_MAX} claims")
    for claim, target in value.items():
        if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,64}", target):
            raise InvalidCommand(f"Config.{name}.{claim[:64]}: must be a name of letters, digits and '_'")
    return value


def _leeway(config: Mapping[str, Any], name: str, default_s: float) -> float:
    """As in Consul: 0 is the default, negative is none."""
    value = config.get(name) or 0
    try:
        seconds = parse_duration_s(value) if isinstance(value, str) else value / 10**9
    except (InvalidDuration, TypeError):
        raise InvalidCommand(f"Config.{name}: must be a duration such as 30s") from None
    if not -86_400 <= seconds <= 86_400:
        raise InvalidCommand(f"Config.{name}: must be at most 24h")
    return default_s if seconds == 0 else max(0.0, float(seconds))


def _keys(config: Mapping[str, Any]) -> tuple[tuple[PublicKey, ...], RemoteKeys | None]:
    """Keys that are given, or where they are told."""
    texts = _texts(config, "JWTValidationPubKeys", KEYS_MAX)
    urls = {name: _text(config, name) for name in ("JWKSURL", "OIDCDiscoveryURL")}
    if sum(map(bool, (texts, *urls.values()))) != 1:
        raise InvalidCommand(
            "Config: exactly one of 'JWTValidationPubKeys', 'JWKSURL', or 'OIDCDiscoveryURL' must be set"
        )
    for url, certificate in (("JWKSURL", "JWKSCACert"), ("OIDCDiscoveryURL", "OIDCDiscoveryCACert")):
        if _text(config, certificate) and not urls[url]:
            raise InvalidCommand(f"Config.{certificate}: is of {url} only")
    if texts:
        where = "Config.JWTValidationPubKeys[{}]"
        return tuple(read_pem(text, where.format(at)) for at, text in enumerate(texts)), None
    if urls["JWKSURL"]:
        return (), read_remote(urls["JWKSURL"], _text(config, "JWKSCACert"), discovered=False)
    return (), read_remote(urls["OIDCDiscoveryURL"], _text(config, "OIDCDiscoveryCACert"), discovered=True)


def _algorithms(names: list[str]) -> tuple[str, ...]:
    for name in names:
        if name not in ALGORITHMS:
            raise InvalidCommand(f"Config.JWTSupportedAlgs: {name[:20]!r}: use {', '.join(ALGORITHMS)}")
    return tuple(names) or ("RS256",)


def prove(token: str, config: JwtConfig, now_s: float) -> Bearer:
    """What the token proves at `now_s` (Unix seconds). Raises LoginRefused."""
    if len(token) > TOKEN_BYTES_MAX:
        raise LoginRefused("the bearer token is too long")
    claims = _verified(token, config)
    _check_times(claims, config, now_s)
    if config.issuer and claims.get("iss") != config.issuer:
        raise LoginRefused("the bearer token is of another issuer")
    given = claims.get("aud")
    audiences = {given} if isinstance(given, str) else set(_strings(given))
    if config.audiences and not config.audiences & audiences:
        raise LoginRefused("the bearer token is for another audience")
    values = {name: _at(claims, claim) for claim, name in config.claims.items()}
    return Bearer(
        {name: _scalar(value) for name, value in values.items() if value is not None},
        {name: _strings(_at(claims, claim)) for claim, name in config.list_claims.items()},
    )


def _verified(token: str, config: JwtConfig) -> dict[str, Any]:
    """The claims, if one of the keys has signed them."""
    for key in config.keys:
        fitting = [name for name in config.algorithms if isinstance(key, ALGORITHMS[name])]
        try:
            if fitting:
                return jwt.decode(token, key, algorithms=fitting, options=_SIGNATURE_ONLY)
        except jwt.InvalidAlgorithmError:
            continue
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, RecursionError):
            break
    raise NotSigned("the bearer token is not signed by a key of this method")


def _check_times(claims: Mapping[str, Any], config: JwtConfig, now_s: float) -> None:
    """A token without an end is not accepted."""
    expires, begins = claims.get("exp"), claims.get("nbf", claims.get("iat", 0))
    for value in (expires, begins):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LoginRefused("the bearer token must say when it expires (exp)")
    if now_s >= expires + config.skew_s:  # type: ignore[operator]  # checked above
        raise LoginRefused("the bearer token has expired")
    if now_s < begins - config.skew_s:
        raise LoginRefused("the bearer token is not valid yet")


def _at(claims: Any, path: str) -> Any:
    """A claim by its name, or by a JSON pointer (RFC 6901)."""
    if not path.startswith("/"):
        return claims.get(path)
    found = claims
    for part in path[1:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isascii() and key.isdigit() and len(key) < 6:
            found = found[int(key)] if int(key) < len(found) else None
        else:
            return None
    return found


def _scalar(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str | int | float) or len(text) > VALUE_CHARS_MAX:
        raise LoginRefused("a claim that is mapped to a value is no short text or number")
    return text


def _strings(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or len(value) > LIST_MAX:
        raise LoginRefused("a claim that is mapped to a list is no list of texts")
    return tuple(_scalar(item) for item in value)


def read_rule(row: BindingRule) -> None:
    """Raises InvalidCommand where the selector or the name could not be followed."""
    try:
        filter_of(row.selector, _SELECTED)
    except InvalidFilter as error:
        raise InvalidCommand(f"Selector: {error}") from None
    for text in (row.bind_name, *row.bind_vars.values()):
        if "${" in _GAP.sub("", text):
            raise InvalidCommand("BindName: only ${value.<name>} can be filled in")


def bind(rules: Iterable[BindingRule], bearer: Bearer, tables: AclTables, datacenter: str) -> Grants:
    """What the rules that match grant. Raises LoginRefused when that is nothing."""
    policies: list[str] = []
    roles: list[str] = []
    services: list[ServiceIdentity] = []
    nodes: list[NodeIdentity] = []
    templated: list[TemplatedPolicy] = []
    row = {"value": bearer.value, "list": bearer.list}
    for rule in rules:
        if not filter_of(rule.selector, _SELECTED)(row):
            continue
        name = _filled(rule.bind_name, bearer)
        match rule.bind_type:
            case "service":
                services.append(ServiceIdentity(identity_name(name, "BindName")))
            case "node":
                nodes.append(NodeIdentity(identity_name(name, "BindName"), datacenter))
            case "role" if found := tables.role_named(name):
                roles.append(found.id)
            case "policy" if policy := tables.policy_named(name):
                policies.append(policy.id)
            case "templated-policy":
                given = _filled(rule.bind_vars.get("Name", rule.bind_vars.get("name", "")), bearer)
                templated.append(TemplatedPolicy(name, given))
    found_any = Grants(*(tuple(dict.fromkeys(it)) for it in (policies, roles, services, nodes, templated)))  # type: ignore[arg-type]
    if found_any == Grants():
        raise LoginRefused("no binding rule grants anything to this bearer")
    return found_any


def _filled(text: str, bearer: Bearer) -> str:
    def value(gap: re.Match[str]) -> str:
        if gap[1] not in bearer.value:
            raise LoginRefused(f"the bearer token has no claim for value.{gap[1]}")
        return bearer.value[gap[1]]

    return _GAP.sub(value, text)

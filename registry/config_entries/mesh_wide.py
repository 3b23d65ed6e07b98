"""Entries about the mesh as a whole: mesh, jwt-provider, egress, exported-services."""

import base64
import binascii
import json
from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar
from urllib.parse import urlsplit

from . import checks
from .entry import Entry
from .errors import InvalidEntry
from .fields import (
    duration,
    flag,
    integer,
    integers,
    nested,
    objects,
    tenancy,
    text,
    texts,
    unsupported,
)
from .schema import refuse_unless

JWKS_BYTES_MAX = 64 * 1024  # a few dozen keys
_TRANSPARENT = "applications reach upstreams on their local addresses"
_TLS_VERSIONS = ("TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")
ESCAPED_SLASHES = (
    "IMPLEMENTATION_SPECIFIC_DEFAULT",
    "KEEP_UNCHANGED",
    "REJECT_REQUEST",
    "UNESCAPE_AND_FORWARD",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestNormalization:
    disabled: bool = flag("InsecureDisablePathNormalization", "Paths are authorised as they come.")
    merge_slashes: bool = flag("MergeSlashes", "`//` is `/`.")
    escaped_slashes: str = text(
        "PathWithEscapedSlashesAction",
        "`%2F`, `%5C`; by default rejected where rules read paths.",
        choices=ESCAPED_SLASHES,
    )
    underscores: str = text(
        "HeadersWithUnderscoresAction",
        "Allowed by default.",
        choices=("ALLOW", "REJECT_REQUEST", "DROP_HEADER"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingHttp:
    normalization: RequestNormalization | None = nested(
        "RequestNormalization", RequestNormalization, "How paths are read before they are authorised."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshHttp:
    incoming: IncomingHttp | None = nested("Incoming", IncomingHttp, "Requests of peers.")
    sanitize: bool = flag(
        "SanitizeXForwardedClientCert", "It always is: the sidecar alone writes that header."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsVersions:
    least: str = text("TLSMinVersion", "Always 1.3.", choices=_TLS_VERSIONS)
    most: str = text("TLSMaxVersion", "1.3 or nothing.", choices=("TLS_AUTO", "TLSv1_3"))
    suites: None = unsupported("CipherSuites", "those of TLS 1.3 are fixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshTls:
    incoming: TlsVersions | None = nested("Incoming", TlsVersions, "From peers.")
    outgoing: TlsVersions | None = nested("Outgoing", TlsVersions, "To peers.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshPeering:
    through_gateways: bool = flag("PeerThroughMeshGateways", "Kept for clusters that peer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh(Entry):
    """Rules of the whole mesh."""

    KIND: ClassVar[str] = "mesh"
    ONLY_NAME: ClassVar[str] = "mesh"

    http: MeshHttp | None = nested("HTTP", MeshHttp, "How requests are read.")
    tls: MeshTls | None = nested("TLS", MeshTls, "Between sidecars.")
    peering: MeshPeering | None = nested("Peering", MeshPeering, "Of clusters.")
    transparent_proxy: None = unsupported("TransparentProxy", _TRANSPARENT)
    permissive: None = unsupported("AllowEnablingPermissiveMutualTLS", "mutual TLS is always strict")
    validate_clusters: None = unsupported(
        "ValidateClusters", "every configuration is compiled before it is used"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalJwks:
    jwks: str = text("JWKS", "The JSON Web Key Set, in base64.", most=JWKS_BYTES_MAX * 4 // 3 + 4)
    filename: None = unsupported("Filename", "which machine's? Give JWKS")

    def check(self, path: str) -> None:
        refuse_unless(self.jwks, path, "JWKS", "is missing")
        _ = decoded_jwks(self.jwks, f"{path}.JWKS")


def decoded_jwks(text: str, path: str = "JWKS") -> str:
    """The key set as JSON text. Raises InvalidEntry."""
    try:
        found = base64.b64decode(text, validate=True)
        keys = json.loads(found)["keys"]
    except (binascii.Error, ValueError, TypeError, KeyError, RecursionError):
        raise InvalidEntry(path, 'must be base64 of {"keys": [...]}') from None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise InvalidEntry(path, "has no keys")
    if any("d" in key or "k" in key for key in keys):
        raise InvalidEntry(path, "holds a private or symmetric key: give public keys only")
    return found.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicyBackOff:
    base_ms: int = duration("BaseInterval", "Read and not needed: 100 ms, and doubled.")
    max_ms: int = duration("MaxInterval", "Read and not needed: 10s.")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwksRetryPolicy:
    retries: int = integer("NumRetries", "After the first attempt.", 0, 20)
    backoff: RetryPolicyBackOff | None = nested("RetryPolicyBackOff", RetryPolicyBackOff, "Between attempts.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJwks:
    uri: str = text(
        "URI", "Where the key set is: https, or http on a loopback address.", most=2048, check=checks.url
    )
    request_timeout_ms: int = integer("RequestTimeoutMs", "1000 by default.", 0, 60_000)
    cache_ms: int = duration("CacheDuration", "5m by default.")
    retry: JwksRetryPolicy | None = nested("RetryPolicy", JwksRetryPolicy, "Where it does not answer.")
    asynchronously: bool = flag("FetchAsynchronously", "Read and not needed.")
    use_sni: bool = flag("UseSNI", "It always is sent.")
    cluster: None = unsupported("JWKSCluster", "the URI says where to go")

    def check(self, path: str) -> None:
        safe = self.uri.startswith("https://") or _is_http_on_loopback(self.uri)
        refuse_unless(safe, path, "URI", "must be an https URL, or http on a loopback address")


def _is_http_on_loopback(uri: str) -> bool:
    """Whoever can change what is fetched can sign what they like."""
    parts = urlsplit(uri)
    try:
        return parts.scheme == "http" and ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonWebKeySet:
    local: LocalJwks | None = nested("Local", LocalJwks, "Keys in the entry.")
    remote: RemoteJwks | None = nested("Remote", RemoteJwks, "Fetched by sidecars.")

    def check(self, path: str) -> None:
        refuse_unless((self.local is None) != (self.remote is None), path, "", "give either Local or Remote")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationHeader:
    name: str = text("Name", "Header.", check=checks.header_name)
    value_prefix: str = text("ValuePrefix", "Before the token, as `Bearer `.")
    forward: bool = flag("Forward", "The header goes on to the application.")

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationName:
    name: str = text("Name", "Its name.")

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtLocation:
    header: LocationHeader | None = nested("Header", LocationHeader, "A header.")
    query: LocationName | None = nested("QueryParam", LocationName, "A query parameter.")
    cookie: LocationName | None = nested("Cookie", LocationName, "A cookie.")

    def check(self, path: str) -> None:
        given = (self.header, self.query, self.cookie)
        refuse_unless(
            sum(it is not None for it in given) == 1, path, "", "give one of Header, QueryParam, Cookie"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtForwarding:
    header: str = text("HeaderName", "Header that brings the payload.", check=checks.editable_header)
    pad: bool = flag("PadForwardPayloadHeader", "With base64's padding.")

    def check(self, path: str) -> None:
        refuse_unless(self.header, path, "HeaderName", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtCache:
    size: int = integer("Size", "Checked signatures are remembered; times are judged anew.", 0, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtProvider(Entry):
    """Who issues tokens, and how they are verified. Intentions name it."""

    KIND: ClassVar[str] = "jwt-provider"

    issuer: str = text("Issuer", "`iss`; any where empty.", most=1024)
    audiences: tuple[str, ...] = texts("Audiences", "One of them is in `aud`; any where empty.")
    keys: JsonWebKeySet | None = nested("JSONWebKeySet", JsonWebKeySet, "What tokens are verified with.")
    locations: tuple[JwtLocation, ...] = objects(
        "Locations", JwtLocation, "The first that holds a token; `Authorization: Bearer` by default.", most=8
    )
    forwarding: JwtForwarding | None = nested(
        "Forwarding", JwtForwarding, "The payload, for the application."
    )
    clock_skew_s: int = integer("ClockSkewSeconds", "Allowed difference of clocks.", 0, 3600, default=30)
    cache: JwtCache | None = nested("CacheConfig", JwtCache, "Read and not needed.")

    def check(self, path: str) -> None:
        refuse_unless(self.keys, path, "JSONWebKeySet", "is missing: give Local or Remote")


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRule:
    name: str = text("Name", "For people and labels.", check=checks.service_name)
    hosts: tuple[str, ...] = texts(
        "Hosts",
        "`api.example.com`, `*.example.com`, an address or CIDR block; the SNI too.",
        check=checks.outside_host,
    )
    ports: tuple[int, ...] = integers("Ports", "Any where empty.", 1, 65_535)

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing")
        refuse_unless(self.hosts, path, "Hosts", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress(Entry):
    """Destinations outside the mesh that applications may reach through their sidecar. One match allows."""

    KIND: ClassVar[str] = "egress"
    ONLY_NAME: ClassVar[str] = "global"

    bind_address: str = text(
        "BindAddress", "Of the forward proxy; 127.0.0.1 by default.", check=checks.ip_address
    )
    bind_port: int = integer("BindPort", "Of the forward proxy; there is none where 0.", 0, 65_535)
    default_allow: bool = flag("DefaultAllow", "What no rule names is allowed.")
    rules: tuple[EgressRule, ...] = objects("Rules", EgressRule, "In any order.", most=1024)

    def check(self, path: str) -> None:
        names = [rule.name for rule in self.rules]
        for at, name in enumerate(names):
            refuse_unless(name not in names[:at], path, f"Rules[{at}].Name", f"{name!r} is there twice")
        is_loopback = (
            not self.bind_address or self.bind_address.startswith("127.") or self.bind_address == "::1"
        )
        refuse_unless(
            is_loopback, path, "BindAddress", "must be loopback, else others could call as this service"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    peer: str = text("Peer", "A peer of this cluster.", check=checks.service_name)
    partition: None = tenancy("Partition")
    sameness_group: None = unsupported("SamenessGroup", "groups of clusters are not known here")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedService:
    name: str = text("Name", "A service, or `*`.", check=checks.service_or_any)
    consumers: tuple[Consumer, ...] = objects("Consumers", Consumer, "Who may see it.")
    namespace: None = tenancy("Namespace")

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedServices(Entry):
    """Services that peers may see. Kept until clusters peer."""

    KIND: ClassVar[str] = "exported-services"
    ONLY_NAME: ClassVar[str] = "default"

    services: tuple[ExportedService, ...] = objects("Services", ExportedService, "One for each.", most=1024)

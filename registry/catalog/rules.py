"""What a row must look like to be taken in. Every refusal names the field and the mend.

Messages name fields as Consul's HTTP API does. The same function judges on every server, so it may
only look at its arguments.
"""

import ipaddress
import re
from collections.abc import Mapping

from ca.authority import LEAF_TTL_MAX, LEAF_TTL_MIN
from ca.rotation import ROOT_TTL_LEAVES_MIN, ROOT_TTL_MS_MAX, ROOT_TTL_MS_MIN
from ca.sealing import NONCE_BYTES, SEALED_BYTES_MAX, SealedKey
from weft.durations import format_duration
from weft.limits import CERTIFICATE_BYTES_MAX, CHAIN_LENGTH_MAX

from ..config_entries.service_intentions import encoded_permissions
from ..errors import InvalidCommand
from . import limits
from .model import (
    CONNECT_PROXY,
    NO_DEFINITION,
    STATUSES,
    WILDCARD,
    CaRoot,
    CaSettings,
    Check,
    CheckDefinition,
    Intention,
    Node,
    Proxy,
    Service,
    Upstream,
)
from .proxy_config import parse_object, read_proxy, read_upstream

_NAME = re.compile(rf"(?!\.{{1,2}}$)[A-Za-z0-9._-]{{1,{limits.NAME_CHARS_MAX}}}")
_HOST = re.compile(rf"[A-Za-z0-9]([A-Za-z0-9_.-]{{0,{limits.ADDRESS_CHARS_MAX - 2}}}[A-Za-z0-9])?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_META_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,{limits.META_KEY_CHARS_MAX}}}")
_COLON_HEX = re.compile(r"([0-9a-f]{2}(:[0-9a-f]{2}){0,63})?")
_MODE = re.compile(r"0?[0-7]{3}")
_PORT_MAX = 65_535
_WEIGHT_MAX = 65_535  # Consul's bound, from DNS SRV weights
_DAYS_30_MS = 30 * 24 * 60 * 60 * 1000


def refuse_unless(condition: object, message: str) -> None:
    """Raises InvalidCommand unless the condition holds.

    The message is made either way; what every row goes through many times makes its own when it must.
    """
    if not condition:
        raise InvalidCommand(message)


def name(field: str, value: str) -> None:
    """A name that ends up in a SPIFFE id or an instance key."""
    if not _NAME.fullmatch(value):
        raise InvalidCommand(
            f"{field} {value[:64]!r}: use 1 to {limits.NAME_CHARS_MAX} letters, digits, '.', '-', '_'"
        )


def label(field: str, value: str) -> None:
    """An id or a name that only the catalog reads: printable, not empty."""
    if not (value and value.isprintable() and len(value.encode()) <= limits.LABEL_BYTES_MAX):
        raise InvalidCommand(
            f"{field} {value[:64]!r}: use 1 to {limits.LABEL_BYTES_MAX} bytes of printable text"
        )


def uuid(field: str, value: str) -> None:
    refuse_unless(_UUID.fullmatch(value), f"{field} {value[:64]!r}: must be a lower-case UUID")


def port(field: str, value: int) -> None:
    if not 0 <= value <= _PORT_MAX:
        raise InvalidCommand(f"{field} {value}: must be from 0 to {_PORT_MAX}")


def address(field: str, value: str) -> None:
    """A host name or IP address, or nothing. The unspecified addresses reach nobody."""
    if not value:
        return
    refuse_unless(
        _HOST.fullmatch(value) or is_ip(value),
        f"{field} {value[:64]!r}: must be a host name or an IP address",
    )
    refuse_unless(value not in ("0.0.0.0", "::"), f"{field} {value!r}: others cannot reach it")


def is_ip(value: str) -> bool:
    """Whether the text is an IP address, not a name."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def socket_path(field: str, value: str) -> None:
    if value:
        refuse_unless(
            value.startswith("/") and value.isprintable() and len(value.encode()) <= limits.PATH_BYTES_MAX,
            f"{field} {value[:64]!r}: must be an absolute path of at most {limits.PATH_BYTES_MAX} bytes",
        )


def text(field: str, value: str, most: int) -> None:
    if len(value) > most:
        raise InvalidCommand(f"{field}: longer than {most} characters")


def meta(field: str, pairs: Mapping[str, str]) -> None:
    refuse_unless(len(pairs) <= limits.META_PAIRS_MAX, f"{field}: more than {limits.META_PAIRS_MAX} pairs")
    for key, value in pairs.items():
        refuse_unless(_META_KEY.fullmatch(key), f"{field} key {key[:64]!r}: use letters, digits, '-', '_'")
        text(f"{field}.{key}", value, limits.META_VALUE_CHARS_MAX)


def node(row: Node) -> None:
    name("Node", row.name)
    name("Datacenter", row.datacenter)
    refuse_unless(row.address, "Address: missing; give the node's address")
    address("Address", row.address)
    if row.id:
        uuid("Node ID", row.id)
    _tagged({key: (value, 0) for key, value in row.tagged_addresses.items()})
    meta("NodeMeta", row.meta)


def _tagged(pairs: Mapping[str, tuple[str, int]]) -> None:
    refuse_unless(len(pairs) <= limits.META_PAIRS_MAX, "TaggedAddresses: too many")
    for key, (value, number) in pairs.items():
        label("TaggedAddresses", key)
        address(f"TaggedAddresses.{key}", value)
        port(f"TaggedAddresses.{key}.Port", number)


def service(row: Service) -> None:
    label("Service ID", row.id)
    label("Service Name", row.name)
    if "/" in row.name:
        raise InvalidCommand(f"Service Name {row.name!r}: must not contain '/'")
    refuse_unless(len(row.tags) <= limits.TAGS_MAX, f"Tags: more than {limits.TAGS_MAX}")
    for tag in row.tags:
        text("Tags", tag, limits.LABEL_BYTES_MAX)
    address("Address", row.address)
    port("Port", row.port)
    socket_path("SocketPath", row.socket_path)
    _tagged(row.tagged_addresses)
    meta("Meta", row.meta)
    for field, weight in (("Passing", row.weight_passing), ("Warning", row.weight_warning)):
        if not 0 <= weight <= _WEIGHT_MAX:
            raise InvalidCommand(f"Weights.{field} {weight}: must be 0 to {_WEIGHT_MAX}")
    refuse_unless(row.weight_passing, "Weights.Passing: must be above 0")
    parse_object(row.locality_json, "Locality")
    _mesh_side(row)


def _mesh_side(row: Service) -> None:
    if row.kind not in ("", CONNECT_PROXY):
        raise InvalidCommand(f"Kind {row.kind[:64]!r}: use {CONNECT_PROXY!r} or leave it out")
    if row.connect_native:
        name("Service Name", row.name)
        refuse_unless(row.port, "Port: missing; a native service needs the port that its peers connect to")
        refuse_unless(row.kind == "", "Connect.Native: a proxy cannot be native too; leave one out")
    if row.kind == CONNECT_PROXY:
        refuse_unless(row.proxy, "Proxy: missing; a connect-proxy needs Proxy.DestinationServiceName")
        refuse_unless(row.port, "Port: missing; a connect-proxy needs the port that its peers connect to")
    if row.proxy:
        refuse_unless(row.kind == CONNECT_PROXY, f"Proxy: give Kind {CONNECT_PROXY!r} with it")
        _proxy(row.proxy, row.datacenter)


def _proxy(row: Proxy, datacenter: str) -> None:
    name("Proxy.DestinationServiceName", row.destination_service)
    if row.destination_service_id:
        label("Proxy.DestinationServiceID", row.destination_service_id)
    address("Proxy.LocalServiceAddress", row.local_address)
    port("Proxy.LocalServicePort", row.local_port)
    socket_path("Proxy.LocalServiceSocketPath", row.local_socket_path)
    refuse_unless(row.mode in ("", "direct"), f"Proxy.Mode {row.mode[:64]!r}: use 'direct' or leave it out")
    read_proxy(row.config_json, "Proxy.Config")
    parse_object(row.rest_json, "Proxy")
    refuse_unless(
        len(row.upstreams) <= limits.UPSTREAMS_MAX, f"Proxy.Upstreams: more than {limits.UPSTREAMS_MAX}"
    )
    taken: set[tuple[str, object]] = set()
    for at, upstream in enumerate(row.upstreams):
        where = f"Proxy.Upstreams[{at}]"
        _upstream(where, upstream, datacenter)
        bind = upstream.local_bind_socket_path or (bind_address(upstream), upstream.local_bind_port)
        for claim in (("destination", upstream.destination_name), ("bind", bind)):
            refuse_unless(claim not in taken, f"{where}: {claim[0]} {claim[1]!r} is declared twice")
            taken.add(claim)


def bind_address(row: Upstream) -> str:
    """The IP address that the upstream's listener binds."""
    return "127.0.0.1" if row.local_bind_address in ("", "localhost") else row.local_bind_address


def _upstream(where: str, row: Upstream, datacenter: str) -> None:
    refuse_unless(
        row.destination_type in ("", "service"), f"{where}.DestinationType: only 'service' is supported"
    )
    name(f"{where}.DestinationName", row.destination_name)
    refuse_unless(
        row.datacenter in ("", datacenter),
        f"{where}.Datacenter {row.datacenter[:64]!r}: only this cluster's ({datacenter}) can be reached",
    )
    port(f"{where}.LocalBindPort", row.local_bind_port)
    socket_path(f"{where}.LocalBindSocketPath", row.local_bind_socket_path)
    refuse_unless(
        bool(row.local_bind_port) != bool(row.local_bind_socket_path),
        f"{where}: give either LocalBindPort or LocalBindSocketPath",
    )
    refuse_unless(
        _is_loopback(bind_address(row)),
        f"{where}.LocalBindAddress {row.local_bind_address[:64]!r}: must be a loopback address, "
        "else other machines could call as this service",
    )
    if row.local_bind_socket_mode:
        refuse_unless(
            _MODE.fullmatch(row.local_bind_socket_mode),
            f"{where}.LocalBindSocketMode {row.local_bind_socket_mode[:64]!r}: write octal, as 0600",
        )
    read_upstream(row.config_json, f"{where}.Config")
    parse_object(row.rest_json, where)


def _is_loopback(value: str) -> bool:
    return is_ip(value) and ipaddress.ip_address(value).is_loopback


def check(row: Check) -> None:
    label("CheckID", row.id)
    label("Check Name", row.name)
    status(row.status)
    text("Notes", row.notes, limits.OUTPUT_CHARS_MAX)
    text("Output", row.output, limits.OUTPUT_CHARS_MAX)
    if row.service_id:
        label("ServiceID", row.service_id)
    text("Type", row.type, limits.LABEL_BYTES_MAX)
    port("ExposedPort", row.exposed_port)
    if row.definition is not NO_DEFINITION:
        _definition(row.definition)


_DEFINITION_TEXTS = (
    *("http", "method", "tls_server_name", "tcp", "grpc", "alias_node", "alias_service"),
    *("udp", "h2ping", "os_service"),
)


def _definition(definition: CheckDefinition) -> None:
    parse_object(definition.header_json, "Header")
    text("Body", definition.body, limits.JSON_BYTES_MAX)
    for field in _DEFINITION_TEXTS:
        text(field, getattr(definition, field), limits.JSON_BYTES_MAX)
    refuse_unless(len(definition.args) <= limits.CHECK_ARGS_MAX, f"args: at most {limits.CHECK_ARGS_MAX}")
    for argument in definition.args:
        text("args", argument, limits.JSON_BYTES_MAX)
    for field in ("interval_ms", "timeout_ms", "ttl_ms", "deregister_critical_after_ms"):
        if not 0 <= getattr(definition, field) <= _DAYS_30_MS:
            raise InvalidCommand(f"{field}: at most 30 days")


def status(value: str) -> None:
    if value not in STATUSES:
        raise InvalidCommand(f"Invalid check status: {value[:64]!r}; use {', '.join(STATUSES)}")


def intention(row: Intention) -> None:
    for field, value in (("SourceName", row.source), ("DestinationName", row.destination)):
        if value != WILDCARD:
            name(field, value)
    uuid("ID", row.id)
    text("Description", row.description, limits.DESCRIPTION_CHARS_MAX)
    meta("Meta", row.meta)
    if row.permissions_json:
        refuse_unless(row.destination != WILDCARD, "Permissions: not with the destination *")
        text("Permissions", row.permissions_json.decode(errors="replace"), limits.JSON_BYTES_MAX)
        same = encoded_permissions(row.permissions) == row.permissions_json
        refuse_unless(same, "Permissions: are not in their canonical form")


def root(row: CaRoot) -> None:
    label("Root ID", row.id)
    label("Root Name", row.name)
    refuse_unless(
        0 < len(row.certificate_der) <= CERTIFICATE_BYTES_MAX,
        f"RootCert: must have 1 to {CERTIFICATE_BYTES_MAX} bytes",
    )
    label("TrustDomain", row.trust_domain)
    refuse_unless(_COLON_HEX.fullmatch(row.signing_key_id), "SigningKeyID: write octets in hex, with colons")
    refuse_unless(row.not_after_ms > row.not_before_ms, "NotAfter: must be after NotBefore")
    refuse_unless(
        len(row.intermediates_der) <= CHAIN_LENGTH_MAX - 2
        and all(len(der) <= CERTIFICATE_BYTES_MAX for der in row.intermediates_der),
        f"IntermediateCerts: at most {CHAIN_LENGTH_MAX - 2} of {CERTIFICATE_BYTES_MAX} bytes",
    )


CSR_PER_S_MAX = 10_000  # no server signs as many; above it the number is a mistake


def ca_settings(row: CaSettings) -> None:
    """Names the fields of `connect/ca/configuration`."""
    least, most = LEAF_TTL_MIN.total_seconds(), LEAF_TTL_MAX.total_seconds()
    refuse_unless(
        least * 1000 <= row.leaf_ttl_ms <= most * 1000,
        f"LeafCertTTL {_ms(row.leaf_ttl_ms)}: use {format_duration(least)} to {format_duration(most)}",
    )
    shortest = max(ROOT_TTL_MS_MIN, ROOT_TTL_LEAVES_MIN * row.leaf_ttl_ms)
    refuse_unless(
        shortest <= row.root_ttl_ms <= ROOT_TTL_MS_MAX,
        f"RootCertTTL {_ms(row.root_ttl_ms)}: use {_ms(shortest)} to {_ms(ROOT_TTL_MS_MAX)}; "
        f"it must be {ROOT_TTL_LEAVES_MIN} times LeafCertTTL or more",
    )
    refuse_unless(
        0 <= row.csr_per_s_max <= CSR_PER_S_MAX,
        f"CSRMaxPerSecond {row.csr_per_s_max}: use 0 (no limit) to {CSR_PER_S_MAX}",
    )


def _ms(value: int) -> str:
    return format_duration(value / 1000)


def sealed_key(row: SealedKey) -> None:
    label("Key ID", row.key_id)
    label("Sealed by", row.sealed_by)
    refuse_unless(len(row.nonce) == NONCE_BYTES, f"Nonce: must have {NONCE_BYTES} bytes")
    refuse_unless(
        0 < len(row.ciphertext) <= SEALED_BYTES_MAX, f"Ciphertext: must have 1 to {SEALED_BYTES_MAX} bytes"
    )

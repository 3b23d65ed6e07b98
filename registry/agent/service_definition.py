"""Reads a service's definition, the body of `PUT /v1/agent/service/register`."""

import ipaddress
import re
from dataclasses import dataclass, replace

import orjson

from ..catalog.model import CONNECT_PROXY, Check, Proxy, Service, TaggedAddress, Upstream
from .check_definition import CheckSpec, read_check, with_floor
from .errors import InvalidDefinition
from .fields import Fields, decode_object, read_whole

META_PAIRS_MAX = 64  # Consul's documented bounds of service metadata
META_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
META_VALUE_CHARS_MAX = 512
WEIGHT_MAX = 65535
PORT_MAX = 65535
CHECKS_MAX = 64  # of one service
_SOCKET_MODE = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service as it was asked for. `service.port` may be 0 in `sidecar`: the agent chooses one."""

    service: Service
    checks: tuple[Check, ...]
    checks_given: bool  # an empty list of checks is given; no list is not
    sidecar: "ServiceSpec | None" = None


@dataclass(frozen=True, slots=True)
class Home:
    """The node that a definition is registered on."""

    node: str
    datacenter: str


def parse_service(body: bytes, home: Home) -> ServiceSpec:
    """Reads a registration. Raises Undecodable (not the right JSON) or InvalidDefinition."""
    spec = read_whole(decode_object(body), "", lambda fields: read_service(fields, home))
    if not spec.service.name:
        raise InvalidDefinition("Missing service name")
    return spec


def read_service(fields: Fields, home: Home) -> ServiceSpec:
    """A service, with what is registered along with it. Raises Undecodable, InvalidDefinition."""
    name = fields.text("Name") or fields.text("Service")
    service_id = fields.text("ID") or name
    _default_tenant(fields)
    fields.raw("Token")  # an ACL token is the caller's, and no part of the service
    if fields.raw("Ports"):
        raise InvalidDefinition("Invalid service: Ports is not supported: give one Port")
    weight_passing, weight_warning = _weights(fields)
    service = Service(
        node=home.node,
        id=service_id,
        name=name,
        datacenter=home.datacenter,
        kind=_kind(fields),
        tags=fields.texts("Tags"),
        address=_address(fields),
        port=_port(fields, "Port"),
        socket_path=fields.text("SocketPath"),
        tagged_addresses=_tagged_addresses(fields),
        meta=_meta(fields),
        enable_tag_override=fields.boolean("EnableTagOverride"),
        proxy=fields.child("Proxy", read_proxy),
        locality_json=_json(fields.raw("Locality")),
        weight_passing=weight_passing,
        weight_warning=weight_warning,
    )
    given = any(fields.has(key) for key in ("Check", "Checks"))
    checks = _checks(fields, service)
    native, sidecar = _connect(fields, home)
    if native:
        service = _native(service)
    _validate_proxy(service)
    return ServiceSpec(service, checks, given, sidecar)


def _default_tenant(fields: Fields) -> None:
    for name in ("Namespace", "Partition"):
        if fields.text(name) not in ("", "default"):
            raise InvalidDefinition(f'Invalid {name}: leave it out or use "default"')


def _native(service: Service) -> Service:
    return replace(service, connect_native=True)


def _kind(fields: Fields) -> str:
    kind = fields.text("Kind")
    if kind not in ("", CONNECT_PROXY):
        raise InvalidDefinition(f'Invalid Kind "{kind[:50]}": use "" or "{CONNECT_PROXY}"')
    return kind


def _address(fields: Fields) -> str:
    address = fields.text("Address")
    if address in ("0.0.0.0", "::", "[::]"):
        raise InvalidDefinition("Invalid service address")
    return address


def _port(fields: Fields, name: str) -> int:
    port = fields.integer(name)
    if not 0 <= port <= PORT_MAX:
        raise InvalidDefinition(f"Invalid {fields.path(name)}: must be between 0 and {PORT_MAX}")
    return port


def _tagged_addresses(fields: Fields) -> dict[str, TaggedAddress]:
    addresses: dict[str, TaggedAddress] = {}
    for tag, raw in sorted(fields.mapping("TaggedAddresses").items()):
        addresses[tag] = read_whole(
            raw,
            fields.path(f"TaggedAddresses.{tag[:50]}"),
            lambda entry: TaggedAddress(entry.text("Address"), _port(entry, "Port")),
        )
    return addresses


def _meta(fields: Fields) -> dict[str, str]:
    meta = fields.text_mapping("Meta")
    if len(meta) > META_PAIRS_MAX:
        raise InvalidDefinition(f"Invalid Service Meta: more than {META_PAIRS_MAX} pairs")
    for key, value in meta.items():
        if not META_KEY.fullmatch(key):
            raise InvalidDefinition(
                f"Invalid Service Meta: key {key[:130]!r}: use 1-128 letters, digits, - and _"
            )
        if len(value) > META_VALUE_CHARS_MAX:
            raise InvalidDefinition(
                f"Invalid Service Meta: value of {key!r} is over {META_VALUE_CHARS_MAX} characters"
            )
    return meta


def _weights(fields: Fields) -> tuple[int, int]:
    weights = fields.child(
        "Weights", lambda given: (given.integer("Passing", 1), given.integer("Warning", 1))
    )
    passing, warning = weights or (1, 1)
    if not 1 <= passing <= WEIGHT_MAX or not 0 <= warning <= WEIGHT_MAX:
        raise InvalidDefinition(
            f"Invalid Weights: Passing must be between 1 and {WEIGHT_MAX}, Warning between 0 and {WEIGHT_MAX}"
        )
    return passing, warning


def _checks(fields: Fields, service: Service) -> tuple[Check, ...]:
    single = fields.child("Check", read_check)
    specs = [single] if single else []
    specs += [spec for spec in fields.children("Checks", read_check) if spec]
    if len(specs) > CHECKS_MAX:
        raise InvalidDefinition(f"Invalid check: more than {CHECKS_MAX} checks of one service")
    return check_rows(service, specs)


def check_rows(service: Service, specs: list[CheckSpec]) -> tuple[Check, ...]:
    """Rows with Consul's default ids: `service:<id>`, or `service:<id>:<n>` where there are several."""
    rows = []
    for n, spec in enumerate(specs, 1):
        default_id = f"service:{service.id}" + (f":{n}" if len(specs) > 1 else "")
        row = spec.row(service.node, service.id, default_id, f"Service '{service.name}' check")
        rows.append(replace(row, definition=with_floor(row.definition)))
    if len({row.id for row in rows}) != len(rows):
        raise InvalidDefinition("Invalid check: two checks of one service have the same CheckID")
    return tuple(rows)


def _connect(fields: Fields, home: Home) -> tuple[bool, ServiceSpec | None]:
    connect = fields.child(
        "Connect",
        lambda given: (
            given.boolean("Native"),
            given.child("SidecarService", lambda sidecar: _sidecar(sidecar, home)),
        ),
    )
    native, sidecar = connect or (False, None)
    if native and sidecar:
        raise InvalidDefinition("Invalid SidecarService: a Connect native service has no sidecar")
    return native, sidecar


def _sidecar(fields: Fields, home: Home) -> ServiceSpec:
    for name in ("ID", "Connect"):
        if fields.raw(name):
            raise InvalidDefinition(f"Invalid SidecarService: {name} cannot be set")
    return read_service(fields, home)


def read_proxy(fields: Fields) -> Proxy:
    """The Proxy object of a definition."""
    mode = fields.text("Mode")
    if mode not in ("", "direct"):
        raise InvalidDefinition(f'Invalid Proxy.Mode "{mode[:50]}": use "" or "direct"')
    return Proxy(
        destination_service=fields.text("DestinationServiceName"),
        destination_service_id=fields.text("DestinationServiceID"),
        local_address=fields.text("LocalServiceAddress"),
        local_port=_port(fields, "LocalServicePort"),
        local_socket_path=fields.text("LocalServiceSocketPath"),
        mode=mode,
        config_json=_json(fields.mapping("Config")),
        upstreams=_upstreams(fields),
        rest_json=_rest(
            fields,
            ("MeshGateway", "Expose", "TransparentProxy", "MutualTLSMode", "EnvoyExtensions", "AccessLogs"),
        ),
    )


def _upstreams(fields: Fields) -> tuple[Upstream, ...]:
    upstreams = fields.children("Upstreams", _upstream)
    listens = [
        (row.local_bind_address or "127.0.0.1", row.local_bind_port, row.local_bind_socket_path)
        for row in upstreams
    ]
    if len(set(listens)) != len(listens):
        raise InvalidDefinition("Invalid Upstreams: two of them listen on the same local address")
    return upstreams


def _upstream(fields: Fields) -> Upstream:
    if fields.text("DestinationType") not in ("", "service"):
        raise InvalidDefinition(f"Invalid {fields.path('DestinationType')}: only services can be upstreams")
    for name in ("DestinationNamespace", "DestinationPartition", "DestinationPeer"):
        if fields.text(name) not in ("", "default"):
            raise InvalidDefinition(f"Invalid {fields.path(name)}: leave it out")
    fields.raw("CentrallyConfigured")
    upstream = Upstream(
        destination_name=fields.text("DestinationName"),
        local_bind_port=_port(fields, "LocalBindPort"),
        local_bind_address=fields.text("LocalBindAddress"),
        local_bind_socket_path=fields.text("LocalBindSocketPath"),
        local_bind_socket_mode=fields.text("LocalBindSocketMode"),
        datacenter=fields.text("Datacenter"),
        config_json=_json(fields.mapping("Config")),
        rest_json=_rest(fields, ("MeshGateway",)),
    )
    fields.done()  # a misspelt field is the better message than the one it leaves missing
    _validate_upstream(upstream, fields)
    return upstream


def _validate_upstream(upstream: Upstream, fields: Fields) -> None:
    if not upstream.destination_name or upstream.destination_name == "*":
        raise InvalidDefinition(f"Invalid {fields.path('DestinationName')}: name the destination service")
    if bool(upstream.local_bind_port) == bool(upstream.local_bind_socket_path):
        raise InvalidDefinition(
            f"Invalid {fields.path('LocalBindPort')}: give either LocalBindPort or LocalBindSocketPath"
        )
    mode = upstream.local_bind_socket_mode
    if mode and not _SOCKET_MODE.fullmatch(mode):
        raise InvalidDefinition(
            f"Invalid {fields.path('LocalBindSocketMode')}: use octal digits such as 0600"
        )
    if upstream.local_bind_address and not _is_loopback(upstream.local_bind_address):
        # Whoever reaches an upstream listener speaks with this service's identity (trap 5).
        raise InvalidDefinition(f"Invalid {fields.path('LocalBindAddress')}: use a loopback address")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _validate_proxy(service: Service) -> None:
    if service.kind == CONNECT_PROXY:
        proxy = service.proxy
        if proxy is None or not proxy.destination_service:
            raise InvalidDefinition(
                "Validation failed: Proxy.DestinationServiceName must be non-empty for Connect proxy services"
            )
        if not service.port and not service.socket_path:
            raise InvalidDefinition("Validation failed: Port must be set for a Connect proxy")


def _rest(fields: Fields, names: tuple[str, ...]) -> bytes:
    """Known fields that are echoed and have no effect yet, as canonical JSON."""
    rest = {name: value for name in names if (value := fields.raw(name))}
    return _json(rest)


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if value else b""

"""Reads a health check's definition, as Consul's clients write it."""

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import orjson

from ..catalog.limits import CHECK_ARGS_MAX, OUTPUT_CHARS_MAX
from ..catalog.model import CRITICAL, NODE_ALIVE_ID, STATUSES, Check, CheckDefinition
from .errors import InvalidDefinition, Undecodable
from .fields import Fields
from .os_service import UNIT

INTERVAL_MIN_S = 0.1  # below it a check is load, not observation
DURATION_MAX_S = 30 * 24 * 3600.0
DEREGISTER_AFTER_MIN_S = 60.0  # as in Consul: a shorter outage must not erase the instance
TIMEOUT_DEFAULT_S = 10.0  # Consul's documented default
HEADERS_MAX = 64
POLLED = ("http", "tcp", "grpc", "udp", "h2ping", "os_service", "script")
"""Kinds that the agent looks at on an interval."""
THRESHOLD_MAX = 1000
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH", "DELETE"))
ARGUMENT_CHARS_MAX = 8192  # of one word of a command line
_UNSUPPORTED = {
    "Script": "Script is a shell's line, and there is no shell: give Args, a program and its arguments",
    "DockerContainerID": "Docker checks are not supported: use HTTP, TCP, GRPC or TTL",
    "Shell": "Docker checks are not supported: use HTTP, TCP, GRPC or TTL",
}
_IGNORED = (
    "Token",
    "Namespace",
    "Partition",
    "SessionName",
)


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """A check as it was asked for: `id`, `name` and `status` may be empty and get their defaults."""

    id: str
    name: str
    notes: str
    status: str
    service_id: str
    type: str
    definition: CheckDefinition

    def row(self, node: str, service_id: str, default_id: str, default_name: str) -> Check:
        return Check(
            node=node,
            id=self.id or default_id,
            name=self.name or default_name,
            status=self.status or CRITICAL,
            notes=self.notes,
            service_id=service_id,
            type=self.type,
            definition=self.definition,
        )


def read_check(fields: Fields) -> CheckSpec | None:
    """None for an empty definition, which stands for no check. Raises Undecodable, InvalidDefinition."""
    for name, mend in _UNSUPPORTED.items():
        if fields.raw(name):
            raise InvalidDefinition(f"Invalid check: {mend}")
    for name in _IGNORED:
        fields.raw(name)
    definition = read_definition(fields)
    # Consul knows both spellings: `CheckID` in service definitions, `ID` in check registrations.
    spec = CheckSpec(
        id=fields.text("CheckID") or fields.text("ID"),
        name=fields.text("Name"),
        notes=fields.text("Notes"),
        status=fields.text("Status"),
        service_id=fields.text("ServiceID"),
        type=_type(definition),
        definition=definition,
    )
    if definition == CheckDefinition() and not (spec.id or spec.name or spec.status):
        return None
    fields.done()  # a misspelt field is the better message than the one it leaves missing
    _validate(spec)
    return spec


def read_definition(fields: Fields) -> CheckDefinition:
    """How a status is found. Raises Undecodable, InvalidDefinition."""
    h2ping = fields.text("H2PING")
    with_tls = fields.boolean("H2PingUseTLS", True)  # Consul's default
    return CheckDefinition(
        interval_ms=_ms(fields, "Interval"),
        timeout_ms=_ms(fields, "Timeout"),
        ttl_ms=_ms(fields, "TTL"),
        deregister_critical_after_ms=_ms(fields, "DeregisterCriticalServiceAfter"),
        http=fields.text("HTTP"),
        method=fields.text("Method"),
        header_json=_headers(fields),
        body=fields.text("Body"),
        tls_server_name=fields.text("TLSServerName"),
        tls_skip_verify=fields.boolean("TLSSkipVerify"),
        tcp=fields.text("TCP"),
        tcp_use_tls=fields.boolean("TCPUseTLS"),
        grpc=fields.text("GRPC"),
        grpc_use_tls=fields.boolean("GRPCUseTLS"),
        alias_node=fields.text("AliasNode"),
        alias_service=fields.text("AliasService"),
        success_before_passing=_threshold(fields, "SuccessBeforePassing"),
        failures_before_warning=_threshold(fields, "FailuresBeforeWarning"),
        failures_before_critical=_threshold(fields, "FailuresBeforeCritical"),
        udp=fields.text("UDP"),
        h2ping=h2ping,
        h2ping_plaintext=bool(h2ping) and not with_tls,
        os_service=fields.text("OSService"),
        args=fields.texts("ScriptArgs") or fields.texts("Args"),
        output_bytes_max=_output_bytes(fields),
        disable_redirects=fields.boolean("DisableRedirects"),
    )


def _output_bytes(fields: Fields) -> int:
    """More than the catalog keeps is no more than that. 0 is the default."""
    asked = fields.integer("OutputMaxSize")
    if asked < 0:
        raise InvalidDefinition("Invalid check: MaxOutputMaxSize must be positive")
    return asked if asked < OUTPUT_CHARS_MAX else 0


def _ms(fields: Fields, name: str) -> int:
    seconds = fields.duration_s(name)
    if not 0 <= seconds <= DURATION_MAX_S:
        raise InvalidDefinition(f"Invalid check: {fields.path(name)} must be between 0s and 720h")
    return max(1, round(seconds * 1000)) if seconds else 0


def _threshold(fields: Fields, name: str) -> int:
    count = fields.integer(name)
    if not 0 <= count <= THRESHOLD_MAX:
        raise InvalidDefinition(f"Invalid check: {fields.path(name)} must be between 0 and {THRESHOLD_MAX}")
    return count


def _headers(fields: Fields) -> bytes:
    """Canonical JSON of `{name: [value, ...]}`."""
    pairs = fields.mapping("Header")
    if len(pairs) > HEADERS_MAX:
        raise InvalidDefinition(f"Invalid check: {fields.path('Header')} has more than {HEADERS_MAX} names")
    for name, values in pairs.items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise Undecodable(f"{fields.path('Header')}.{name[:100]} must be a list of strings")
        if any(character in text for text in (name, *values) for character in "\r\n\0"):
            raise InvalidDefinition(f"Invalid check: {fields.path('Header')} holds a line break")
    return orjson.dumps(pairs, option=orjson.OPT_SORT_KEYS) if pairs else b""


def _type(definition: CheckDefinition) -> str:
    kinds = {
        "http": definition.http,
        "tcp": definition.tcp,
        "grpc": definition.grpc,
        "udp": definition.udp,
        "h2ping": definition.h2ping,
        "os_service": definition.os_service,
        "script": definition.args,
        "alias": definition.alias_service or definition.alias_node,
        "ttl": definition.ttl_ms,
    }
    chosen = [kind for kind, given in kinds.items() if given]
    if "ttl" in chosen and definition.interval_ms:
        raise InvalidDefinition("Invalid check: Interval and TTL cannot both be specified")
    if "alias" in chosen and "ttl" in chosen:
        raise InvalidDefinition("Invalid check: TTL must be not be set for Alias checks")
    if len(chosen) > 1:
        raise InvalidDefinition(f"Invalid check: one check is of one kind, not {' and '.join(chosen)}")
    return chosen[0] if chosen else ""


def _validate(spec: CheckSpec) -> None:
    definition = spec.definition
    if spec.id == NODE_ALIVE_ID:
        raise InvalidDefinition(f'Invalid check: CheckID "{NODE_ALIVE_ID}" is the node\'s own')
    if spec.status and spec.status not in STATUSES:
        raise InvalidDefinition("Status for checks must 'passing', 'warning', 'critical'")
    if spec.type in POLLED and not definition.interval_ms:
        raise InvalidDefinition(
            "Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks"
        )
    if spec.type == "alias" and definition.interval_ms:
        raise InvalidDefinition("Invalid check: Interval cannot be set for Alias checks")
    if not spec.type:
        raise InvalidDefinition("Invalid check: TTL must be > 0 for TTL checks")
    if definition.failures_before_warning > definition.failures_before_critical:
        raise InvalidDefinition(
            "Invalid check: FailuresBeforeWarning can't be higher than FailuresBeforeCritical"
        )
    _validate_target(definition)


def _validate_target(definition: CheckDefinition) -> None:
    if definition.grpc_use_tls and definition.tls_skip_verify:
        raise InvalidDefinition("Invalid check: GRPCUseTLS always verifies: leave out TLSSkipVerify")
    if definition.http:
        _validate_url(definition.http)
    if definition.method and definition.method.upper() not in _METHODS:
        raise InvalidDefinition(f"Invalid check: Method must be one of {', '.join(sorted(_METHODS))}")
    if definition.os_service and not UNIT.fullmatch(definition.os_service):
        raise InvalidDefinition("Invalid check: OSService must be the name of a systemd unit")
    if definition.args:
        _validate_args(definition.args)
    for name, target in _host_ports(definition):
        if target:
            try:
                split_host_port(target)
            except ValueError:
                raise InvalidDefinition(f"Invalid check: {name} must be host:port") from None


def _validate_args(args: tuple[str, ...]) -> None:
    if not args[0]:
        raise InvalidDefinition("Invalid check: Args must begin with a program")
    if len(args) > CHECK_ARGS_MAX:
        raise InvalidDefinition(f"Invalid check: Args has more than {CHECK_ARGS_MAX} words")
    if any(len(word) > ARGUMENT_CHARS_MAX or "\0" in word for word in args):
        raise InvalidDefinition(
            f"Invalid check: a word of Args is longer than {ARGUMENT_CHARS_MAX} characters or holds a NUL"
        )


def _host_ports(definition: CheckDefinition) -> tuple[tuple[str, str], ...]:
    return (
        ("TCP", definition.tcp),
        ("GRPC", definition.grpc.partition("/")[0]),
        ("UDP", definition.udp),
        ("H2PING", definition.h2ping),
    )


def _validate_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidDefinition("Invalid check: HTTP must be an http:// or https:// URL")


def split_host_port(target: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`. Raises ValueError."""
    host, _, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(target)
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(target)
    return host, int(port)


def with_floor(definition: CheckDefinition) -> CheckDefinition:
    """Raises durations to what the agent keeps: as in Consul, too short is lengthened, not refused."""
    interval_ms = definition.interval_ms and max(definition.interval_ms, round(INTERVAL_MIN_S * 1000))
    after_ms = definition.deregister_critical_after_ms
    return replace(
        definition,
        interval_ms=interval_ms,
        deregister_critical_after_ms=after_ms and max(after_ms, round(DEREGISTER_AFTER_MIN_S * 1000)),
    )

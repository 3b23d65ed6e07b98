"""What Weft reads from the opaque `Config` objects of a proxy and its upstreams.

Keys are compared without case and underscores, as Consul's decoder does. A key that Weft does not read
is echoed and has no effect; a key that it reads must have a valid value.
"""

import ipaddress
import json
from dataclasses import dataclass
from typing import Any

from weft.durations import InvalidDuration, parse_duration_ns

from ..config_entries.schema import read
from ..config_entries.service_defaults import PROTOCOLS, UpstreamConfig
from ..errors import InvalidCommand
from .limits import JSON_BYTES_MAX

DEFAULT_PROTOCOL = "grpc"
DURATION_MS_MAX = 24 * 60 * 60 * 1000  # longer than a day is a unit mistaken (seconds for nanoseconds)
NOTHING = UpstreamConfig()
_JSON_DEPTH_MAX = 32  # json.loads recurses per level; nothing sensible nests deeper


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """`bind_address` "" and `bind_port` 0: as registered. The egress ones: as the entry `egress` says."""

    protocol: str = ""  # "": detected from the first bytes
    bind_address: str = ""
    bind_port: int = 0
    egress_bind_address: str = ""
    egress_bind_port: int = 0


def read_proxy(config_json: bytes, field: str) -> ProxySettings:
    """Proxy.Config. Raises InvalidCommand, naming `field` and the key."""
    config = _Section(config_json, field)
    return ProxySettings(
        protocol=config.choice("protocol", PROTOCOLS, ""),
        bind_address=config.ip_address("bind_address"),
        bind_port=config.integer("bind_port", 0, 65_535, 0),
        egress_bind_address=config.ip_address("egress_bind_address"),
        egress_bind_port=config.integer("egress_bind_port", 0, 65_535, 0),
    )


def read_upstream(config_json: bytes, field: str) -> UpstreamConfig:
    """Config of one upstream: the fields of service-defaults' UpstreamConfig. Raises InvalidCommand, naming
    `field` and the key."""
    if not config_json:
        return NOTHING
    return read(UpstreamConfig, parse_object(config_json, field), field, is_lenient=True)


class _Section:
    """One JSON object, read by canonical key."""

    def __init__(self, raw: bytes | dict[str, Any], field: str) -> None:
        self._field = field
        loaded = parse_object(raw, field) if isinstance(raw, bytes) else raw
        self._values = {key.replace("_", "").lower(): value for key, value in loaded.items()}

    def _get(self, key: str) -> Any:
        return self._values.get(key.replace("_", ""))

    def _refuse(self, key: str, mend: str) -> InvalidCommand:
        return InvalidCommand(f"{self._field}.{key}: {mend}")

    def section(self, key: str) -> "_Section":
        value = self._get(key)
        if not isinstance(value, dict | None):
            raise self._refuse(key, "must be an object")
        return _Section(value or {}, f"{self._field}.{key}")

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str | None):
            raise self._refuse(key, "must be a string")
        return value or ""

    def ip_address(self, key: str) -> str:
        value = self.text(key)
        try:
            return str(ipaddress.ip_address(value)) if value else ""
        except ValueError:
            raise self._refuse(key, f"{value[:64]!r} is not an IP address") from None

    def choice(self, key: str, known: tuple[str, ...], default: str) -> str:
        value = self.text(key).lower()
        if not value:
            return default
        if value not in known:
            raise self._refuse(key, f"{value[:40]!r} is not supported; use {' or '.join(known)}")
        return value

    def integer(self, key: str, least: int, most: int, default: int) -> int:
        value = self._get(key)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # HCL and Go clients write every number as a float
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._refuse(key, f"must be an integer from {least} to {most}")
        return value

    def duration_ms(self, key: str, default: int) -> int:
        value = self._get(key)
        if value is None or value == "":
            return default
        try:
            nanoseconds = parse_duration_ns(value) if isinstance(value, str) else int(value)
        except (InvalidDuration, TypeError, ValueError, OverflowError):
            raise self._refuse(key, "must be a duration such as 30s") from None
        if not 0 < nanoseconds <= DURATION_MS_MAX * 1_000_000:
            raise self._refuse(key, "must be above 0 and at most 24h")
        return max(1, nanoseconds // 1_000_000)


def parse_object(raw: bytes, field: str) -> dict[str, Any]:
    """A JSON object; {} for b"". Raises InvalidCommand."""
    if len(raw) > JSON_BYTES_MAX:
        raise InvalidCommand(f"{field}: over {JSON_BYTES_MAX} bytes of JSON")
    if not raw:
        return {}
    if _nesting(raw) > _JSON_DEPTH_MAX:
        raise InvalidCommand(f"{field}: nests deeper than {_JSON_DEPTH_MAX}")
    try:
        value = json.loads(raw)
    except ValueError:
        raise InvalidCommand(f"{field}: is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidCommand(f"{field}: must be a JSON object")
    return value


def _nesting(raw: bytes) -> int:
    """An upper bound of the depth, brackets in strings included."""
    depth = deepest = 0
    for octet in raw:
        if octet in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif octet in b"]}":
            depth -= 1
    return deepest

"""How one sidecar process is run; every field is a flag of `weft sidecar`."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from weft.errors import ConfigError

PORT_MAX = 65535
WORKERS_MAX = 64  # each is a process of some 50 MB; services that need more have more instances
DRAIN_TIMEOUT_S_MAX = 3600.0  # what no stream ends within, none ends within a day
_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253})):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class SidecarConfig:
    """`registry` are host:port in place of the credential's; `admin_port` 0 takes a free one."""

    credential: Path
    registry: tuple[str, ...] = ()
    admin_host: str = "127.0.0.1"
    admin_port: int = 0
    state_dir: Path | None = None
    ready_file: Path | None = None
    drain_timeout_s: float = 30.0
    takeover: bool = False
    workers: int = 1
    log_level: str = "info"  # of workers; our own is set already
    log_format: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.drain_timeout_s <= DRAIN_TIMEOUT_S_MAX:
            raise ConfigError(f"--drain-timeout: give 0 to {DRAIN_TIMEOUT_S_MAX:.0f} seconds")
        if not 1 <= self.workers <= WORKERS_MAX:
            raise ConfigError(f"--workers: give 1 to {WORKERS_MAX}")
        if self.takeover and self.state_dir is None:
            raise ConfigError("--takeover: give the --state-dir of the sidecar to be replaced")


def parse_registry(text: str) -> str:
    """A `host:port` of --registry. Raises ConfigError."""
    _, port = split_address("--registry", text)
    if port == 0:
        raise ConfigError(f"--registry {text!r}: port 0 is none; give the registry's gRPC port")
    return text


def parse_admin_address(text: str) -> tuple[str, int]:
    """Host and port of --admin-address. Raises ConfigError."""
    host, port = split_address("--admin-address", text)
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        # Whoever reaches it reads the topology, and nobody is asked for a password.
        raise ConfigError(f"--admin-address {text!r}: it has no access control; give a loopback IP address")
    return host, port


def split_address(flag: str, text: str) -> tuple[str, int]:
    """`host:port` or `[IPv6]:port`. Raises ConfigError naming the flag."""
    found = _HOST_PORT.fullmatch(text)
    if not found or int(found[3]) > PORT_MAX:
        raise ConfigError(f"{flag} {text[:80]!r}: give host:port, as in 127.0.0.1:8502")
    return found[1] or found[2], int(found[3])

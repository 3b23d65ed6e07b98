"""The options of `weft dev`, `weft server` and `weft agent` about DNS."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.decorators import FC

from ..errors import ConfigError
from .consul_api import read_token
from .options import seconds

if TYPE_CHECKING:
    from registry.dns.settings import DnsSettings

OFF = -1
PORT = 53  # of a recursor
TTL_S_MAX = 2**31 - 1  # RFC 2181, 8


def _recursor(text: str) -> tuple[str, int]:
    """`address`, `address:port` or `[v6]:port`."""
    host, port = text, str(PORT)
    if text.count(":") == 1 or "]:" in text:
        host, _, port = text.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise click.BadParameter(f"{text!r}: give an IP address, or address:port") from None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise click.BadParameter(f"{text!r}: the port must be 1 to 65535")
    return str(ip), int(port)


def _recursors(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    from registry.dns.limits import RECURSORS_MAX

    if len(texts) > RECURSORS_MAX:
        raise click.BadParameter(f"give at most {RECURSORS_MAX}")
    return tuple(dict.fromkeys(map(_recursor, texts)))


def _ttl_s(_context: click.Context, _option: click.Parameter, text: str) -> int:
    """Whole seconds."""
    ttl_s = seconds(text)
    if not 0 <= ttl_s <= TTL_S_MAX or ttl_s != int(ttl_s):
        raise click.BadParameter("give whole seconds, such as 10s")
    return int(ttl_s)


_OPTIONS = (
    click.option(
        "--dns-port",
        type=click.IntRange(OFF, 65535),
        default=8600,
        show_default=True,
        help="DNS over UDP and TCP; 0 takes a free one, -1 does without.",
    ),
    click.option(
        "--dns-recursor",
        multiple=True,
        callback=_recursors,
        metavar="ADDRESS[:PORT]",
        help="Ask this resolver about names outside of consul. and weft.; without one they are refused. "
        "May be repeated.",
    ),
    click.option(
        "--dns-token-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What DNS may tell is what this token may read.  [default: the anonymous token]",
    ),
)
_CHOICES = (
    click.option(
        "--dns-only-passing",
        is_flag=True,
        help="Leave instances out of DNS that warn, not only critical ones.",
    ),
    click.option(
        "--dns-node-ttl",
        default="0s",
        show_default=True,
        callback=_ttl_s,
        metavar="DURATION",
        help="How long resolvers may keep the address of a node.",
    ),
    click.option(
        "--dns-service-ttl",
        default="0s",
        show_default=True,
        callback=_ttl_s,
        metavar="DURATION",
        help="How long resolvers may keep the instances of a service.",
    ),
)


def dns_options(command: FC) -> FC:
    """Adds them to a command; `dns_settings` reads what was given."""
    return _added((*_OPTIONS, *_CHOICES), command)


def agent_dns_options(command: FC) -> FC:
    """Without those that servers decide about."""
    return _added(_OPTIONS, command)


def _added(options: Sequence[Callable[[FC], FC]], command: FC) -> FC:
    for option in reversed(options):
        command = option(command)
    return command


def dns_settings(given: Mapping[str, Any]) -> "DnsSettings | None":
    """None where DNS is off. Raises ConfigError where options do not go together."""
    from registry.dns.answer import Choices
    from registry.dns.settings import DnsSettings, Recursor

    port, file = given["dns_port"], given["dns_token_file"]
    recursors = tuple(Recursor(*it) for it in given["dns_recursor"])
    if port == OFF:
        return None
    if any(it.port == port and ipaddress.ip_address(it.host).is_loopback for it in recursors):
        raise ConfigError(f"--dns-recursor 127.0.0.1:{port} is this DNS itself: name another resolver")
    return DnsSettings(
        port=port,
        choices=Choices(
            only_passing=given.get("dns_only_passing", False),
            node_ttl_s=given.get("dns_node_ttl", 0),
            service_ttl_s=given.get("dns_service_ttl", 0),
        ),
        recursors=recursors,
        token=read_token(file) if file else "",
    )

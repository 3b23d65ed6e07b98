"""Who may speak to a loopback listener: this machine's programs, and no web page.

A page in a browser can send requests to 127.0.0.1 by any name that resolves there (DNS rebinding), and
cross-origin writes without reading the answer. The Host must therefore name loopback, and a request that
says it comes from a page must come from this origin.
"""

import ipaddress
from collections.abc import Mapping

from .errors import Forbidden

_SAME_SITE = frozenset(("same-origin", "none"))


def check_caller(headers: Mapping[str, str]) -> None:
    """Raises Forbidden for a Host that is not loopback, or a page of another origin."""
    host = headers.get("Host", "")
    if not names_loopback(host):
        raise Forbidden(f"Host {host[:100]!r} is not served: use 127.0.0.1 or localhost")
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        raise Forbidden("Requests of web pages from another origin are not served")
    if headers.get("Sec-Fetch-Site", "none") not in _SAME_SITE:
        raise Forbidden("Requests of web pages from another origin are not served")


def names_loopback(host: str) -> bool:
    """Whether a Host header (`name`, `name:port`, `[v6]:port`) means this machine's loopback."""
    name, port = _split_port(host)
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5):
        return False
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _split_port(host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        return (name, rest[1:]) if bracket and rest[:1] in ("", ":") else ("", "")
    name, _, port = host.partition(":")
    return name, port

"""Where a probe connects: names resolved, and every address asked about before anything goes there."""

import asyncio
import socket
import ssl
from typing import Any, NamedTuple

from ..catalog.model import CheckDefinition
from .addresses import check_address
from .check_definition import split_host_port


def checked_socket(info: Any) -> socket.socket:
    """A socket factory for aiohttp: sees every address that it connects to, after DNS and at each redirect.

    Raises ForbiddenAddress.
    """
    family, kind, protocol, _, address = info
    check_address(address[0])
    return socket.socket(family, kind, protocol)


class Target(NamedTuple):
    """A resolved target: the host as given, an allowed IP address of it, the port."""

    host: str
    address: str
    port: int


async def resolve(target: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> Target:
    """Raises ForbiddenAddress if any address of the name is forbidden, and OSError."""
    host, port = split_host_port(target)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        check_address(address)
    return Target(host, addresses[0], port)


def tls_context(definition: CheckDefinition) -> ssl.SSLContext:
    """For a target that proves itself to the system's roots, or to nobody."""
    context = ssl.create_default_context()
    if definition.tls_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

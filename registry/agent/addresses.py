"""Where health checks may connect.

A definition comes from whoever may register a service; the agent that runs its checks must not become
that caller's way to cloud metadata services, which hand out the machine's own credentials (trap 28).
Loopback and private networks stay open: that is where services live.
"""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

from .errors import ForbiddenAddress

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, GCP, Azure, DigitalOcean, OpenStack (also link-local)
        "fd00:ec2::254",  # AWS, IPv6
        "fd20:ce::254",  # GCP, IPv6-only machines
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure WireServer
        "192.0.0.192",  # Oracle Cloud, older images
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")  # RFC 3056


def check_address(text: str) -> None:
    """Raises ForbiddenAddress where `text`, an IP address without a port, must not be connected to."""
    address = _effective(ipaddress.ip_address(text.partition("%")[0]))
    if address in _METADATA or address.is_link_local:
        raise ForbiddenAddress(
            f"{text} is a link-local or metadata address: health checks do not connect to it"
        )
    if address.is_multicast or address.is_unspecified:
        raise ForbiddenAddress(
            f"{text} is not the address of one machine: name the one that the service binds"
        )


def _effective(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if not isinstance(address, IPv6Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return address.ipv4_mapped or address

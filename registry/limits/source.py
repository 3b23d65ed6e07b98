"""Sans-IO. Whom limits count by."""

import ipaddress
from functools import lru_cache


@lru_cache(4096)
def source_of(address: str) -> str:
    """An IPv4 address, or an IPv6 network of 64 bits: one machine may have it whole."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket's peer has none: all of them are one
        return ""
    if ip.version == 6:
        return str(ip.ipv4_mapped) if ip.ipv4_mapped else ip.packed[:8].hex()
    return str(ip)


def host_of(peer: str) -> str:
    """The address of `host:port` or `[v6]:port`."""
    return peer.rpartition(":")[0].strip("[]")

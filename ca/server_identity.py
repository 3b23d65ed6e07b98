"""Sans-IO. The registry's own certificates, under a root of their own.

Were they issued by the mesh's root, every service's certificate would open the doors meant for servers
only, and a server's would pass as a service's. This root names no trust domain, so it can issue no SVID.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from .authority import (
    LEAF_TTL_DEFAULT,
    ROOT_TTL_DEFAULT,
    Issued,
    PublicKey,
    common_name,
    issued,
    leaf_certificate,
    signing_certificate,
)
from .errors import IssueRefused

NAMES_MAX = 64  # names and addresses of one server
_HOST = re.compile(
    r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def new_server_root(
    datacenter: str,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    now: datetime,
    ttl: timedelta = ROOT_TTL_DEFAULT,
) -> x509.Certificate:
    """The root that sidecars pin when they talk to the registry. Raises IssueRefused."""
    name = common_name(f"Weft server CA {datacenter}")
    return signing_certificate(name, key, serial, now, ttl, path_length=0).sign(key, hashes.SHA256())


def issue_server(
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    public_key: PublicKey,
    hosts: Sequence[str],
    serial: int,
    now: datetime,
    ttl: timedelta = LEAF_TTL_DEFAULT,
) -> Issued:
    """A server's TLS certificate for `hosts`: DNS names and IP addresses. Raises IssueRefused."""
    if not 1 <= len(hosts) <= NAMES_MAX:
        raise IssueRefused(f"server certificate: give 1 to {NAMES_MAX} names or addresses")
    names = x509.SubjectAlternativeName([_name(host) for host in hosts])
    builder = leaf_certificate(root, public_key, common_name(hosts[0]), serial, now, ttl)
    return issued(builder.add_extension(names, critical=False).sign(root_key, hashes.SHA256()))


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise IssueRefused(f"server name {host[:80]!r}: use a DNS name or an IP address") from None
        return x509.DNSName(host)

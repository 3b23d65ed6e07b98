"""What servers prove to each other: a certificate under the servers' own root, for their datacenter.

The root of the mesh signs services; nothing that it signed opens this port (trap 3). Every server's
certificate bears the DNS name `server.<datacenter>.weft` besides its own, and both sides check it: the
caller as the name of whom it calls, the called one from the certificate that TLS has verified.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509

from weft.tls import client_context, server_context

from .errors import PeerRefused

ALPN = "weft-peer"
"""Says in the handshake what this port speaks, so that nothing else is taken for it."""


@dataclass(frozen=True, slots=True)
class PeerTls:
    """PEM of the servers' roots, this server's chain, and its key."""

    roots_pem: bytes
    chain_pem: bytes
    key_pem: bytes = field(repr=False)


Material = Callable[[], PeerTls]
"""Asked for each connection, so that renewed certificates are used without a restart."""


def server_name(datacenter: str) -> str:
    """The DNS name that says: a server of this datacenter."""
    return f"server.{datacenter}.weft"


class Proof(NamedTuple):
    """What a finished handshake has shown: the other side's certificate, and what it means to speak."""

    leaf_der: bytes
    alpn: str


class PeerContexts:
    """TLS 1.3 contexts from the newest material. Sessions never resume (trap 7).

    A context cannot forget a root or a certificate, so other material makes new ones (trap 9).
    """

    def __init__(self, material: Material, datacenter: str) -> None:
        self._material = material
        self._datacenter = datacenter
        self._made_of: PeerTls | None = None
        self.name = server_name(datacenter)

    def calling(self) -> ssl.SSLContext:
        """For calling a server: it must show a certificate that bears `name`. Raises ConfigError."""
        self._renew()
        return self._calling

    def called(self) -> ssl.SSLContext:
        """For being called: without a certificate under the root there is no connection."""
        self._renew()
        return self._called

    def _renew(self) -> None:
        tls = self._material()
        if tls is self._made_of:
            return
        material = (tls.chain_pem, tls.key_pem, (tls.roots_pem,), (ALPN,))
        self._calling, self._called = client_context(*material), server_context(*material)
        self._calling.check_hostname = True
        self._made_of = tls

    def check(self, proof: Proof, now_unix_s: float) -> float:
        """How long the other side may stay, in seconds. Raises PeerRefused."""
        return check_peer(proof, self._datacenter, now_unix_s)


def check_peer(proof: Proof, datacenter: str, now_unix_s: float) -> float:
    """How long the other side's certificate is still valid, in seconds.

    Raises PeerRefused unless it is a server's of this datacenter, and valid now. TLS has checked the chain.
    """
    if proof.alpn != ALPN:
        raise PeerRefused("the other side speaks another protocol; run the same version on every server")
    if not proof.leaf_der:
        raise PeerRefused("the other side showed no certificate")
    leaf = x509.load_der_x509_certificate(proof.leaf_der)
    now = datetime.fromtimestamp(now_unix_s, UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise PeerRefused("the other side's certificate is not valid now; renew it, and check both clocks")
    names = dns_names(leaf)
    if server_name(datacenter) not in names:
        raise PeerRefused(
            f"the other side's certificate is of {', '.join(names)[:200] or 'nobody'}, not of a server of "
            f"{datacenter}; make it with: weft tls cert create --datacenter {datacenter}"
        )
    return (leaf.not_valid_after_utc - now).total_seconds()


def reason_of(error: BaseException) -> str:
    """One line about why a connection or a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.reason or 'CERTIFICATE_VERIFY_FAILED'}: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error or type(error).__name__).split())[:300]


def dns_names(leaf: x509.Certificate) -> list[str]:
    """The DNS names of a certificate; none where it has none."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)

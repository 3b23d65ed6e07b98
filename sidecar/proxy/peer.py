"""Who is at the other end of a TLS connection."""

import asyncio
import hashlib
from dataclasses import dataclass

from weft.spiffe import SpiffeId
from weft.svid import UntrustedPeer
from weft.tls import peer_chain

from ..identity import TlsContexts

# A connection is replaced when this share of the shorter certificate's remaining life has passed, so that
# its streams have the rest to end in.
ROLL_AT = 0.75


@dataclass(frozen=True, slots=True)
class Peer:
    """A proven identity, and what proved it. Times are seconds since the Unix epoch."""

    identity: SpiffeId
    chain: tuple[bytes, ...]  # DER, leaf first
    serial: int
    fingerprint: str  # SHA-256 of the leaf, hex
    roll_at: float  # when this connection should be replaced
    ends_at: float  # when it must be over: the earlier end of the two leaves

    @property
    def serial_key(self) -> tuple[str, int]:
        """As the revocations of a snapshot name it."""
        return self.identity.trust_domain, self.serial


def prove(transport: asyncio.BaseTransport, tls: TlsContexts, now: float) -> Peer:
    """Checks the peer of a finished handshake, at `now` (Unix seconds). Raises UntrustedPeer."""
    ssl_object = transport.get_extra_info("ssl_object")
    if ssl_object is None:
        raise UntrustedPeer("the connection is not TLS")
    if ssl_object.selected_alpn_protocol() != "h2":
        raise UntrustedPeer("the peer does not speak HTTP/2 (ALPN h2)")
    chain = peer_chain(ssl_object)
    # The transport keeps the certificate decoded as well, for which nobody asks: 1 kB a connection.
    (transport.get_extra_info("peercert") or {}).clear()
    proven = tls.peer(chain)
    ends_at = min(proven.not_after_unix_s, tls.not_after)
    fingerprint = hashlib.sha256(chain[0]).hexdigest()
    roll_at = now + (ends_at - now) * ROLL_AT
    return Peer(proven.identity, tuple(chain), proven.serial, fingerprint, roll_at, ends_at)

"""The sidecar's own X.509-SVID: its key is made here and never leaves the process."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from weft.spiffe import SpiffeId
from weft.svid import Peer


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """What new connections are made with, for one leaf, one set of trust bundles, one set of revocations.

    `not_after` is when our leaf expires, seconds since the Unix epoch. `verify` takes the peer's chain
    (DER, leaf first) after the handshake and answers who it is; `peer` adds the leaf's serial and end.
    Both raise weft.svid.UntrustedPeer. OpenSSL alone cannot decide that: it would accept any loaded root
    for any trust domain.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext
    not_after: float
    verify: Callable[[list[bytes]], SpiffeId]
    peer: Callable[[list[bytes]], Peer]

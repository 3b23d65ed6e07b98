"""How a connection to an instance is made: mTLS to a peer's sidecar, plain to our own application."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from weft.clock import Clock
from weft.spiffe import SpiffeId
from weft.svid import UntrustedPeer

from ..identity import TlsContexts
from ..snapshot import Address
from .peer import Peer, prove
from .upstream import Upstream

# Peers are told apart by SPIFFE id, never by name; the field only must not be empty.
SERVER_NAME = "weft.internal"
TLS_SHUTDOWN_S = 1.0


class Dialer(Protocol):
    """`dial` raises OSError; `prove` raises UntrustedPeer, and answers None where no proof is asked."""

    async def dial(self, address: Address, upstream: Upstream) -> None: ...

    def prove(self, transport: asyncio.BaseTransport) -> Peer | None: ...


class Plain:
    """To the application of this sidecar, on loopback or a Unix socket."""

    async def dial(self, address: Address, upstream: Upstream) -> None:
        loop = asyncio.get_running_loop()
        if address.path:
            await loop.create_unix_connection(lambda: upstream, address.path)
        else:
            await loop.create_connection(lambda: upstream, address.host, address.port)

    def prove(self, transport: asyncio.BaseTransport) -> Peer | None:
        return None


class Mesh:
    """To a sidecar that must prove `spiffe_id`. `tls` answers the contexts of the moment."""

    def __init__(self, spiffe_id: SpiffeId, tls: Callable[[], TlsContexts], clock: Clock) -> None:
        self.spiffe_id = spiffe_id
        self._tls = tls
        self._clock = clock

    async def dial(self, address: Address, upstream: Upstream) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: upstream,
            address.host,
            address.port,
            ssl=self._tls().client,
            server_hostname=SERVER_NAME,
            ssl_shutdown_timeout=TLS_SHUTDOWN_S,
        )

    def prove(self, transport: asyncio.BaseTransport) -> Peer | None:
        peer = prove(transport, self._tls(), self._clock.wall())
        if peer.identity != self.spiffe_id:
            raise UntrustedPeer(f"expected {self.spiffe_id}, the peer proved {peer.identity}")
        return peer

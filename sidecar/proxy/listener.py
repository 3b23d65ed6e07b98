"""A bound address. The sockets stay apart from the servers on them, so that the TLS contexts behind them can
be changed without a moment in which connections are refused."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from ..snapshot import Address
from ..sockets import BACKLOG, Binder, Sockets, address_of

TLS_HANDSHAKE_S = 10.0
TLS_SHUTDOWN_S = 1.0


class Listener:
    """Accepts connections for one side, on sockets of `binder`."""

    def __init__(
        self, address: Address, accept: Callable[[], asyncio.BaseProtocol], binder: Binder | None = None
    ) -> None:
        self.declared = address
        self.address = address  # port 0 becomes the port that was found
        self._accept = accept
        self._binder = binder or Sockets()
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.AbstractServer] = []

    async def start(self, tls: ssl.SSLContext | None) -> None:
        """Binds. Raises PortTaken, or EnvironmentProblem where the address is not ours to bind."""
        if not self._sockets:
            self._sockets = await self._binder.bind(self.address)
            self.address = address_of(self._sockets[0], self.address)
        await self._serve(tls)

    async def _serve(self, tls: ssl.SSLContext | None) -> None:
        servers = [await self._server(bound, tls) for bound in self._sockets]
        old, self._servers = self._servers, servers
        for server in old:
            await _retire(server)

    async def _server(self, bound: socket.socket, tls: ssl.SSLContext | None) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        if self.address.path:
            return await loop.create_unix_server(self._accept, sock=bound.dup(), backlog=BACKLOG)
        return await loop.create_server(
            self._accept,
            sock=bound.dup(),
            ssl=tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=TLS_HANDSHAKE_S if tls else None,
            ssl_shutdown_timeout=TLS_SHUTDOWN_S if tls else None,
        )

    async def rotate(self, tls: ssl.SSLContext) -> None:
        """New handshakes use `tls`; those under way keep theirs."""
        if self._sockets:
            await self._serve(tls)

    def close(self) -> None:
        """Accepts no more; connections that exist are not touched."""
        for server in self._servers:
            server.close()
        self._servers = []
        for bound in self._sockets:
            bound.close()
        if self._sockets:
            self._sockets = []
            self._binder.release(self.address)


async def _retire(server: asyncio.AbstractServer) -> None:
    """Closes a server of which another has taken the socket over.

    asyncio accepts first and hands over in a task of its own; a connection between the two would be lost
    by `close`, so accepting is stopped before.
    """
    loop = asyncio.get_running_loop()
    for bound in getattr(server, "sockets", ()):
        with contextlib.suppress(RuntimeError):  # uvloop: not ours to remove, nor needed
            loop.remove_reader(bound.fileno())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    server.close()

"""A bound address. The socket stays ours, so that the TLS contexts behind it can be changed without a
moment in which connections are refused."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from weft.errors import EnvironmentProblem, PortTaken

from ..snapshot import Address

BACKLOG = 1024  # connections that wait to be accepted; a herd of callers reconnecting fits
TLS_HANDSHAKE_S = 10.0
TLS_SHUTDOWN_S = 1.0


class Listener:
    """Accepts connections for one side."""

    def __init__(self, address: Address, accept: Callable[[], asyncio.BaseProtocol]) -> None:
        self.declared = address
        self.address = address  # port 0 becomes the port that was found
        self._accept = accept
        self._socket: socket.socket | None = None
        self._server: asyncio.AbstractServer | None = None

    async def start(self, tls: ssl.SSLContext | None) -> None:
        """Binds. Raises PortTaken, or EnvironmentProblem where the address is not ours to bind."""
        if self._socket is None:
            self._socket = _bind(self.address)
            if not self.address.path:
                host, port = self._socket.getsockname()[:2]
                self.address = Address(host=host, port=port)
        await self._serve(self._socket, tls)

    async def _serve(self, bound: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        server: asyncio.AbstractServer
        if self.address.path:
            server = await loop.create_unix_server(self._accept, sock=bound.dup(), backlog=BACKLOG)
        else:
            server = await loop.create_server(
                self._accept,
                sock=bound.dup(),
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=TLS_HANDSHAKE_S if tls else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_S if tls else None,
            )
        old, self._server = self._server, server
        if old is not None:
            await _retire(old)

    async def rotate(self, tls: ssl.SSLContext) -> None:
        """New handshakes use `tls`; those under way keep theirs."""
        if self._socket is not None:
            await self._serve(self._socket, tls)

    def close(self) -> None:
        """Accepts no more; connections that exist are not touched."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            if self.address.path:
                with contextlib.suppress(OSError):
                    Path(self.address.path).unlink()


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


def _bind(address: Address) -> socket.socket:
    try:
        return _bind_unix(address) if address.path else _bind_tcp(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"{address} is taken by another process; end it, or register another port"
            ) from error
        raise EnvironmentProblem(f"cannot listen on {address}: {error.strerror or error}") from error


def _bind_tcp(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address.host, address.port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_unix(address: Address) -> socket.socket:
    path = Path(address.path)
    if path.is_socket() and not _answers(address.path):
        path.unlink()  # left behind by a process that was killed
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        before = os.umask(0o777)  # nobody can connect before the mode is set
        try:
            bound.bind(address.path)
        finally:
            os.umask(before)
        path.chmod(address.mode)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _answers(path: str) -> bool:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(path)
    except OSError:
        return False
    finally:
        probe.close()
    return True

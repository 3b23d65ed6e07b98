"""Listening sockets: bound once, held while their address is wanted, and passed on to whoever serves them.

They are apart from what accepts on them, so that a worker that dies, or a process that is replaced, leaves
callers waiting for a moment instead of refused.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from weft.errors import EnvironmentProblem, PortTaken

from .traffic import Address

BACKLOG = 1024  # connections that wait to be accepted; a herd of callers reconnecting fits


UNIX = "unix:"  # as an Address of a path begins


class Binder(Protocol):
    """Where listeners have their sockets from."""

    async def bind(self, address: Address) -> list[socket.socket]:
        """At least one, listening, to be closed by who asked. Port 0 takes a free one. Raises PortTaken, or
        EnvironmentProblem where the address is not ours to bind."""

    def release(self, address: Address) -> None:
        """Nobody listens there any more."""


class Sockets:
    """Those of one process. `inherited` are by their address as text; an address has `copies` of its own,
    among which the kernel divides connections, or shares what was inherited."""

    def __init__(self, copies: int = 1, inherited: Iterable[tuple[str, socket.socket]] = ()) -> None:
        self._copies = copies
        self._held: dict[str, list[socket.socket]] = {}
        for name, held in inherited:
            self._held.setdefault(name, []).append(held)
        self._unasked = set(self._held)
        self._handed_over = False

    async def bind(self, address: Address) -> list[socket.socket]:
        return [held.dup() for held in self.hold(address)]

    def hold(self, address: Address, copies: int = 0) -> list[socket.socket]:
        """As `bind`, but they stay ours."""
        self._unasked.discard(str(address))
        if (known := self._held.get(str(address))) is not None:
            return known
        bound = bind(address, copies or self._copies)
        self._held[str(address_of(bound[0], address))] = bound
        return bound

    def release(self, address: Address) -> None:
        self.release_named(str(address))

    def release_named(self, name: str) -> None:
        """As `release`, by the address as text."""
        held = self._held.pop(name, [])
        for one in held:
            one.close()
        if held and name.startswith(UNIX) and not self._handed_over:
            with contextlib.suppress(OSError):
                Path(name.removeprefix(UNIX)).unlink()

    def release_unasked(self) -> None:
        """What was inherited and nobody has asked for: who connects there would wait for ever."""
        for name in list(self._unasked):
            self._unasked.discard(name)
            self.release_named(name)

    def __iter__(self) -> Iterator[tuple[str, socket.socket]]:
        for name, held in self._held.items():
            yield from ((name, one) for one in held)

    def hand_over(self) -> None:
        """Another process serves them from now on: paths stay where they are."""
        self._handed_over = True

    def close(self) -> None:
        for held in self._held.values():
            for one in held:
                one.close()
        self._held.clear()


def address_of(bound: socket.socket, declared: Address) -> Address:
    """Where it is bound: port 0 became the one that was found."""
    if declared.path:
        return declared
    host, port = bound.getsockname()[:2]
    return Address(host=host, port=port)


def bind(address: Address, copies: int = 1) -> list[socket.socket]:
    """Raises PortTaken, EnvironmentProblem."""
    try:
        if address.path:
            return [_bind_unix(address)]
        first = _bind_tcp(address)  # alone: where another process has the port, this says so
        if copies == 1:
            return [first]
        found = address_of(first, address)
        first.close()
        return [_bind_tcp(found, shared=True) for _ in range(copies)]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"{address} is taken by another process; end it, or register another port"
            ) from error
        raise EnvironmentProblem(f"cannot listen on {address}: {error.strerror or error}") from error


def _bind_tcp(address: Address, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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

"""Where the other servers call: frames over mutual TLS, on port 8300.

A connection is refused unless TLS has proven a server of this datacenter, and unless its opening names this
cluster, this server, and another one as its sender.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from weft.aio import Tasks
from weft.errors import PortTaken, WeftError
from weft.pb.raft.v1 import raft_pb2 as pb

from ..errors import NotReady
from ..raft.messages import Message
from . import limits
from .connection import TLS_SHUTDOWN_S, Connection
from .errors import PeerRefused
from .link import Peer
from .opening import PROTOCOL, Known, refusal
from .peer_tls import PeerContexts, reason_of
from .session import Phase, Said, Session
from .turn import Turn
from .wire import from_pb

log = structlog.get_logger(__name__)

BACKLOG = 128
ACCEPT_PAUSE_S = 0.1  # when the process has no descriptor left for another connection


class Host(Protocol):
    """What the listener needs of the server that it stands before."""

    @property
    def server_id(self) -> str: ...

    def known(self) -> Known: ...

    def deliver(self, message: Message) -> None:
        """A Raft message from an authenticated server."""

    def answer(self, call: pb.Call, reply: Callable[[pb.Answer], None]) -> None:
        """Does what a peer's client wants of the leader; calls `reply` once, now or later."""

    def identity(self) -> pb.Identity: ...

    async def admit(self, server_id: str, address: str) -> str:
        """Adds a learner; answers the cluster's id. Raises WeftError."""

    def own_level(self) -> int:
        """The newest command that this server can apply."""


class Callers(Protocol):
    """Told of each server that connects, and when that connection ends."""

    def caller_came(self, peer: Peer) -> None: ...

    def caller_went(self, peer: Peer) -> None: ...


class Listener:
    """Make one, `bind` it, `start` it."""

    def __init__(self, host: Host, callers: Callers, contexts: PeerContexts, turn: Turn) -> None:
        self._host = host
        self._callers = callers
        self._contexts = contexts
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._tasks = Tasks()
        self._shaking_hands = 0
        self._connections: set[Connection] = set()

    def bind(self, address: str) -> str:
        """Takes `host:port` (port 0: a free one); answers where it listens. Raises PortTaken."""
        host, _, port = address.rpartition(":")
        try:
            self._socket = _bound(host.strip("[]"), int(port))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a port"
            raise PortTaken(
                f"cannot listen for other servers on {address} ({reason}): choose another"
            ) from None
        return f"{host}:{self._socket.getsockname()[1]}"

    def start(self) -> None:
        if self._socket:
            self._tasks.spawn(self._accept(self._socket), "accepting servers")

    async def close(self) -> None:
        await self._tasks.close()
        if self._socket:
            self._socket.close()
        for connection in tuple(self._connections):
            connection.close(NotReady("the server shuts down"))
        for connection in tuple(self._connections):
            await connection.gone()

    async def _accept(self, bound: socket.socket) -> None:
        while True:
            try:
                accepted, address = await self._loop.sock_accept(bound)
            except OSError as error:
                log.error("a server cannot be accepted", reason=str(error))
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            if self._shaking_hands >= limits.HANDSHAKES_MAX:
                accepted.close()
                continue
            self._shaking_hands += 1
            self._tasks.spawn(self._welcome(accepted, str(address[0])), "handshake")

    # A conversation begins

    async def _welcome(self, accepted: socket.socket, address: str) -> None:
        opened: asyncio.Future[Any] = self._loop.create_future()
        connection = Connection(Session(Phase.CALLED), lambda said: _first(opened, said), self._turn)
        self._connections.add(connection)
        connection.ended.add_done_callback(lambda _: self._connections.discard(connection))
        try:
            async with asyncio.timeout(limits.OPENING_TIMEOUT_S):
                opening = await self._shake_hands(connection, accepted, opened)
            if opening is not None:
                await self._open(connection, opening)
        except (PeerRefused, NotReady) as error:
            log.warning("refused a server", address=address, reason=str(error))
            connection.close(error)
        except (OSError, TimeoutError) as error:
            log.warning("refused a caller", address=address, reason=reason_of(error))
            connection.close(NotReady("no handshake"))
            connection.abort()
            accepted.close()
        finally:
            self._shaking_hands -= 1

    async def _shake_hands(
        self, connection: Connection, accepted: socket.socket, opened: "asyncio.Future[Any]"
    ) -> pb.Opening | None:
        """The opening; None when the caller went away without one. Raises PeerRefused, OSError."""
        await self._loop.connect_accepted_socket(
            lambda: connection,
            accepted,
            ssl=self._contexts.called(),
            ssl_handshake_timeout=limits.OPENING_TIMEOUT_S,
            ssl_shutdown_timeout=TLS_SHUTDOWN_S,
        )
        valid_s = self._contexts.check(connection.proof, time.time())
        connection.expire_after(valid_s, PeerRefused("the caller's certificate has expired"))
        await asyncio.wait((opened, connection.ended), return_when=asyncio.FIRST_COMPLETED)
        return opened.result() if opened.done() else None

    async def _open(self, connection: Connection, opening: pb.Opening) -> None:
        """Raises PeerRefused or what `admit` raises."""
        if problem := refusal(opening, self._host.known()):
            raise PeerRefused(problem)
        opened = pb.Opened(protocol=PROTOCOL, level=self._host.own_level())
        match opening.WhichOneof("purpose"):
            case "hello":
                opened.accepted.SetInParent()
                self._serve(connection, Peer(opening.hello.sender, opening.hello.address))
            case "identify":
                opened.identity.CopyFrom(self._host.identity())
            case "join":
                opened.joined.cluster_id = await self._admit(opening.join)
        connection.session.accept(opened)
        if opening.WhichOneof("purpose") == "hello":
            connection.post()
        else:
            connection.finish()

    async def _admit(self, wish: pb.JoinRequest) -> str:
        try:
            return await self._host.admit(wish.server_id, wish.address)
        except WeftError as error:
            raise PeerRefused(str(error)) from None

    # and goes on

    def _serve(self, connection: Connection, caller: Peer) -> None:
        host, server_id = self._host, self._host.server_id

        def take(said: Said) -> None:
            if type(said) is pb.Message:
                host.deliver(from_pb(said, caller.id, server_id))
            elif type(said) is pb.Call:
                host.answer(said, connection.answer)

        connection.take = take
        connection.ended.add_done_callback(lambda ended: self._went(caller, ended.result()))
        self._callers.caller_came(caller)

    def _went(self, caller: Peer, why: WeftError) -> None:
        log.info("a server's connection ended", peer=caller.id, reason=str(why))
        self._callers.caller_went(caller)


def _first(opened: "asyncio.Future[Any]", said: Said) -> None:
    if opened.done():
        raise PeerRefused("the caller goes on before it was answered; run the same version on every server")
    opened.set_result(said)


def _bound(host: str, port: int) -> socket.socket:
    """Raises OSError. A second server on the port must fail, so the port is not shared."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound

"""Where the other servers call: gRPC over mTLS, on port 8300.

Each call is refused unless TLS has proven a server of this datacenter; each stream begins with a Hello,
which must name this cluster, this server, and another one as its sender.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import grpc
import structlog

from weft.aio import Tasks
from weft.errors import PortTaken, WeftError
from weft.pb.raft.v1 import raft_pb2 as pb
from weft.pb.raft.v1 import raft_pb2_grpc

from ..raft.config import ADDRESS_BYTES_MAX, ID_BYTES_MAX
from ..raft.messages import Message
from .errors import PeerRefused
from .link import Peer
from .peer_tls import SERVER_OPTIONS, Material, check_caller, listener_credentials
from .wire import from_pb

log = structlog.get_logger(__name__)

ANSWERS_PER_MESSAGE_MAX = 1024


class Host(Protocol):
    """What the listener needs of the server that it stands before."""

    @property
    def server_id(self) -> str: ...

    @property
    def cluster_id(self) -> str: ...

    def deliver(self, message: Message) -> None:
        """A Raft message from an authenticated server."""

    def answer(self, call: pb.Call, reply: Callable[[pb.Answer], None]) -> None:
        """Does what a peer's client wants of the leader; calls `reply` once, now or later."""

    def identity(self) -> pb.Identity: ...

    async def admit(self, server_id: str, address: str) -> str:
        """Adds a learner; answers the cluster's id. Raises WeftError."""


class Callers(Protocol):
    """Told of each server that connects, and when that connection ends."""

    def caller_came(self, peer: Peer) -> None: ...

    def caller_went(self, peer: Peer) -> None: ...


class Listener(raft_pb2_grpc.PeerServicer):
    """Make one, `bind` it, `start` it."""

    def __init__(self, host: Host, callers: Callers, material: Material, datacenter: str) -> None:
        self._host = host
        self._callers = callers
        self._material = material
        self._datacenter = datacenter
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        add: Any = raft_pb2_grpc.add_PeerServicer_to_server
        add(self, self._server)

    def bind(self, address: str) -> str:
        """Takes `host:port` (port 0: a free one); answers where it listens. Raises PortTaken."""
        host, _, port = address.rpartition(":")
        try:
            _try_port(host.strip("[]"), int(port))
            taken = self._server.add_secure_port(address, listener_credentials(self._material))
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the port is taken"
            raise PortTaken(
                f"cannot listen for other servers on {address} ({reason}): choose another"
            ) from None
        return f"{host}:{taken}"

    async def start(self) -> None:
        await self._server.start()

    async def close(self) -> None:
        await self._server.stop(None)

    # The service

    async def Identify(self, request: pb.IdentifyRequest, context: Any) -> pb.Identity:
        await self._check_caller(context)
        return self._host.identity()

    async def Join(self, request: pb.JoinRequest, context: Any) -> pb.JoinReply:
        await self._check_caller(context)
        if (
            not 0 < len(request.server_id) <= ID_BYTES_MAX
            or not 0 < len(request.address) <= ADDRESS_BYTES_MAX
        ):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "a server joins with its id and its address"
            )
        try:
            return pb.JoinReply(cluster_id=await self._host.admit(request.server_id, request.address))
        except WeftError as error:
            return await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))  # type: ignore[no-any-return]

    async def Exchange(self, packets: AsyncIterator[pb.Packet], context: Any) -> None:  # type: ignore[override]
        first = await anext(packets, None)
        caller, valid_s = await self._check_hello(first.hello if first else pb.Hello(), context)
        await context.write(pb.Accepted())
        self._callers.caller_came(caller)
        try:
            async with asyncio.timeout(valid_s):  # a connection never outlives the certificate it rests on
                async for packet in packets:
                    for message in packet.messages:
                        self._host.deliver(from_pb(message, caller.id, self._host.server_id))
        except TimeoutError:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the caller's certificate has expired")
        except PeerRefused as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._callers.caller_went(caller)

    async def Forward(self, calls: AsyncIterator[pb.Calls], context: Any) -> None:  # type: ignore[override]
        first = await anext(calls, None)
        _, valid_s = await self._check_hello(first.hello if first else pb.Hello(), context)
        answers, tasks = _Answers(), Tasks()
        tasks.spawn(answers.write(context), "answers")
        try:
            async with asyncio.timeout(valid_s):
                async for message in calls:
                    for call in message.calls:
                        self._host.answer(call, answers.add)
        except TimeoutError:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the caller's certificate has expired")
        finally:
            await tasks.close()

    async def _check_caller(self, context: Any) -> float:
        """How long the caller may stay, in seconds."""
        try:
            return check_caller(context.auth_context(), self._datacenter, time.time())
        except PeerRefused as error:
            log.warning("refused a caller", address=context.peer(), reason=str(error))
            return await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))  # type: ignore[no-any-return]

    async def _check_hello(self, hello: pb.Hello, context: Any) -> tuple[Peer, float]:
        """The caller, and how long it may stay, in seconds."""
        valid_s = await self._check_caller(context)
        problem = self._problem(hello)
        if problem:
            log.warning("refused a server", address=context.peer(), reason=problem)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, problem)
        return Peer(hello.sender, hello.address), valid_s

    def _problem(self, hello: pb.Hello) -> str:
        host, sender = self._host, hello.sender
        if not host.cluster_id:
            return f"server {host.server_id} belongs to no cluster yet"
        if hello.cluster_id != host.cluster_id:
            return (
                f"this is cluster {host.cluster_id}, the caller is of {hello.cluster_id[:64] or 'none'}: "
                "check its addresses, or start it with an empty data directory"
            )
        if hello.receiver != host.server_id:
            return f"this is server {host.server_id}, not {hello.receiver[:64]}: remove the old id as a peer"
        if not 0 < len(sender) <= ID_BYTES_MAX or sender == host.server_id:
            return "the caller gives no id of its own: two servers must not share a data directory"
        if not 0 < len(hello.address) <= ADDRESS_BYTES_MAX:
            return "the caller does not say where it is found"
        return ""


class _Answers:
    """Answers on their way out, as many as are there in one message."""

    def __init__(self) -> None:
        self._waiting: list[pb.Answer] = []
        self._wake = asyncio.Event()

    def add(self, answer: pb.Answer) -> None:
        self._waiting.append(answer)
        self._wake.set()

    async def write(self, context: Any) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                part, self._waiting = (
                    self._waiting[:ANSWERS_PER_MESSAGE_MAX],
                    self._waiting[ANSWERS_PER_MESSAGE_MAX:],
                )
                await context.write(pb.Answers(answers=part))


def _try_port(host: str, port: int) -> None:
    """Raises OSError where the port is taken: grpc's own failure also writes to stderr, past our logs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))

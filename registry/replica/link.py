"""The way to one peer: a channel that is made again whenever it breaks, and two bounded queues.

Raft messages may be lost (the core sends again). A call that was sent and not answered has an unknown
outcome; one that was not sent was not done.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import grpc
import structlog

from weft.aio import Tasks
from weft.pb.raft.v1 import raft_pb2 as pb
from weft.pb.raft.v1 import raft_pb2_grpc

from ..errors import NotReady, OutcomeUnknown
from . import limits
from .errors import PeerRefused
from .peer_tls import Material, channel

log = structlog.get_logger(__name__)

_EOF: Any = getattr(grpc.aio, "EOF")  # noqa: B009 - the stubs forget it
Draw = Callable[[], float]  # as random.random


class Peer(NamedTuple):
    """Where a server of the cluster is found."""

    id: str
    address: str


class Link:
    """Begins to connect at once, and does not give up before `close`."""

    def __init__(
        self, peer: Peer, hello: Callable[[str], pb.Hello], material: Material, datacenter: str, draw: Draw
    ) -> None:
        self.peer = peer
        self._hello = hello
        self._material = material
        self._datacenter = datacenter
        self._draw = draw
        self._messages: deque[pb.Message] = deque()
        self._messages_bytes = 0
        self._unsent: deque[pb.Call] = deque()
        self._answers: dict[int, asyncio.Future[pb.Answer]] = {}
        self._call_id = 0
        self._message_waits, self._call_waits = asyncio.Event(), asyncio.Event()
        self.connected = False
        self._tasks = Tasks()
        self._tasks.spawn(self._run(), f"link to {peer.id}")

    # What is sent

    def send(self, message: pb.Message) -> None:
        """Drops the message when the peer is not there, or is slower than what is sent."""
        size = message.ByteSize()
        if (
            self.connected
            and len(self._messages) < limits.LINK_MESSAGES_MAX
            and self._messages_bytes + size <= limits.LINK_BYTES_MAX
        ):
            self._messages.append(message)
            self._messages_bytes += size
            self._message_waits.set()

    async def call(self, call: pb.Call) -> pb.Answer:
        """The peer's answer. Raises NotReady when nothing was sent, else OutcomeUnknown."""
        if not self.connected or len(self._answers) >= limits.CALLS_MAX:
            raise NotReady(f"the server at {self.peer.address} cannot be reached now; retry later")
        self._call_id += 1
        call.id = self._call_id
        answer: asyncio.Future[pb.Answer] = asyncio.get_running_loop().create_future()
        self._answers[call.id] = answer
        self._unsent.append(call)
        self._call_waits.set()
        try:
            return await answer
        finally:
            self._answers.pop(call.id, None)

    # The connection

    async def _run(self) -> None:
        failures, told = 0, ""
        while True:
            reason = await self._converse()
            failures = 0 if self.connected else failures + 1
            self._disconnected()
            if reason != told:
                log.warning("no connection to a server", peer=self.peer.id, at=self.peer.address, why=reason)
                told = reason
            most = min(limits.RECONNECT_MAX_S, limits.RECONNECT_MIN_S * 2 ** min(failures, 16))
            await asyncio.sleep(most * (0.5 + 0.5 * self._draw()))

    async def _converse(self) -> str:
        """Talks as long as it goes; answers why it ended."""
        try:
            async with channel(self.peer.address, self._material(), self._datacenter) as way:
                stub: Any = raft_pb2_grpc.PeerStub(way)
                exchange = stub.Exchange()
                await exchange.write(pb.Packet(hello=self._hello(self.peer.id)))
                if await exchange.read() is _EOF:
                    return str(await exchange.details())
                forward = stub.Forward()
                await forward.write(pb.Calls(hello=self._hello(self.peer.id)))
                self.connected = True
                log.info("connected to a server", peer=self.peer.id, at=self.peer.address)
                return await self._first_to_end(
                    self._send_messages(exchange),
                    self._watch(exchange),
                    self._send_calls(forward),
                    self._take_answers(forward),
                )
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            return _reason(error)
        except (PeerRefused, OSError) as error:
            return str(error)

    async def _first_to_end(self, *works: Coroutine[Any, Any, None]) -> str:
        tasks = Tasks()
        running = [tasks.spawn(_told(work), "conversation") for work in works]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            return str(next(iter(done)).result())
        finally:
            await tasks.close()

    async def _send_messages(self, exchange: Any) -> None:
        while True:
            await self._message_waits.wait()
            self._message_waits.clear()
            while self._messages:
                await exchange.write(self._packet())

    def _packet(self) -> pb.Packet:
        packet, size = pb.Packet(), 0
        while self._messages and (not size or size + self._messages[0].ByteSize() <= limits.PACKET_BYTES_MAX):
            message = self._messages.popleft()
            size += message.ByteSize()
            packet.messages.append(message)
        self._messages_bytes -= size
        return packet

    async def _watch(self, exchange: Any) -> None:
        """Nothing more is said on this stream: its end is the end of the connection."""
        await exchange.read()
        raise PeerRefused(str(await exchange.details()) or "the server closed the connection")

    async def _send_calls(self, forward: Any) -> None:
        while True:
            await self._call_waits.wait()
            self._call_waits.clear()
            while self._unsent:
                await forward.write(self._calls())

    def _calls(self) -> pb.Calls:
        calls, size = pb.Calls(), 0
        while self._unsent and (not size or size + self._unsent[0].ByteSize() <= limits.PACKET_BYTES_MAX):
            call = self._unsent.popleft()
            size += call.ByteSize()
            calls.calls.append(call)
        return calls

    async def _take_answers(self, forward: Any) -> None:
        while (answers := await forward.read()) is not _EOF:
            for answer in answers.answers:
                waiting = self._answers.get(answer.id)
                if waiting and not waiting.done():
                    waiting.set_result(answer)
        raise PeerRefused(str(await forward.details()) or "the server closed the connection")

    def _disconnected(self) -> None:
        self.connected = False
        self._messages.clear()
        self._messages_bytes = 0
        self.give_up_calls("the connection to the leader broke")

    def give_up_calls(self, why: str) -> None:
        """No answer is waited for any longer, though one may still come."""
        unsent = {call.id for call in self._unsent}
        self._unsent.clear()
        for number, waiting in self._answers.items():
            if not waiting.done():
                waiting.set_exception(
                    NotReady("the leader cannot be reached now; retry later")
                    if number in unsent
                    else OutcomeUnknown(f"{why}; the write may hold")
                )

    async def close(self) -> None:
        await self._tasks.close()
        self._disconnected()


async def _told(work: Coroutine[Any, Any, None]) -> str:
    """Why it ended."""
    try:
        await work
    except PeerRefused as error:
        return str(error)
    except (grpc.RpcError, asyncio.InvalidStateError) as error:
        return _reason(error)
    return "the conversation ended"


def _reason(error: Exception) -> str:
    details = error.details() if isinstance(error, grpc.aio.AioRpcError) else ""
    return " ".join(str(details or error or type(error).__name__).split())[:300]

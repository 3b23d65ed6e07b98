"""The way to one peer: a connection that is made again whenever it breaks.

Raft messages may be lost (the core sends again). A call that was sent and not answered has an unknown
outcome; one that was not sent was not done.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from weft.aio import Tasks
from weft.errors import WeftError
from weft.pb.raft.v1 import raft_pb2 as pb

from ..errors import NotReady, OutcomeUnknown
from ..raft.messages import Message
from . import connection, limits
from .errors import PeerRefused
from .peer_tls import PeerContexts
from .session import Said
from .turn import Turn
from .wire import to_pb

log = structlog.get_logger(__name__)

Draw = Callable[[], float]  # as random.random


class Peer(NamedTuple):
    """Where a server of the cluster is found."""

    id: str
    address: str


class Link:
    """Begins to connect at once, and does not give up before `close`."""

    def __init__(
        self,
        peer: Peer,
        opening: Callable[[str], pb.Opening],
        contexts: PeerContexts,
        draw: Draw,
        turn: Turn,
    ) -> None:
        self.peer = peer
        self._opening = opening
        self._contexts = contexts
        self._draw = draw
        self._turn = turn
        self._connection: connection.Connection | None = None
        self._answers: dict[int, asyncio.Future[pb.Answer]] = {}
        self._call_id = 0
        self._tasks = Tasks()
        self._tasks.spawn(self._run(), f"link to {peer.id}")

    @property
    def connected(self) -> bool:
        """The peer has answered the opening: until then TLS alone proves nothing to us (trap 10)."""
        return self._connection is not None

    # What is sent

    def send(self, message: Message) -> None:
        """Drops the message when the peer is not there, or is slower than what is sent."""
        if self._connection and self._connection.session.send(to_pb(message)):
            self._connection.post()

    async def call(self, call: pb.Call) -> pb.Answer:
        """The peer's answer. Raises NotReady when nothing was sent, else OutcomeUnknown."""
        if self._connection is None or len(self._answers) >= limits.CALLS_MAX:
            raise self._unreachable()
        call.id = self._call_id + 1
        if not self._connection.session.call(call):
            raise self._unreachable()
        self._call_id += 1
        self._connection.post()
        answer: asyncio.Future[pb.Answer] = asyncio.get_running_loop().create_future()
        self._answers[call.id] = answer
        try:
            return await answer
        finally:
            self._answers.pop(call.id, None)

    def _unreachable(self) -> NotReady:
        return NotReady(f"the server at {self.peer.address} cannot be reached now; retry later")

    # The connection

    async def _run(self) -> None:
        failures, told = 0, ""
        while True:
            failures += 1
            try:
                made = await self._connect()
                failures, told = 0, ""
                reason = str(await made.ended)
                await made.gone()
            except WeftError as error:
                reason = str(error)
            finally:
                self._disconnected()
            if reason != told:
                log.warning("no connection to a server", peer=self.peer.id, at=self.peer.address, why=reason)
                told = reason
            await asyncio.sleep(pause_s(failures, self._draw()))

    async def _connect(self) -> connection.Connection:
        """Raises NotReady, PeerRefused or ConfigError."""
        contexts = self._contexts
        made, opened = await connection.call(
            self.peer.address,
            contexts.calling(),
            contexts.name,
            lambda proof: contexts.check(proof, time.time()),
            self._opening(self.peer.id),
            self._turn,
        )
        made.take = self._take
        self._connection = made
        log.info("connected to a server", peer=self.peer.id, at=self.peer.address, level=opened.level)
        return made

    def _take(self, said: Said) -> None:
        if type(said) is not pb.Answer:
            raise PeerRefused("only answers come this way; run the same version on every server")
        waiting = self._answers.get(said.id)
        if waiting and not waiting.done():
            waiting.set_result(said)

    def _disconnected(self) -> None:
        self.give_up_calls("the connection to the leader broke")
        if self._connection:
            self._connection.abort()
            self._connection = None

    def give_up_calls(self, why: str) -> None:
        """No answer is waited for any longer, though one may still come."""
        unsent = self._connection.session.withdraw_calls() if self._connection else 0
        for number, waiting in self._answers.items():
            if not waiting.done():
                waiting.set_exception(
                    NotReady("the leader cannot be reached now; retry later")
                    if number > self._call_id - unsent
                    else OutcomeUnknown(f"{why}; the write may hold")
                )

    async def close(self) -> None:
        made = self._connection
        if made:
            made.close(NotReady("the other server shuts down, or found another address"))
        await self._tasks.close()
        if made:
            await made.gone()


def pause_s(failures: int, draw: float) -> float:
    """How long to wait before the next attempt: doubled with each failure, drawn from the upper half."""
    most: float = min(limits.RECONNECT_MAX_S, limits.RECONNECT_MIN_S * 2 ** min(failures, 16))
    return most * (0.5 + 0.5 * draw)

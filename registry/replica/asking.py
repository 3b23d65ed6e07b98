"""Asking whoever leads, wherever that is, again and again while that may help."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from weft.errors import WeftError
from weft.pb.raft.v1 import raft_pb2 as pb

from ..catalog.state import Answered
from ..errors import DiskFull, NotReady, OutcomeUnknown
from . import limits
from .leading import Overloaded, interpret

Here = Callable[[], Awaitable[Answered]]
"""Does it on this server. Raises NotLeader, and NotReady in general, when nothing was done."""

Call = Callable[[], pb.Call]
"""What to send to the server that leads."""


class Way(Protocol):
    """Where things stand between two attempts."""

    def check(self) -> None:
        """Raises NotReady or DiskFull when no further attempt can help."""

    def leader(self) -> str:
        """Id of the leader; "" for this server. Raises NotReady when none is known."""

    async def call(self, server_id: str, call: pb.Call) -> pb.Answer:
        """Raises NotReady when nothing was sent, OutcomeUnknown when no answer came."""

    async def turned(self, timeout_s: float) -> None:
        """Returns when another server may lead, or the time is out."""


class Asking:
    """Repeats what is safe to repeat: reads, changes of membership, and writes with a request id."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._loop = asyncio.get_running_loop()

    async def ask(self, here: Here, call: Call) -> Answered:
        """Raises what the leader refuses with; NotReady, OutcomeUnknown or DiskFull when it gives up.

        An outcome that was unknown once stays unknown, whatever the later attempts met with.
        """
        deadline = self._loop.time() + limits.PROPOSE_TIMEOUT_S
        unknown: OutcomeUnknown | None = None
        while True:
            try:
                self._way.check()
            except (NotReady, DiskFull):
                if unknown:
                    raise unknown from None
                raise
            try:
                return await self._once(here, call)
            except Overloaded:
                raise
            except OutcomeUnknown as error:
                reason: WeftError = error
                unknown = error
            except (NotReady, DiskFull) as error:
                reason = error
            if self._loop.time() >= deadline:
                raise unknown or reason
            await self._way.turned(limits.RETRY_S)

    async def _once(self, here: Here, call: Call) -> Answered:
        leader = self._way.leader()
        if not leader:
            return await here()
        return interpret(await self._way.call(leader, call()))

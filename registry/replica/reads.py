"""Linearizable reads that wait for the core's word."""

import asyncio
from collections.abc import Iterable

from ..catalog.state import Answered
from ..errors import NotReady
from ..raft.errors import NotLeader
from ..raft.ready import Read


class Reads:
    """Futures of indices by token."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Answered]] = {}
        self._token = 0

    def add(self) -> "tuple[int, asyncio.Future[Answered]]":
        """A new token, and the index to read at once it is confirmed."""
        self._token += 1
        self._waiting[self._token] = asyncio.get_running_loop().create_future()
        return self._token, self._waiting[self._token]

    def forget(self, token: int) -> None:
        self._waiting.pop(token, None)

    def confirm(self, reads: Iterable[Read]) -> None:
        for read in reads:
            if (waiting := self._waiting.pop(read.token, None)) and not waiting.done():
                waiting.set_result(Answered(0, read.index, 0, "", ""))

    def lose(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            if (waiting := self._waiting.pop(token, None)) and not waiting.done():
                waiting.set_exception(NotLeader(""))

    def fail(self, error: NotReady) -> None:
        waiting, self._waiting = self._waiting, {}
        for it in waiting.values():
            if not it.done():
                it.set_exception(error)

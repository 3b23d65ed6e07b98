"""Linearizable reads that wait for the core's word."""

from collections.abc import Iterable

from ..catalog.state import Answered
from ..errors import NotReady
from ..raft.errors import NotLeader
from ..raft.ready import Read
from .proposals import Done


class Reads:
    """Who waits for an index, by token."""

    def __init__(self) -> None:
        self._waiting: dict[int, Done] = {}
        self._token = 0

    def add(self, done: Done) -> int:
        """A new token; `done` is told the index to read at once it is confirmed."""
        self._token += 1
        self._waiting[self._token] = done
        return self._token

    def forget(self, token: int) -> None:
        self._waiting.pop(token, None)

    def confirm(self, reads: Iterable[Read]) -> None:
        for read in reads:
            if done := self._waiting.pop(read.token, None):
                done(Answered(0, read.index, 0, "", ""))

    def lose(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            if done := self._waiting.pop(token, None):
                done(NotLeader(""))

    def fail(self, error: NotReady) -> None:
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done(error)

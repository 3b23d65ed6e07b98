"""What this server proposed as a leader and has no outcome yet.

A proposal is known by index *and* term: an entry of another term at its index is another leader's.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from weft.pb.catalog.v1.command_pb2 import Command

from ..catalog.state import Answered
from ..errors import OutcomeUnknown
from ..raft.messages import Entry

Done = Callable[[Answered | Exception], None]
"""Told of an outcome, once."""


class _Pending(NamedTuple):
    term: int
    command: Command | None
    done: Done


class Proposals:
    """Who waits, by index and term."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}
        self._drained: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, index: int, term: int, command: Command | None, done: Done) -> None:
        """`done` is told the entry's answer, or OutcomeUnknown or DiskFull."""
        self._pending[index] = _Pending(term, command, done)

    def command(self, entry: Entry) -> Command | None:
        """The entry's command as it was proposed here; None when it was not."""
        found = self._pending.get(entry.index)
        return found.command if found and found.term == entry.term else None

    def resolve(self, entry: Entry, answer: Answered) -> None:
        """The entry has been applied."""
        found = self._pending.pop(entry.index, None)
        if found is None:
            return
        if found.term == entry.term:
            found.done(answer)
        else:
            found.done(OutcomeUnknown("another leader's entry took the place of this write"))
        if not self._pending:
            self._tell_drained()

    def fail(self, error: Exception) -> None:
        """No outcome will come here any more."""
        pending, self._pending = self._pending, {}
        for it in pending.values():
            it.done(error)
        self._tell_drained()

    async def drained(self, timeout_s: float) -> None:
        """Returns when nobody waits, or the time is out."""
        if self._pending:
            self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._drained,), timeout=timeout_s)

    def _tell_drained(self) -> None:
        if self._drained and not self._drained.done():
            self._drained.set_result(None)


def outcome() -> "tuple[asyncio.Future[Answered], Done]":
    """A future, and what settles it; its caller may be gone by then."""
    future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

    def done(found: Answered | Exception) -> None:
        if future.done():
            return
        if isinstance(found, Exception):
            future.set_exception(found)
            future.exception()  # looked at, should nobody wait any more
        else:
            future.set_result(found)

    return future, done

"""What this server proposed as a leader and has no outcome yet.

A proposal is known by index *and* term: an entry of another term at its index is another leader's.
"""

import asyncio
from typing import NamedTuple

from weft.pb.catalog.v1.command_pb2 import Command

from ..catalog.state import Answered
from ..errors import OutcomeUnknown
from ..raft.messages import Entry


class _Pending(NamedTuple):
    term: int
    command: Command | None
    outcome: "asyncio.Future[Answered]"


class Proposals:
    """Futures by index and term."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, index: int, term: int, command: Command | None) -> "asyncio.Future[Answered]":
        """Resolved with the entry's answer, or with OutcomeUnknown or DiskFull."""
        outcome: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(_looked_at)
        self._pending[index] = _Pending(term, command, outcome)
        return outcome

    def command(self, entry: Entry) -> Command | None:
        """The entry's command as it was proposed here; None when it was not."""
        found = self._pending.get(entry.index)
        return found.command if found and found.term == entry.term else None

    def resolve(self, entry: Entry, answer: Answered) -> None:
        """The entry has been applied."""
        found = self._pending.pop(entry.index, None)
        if found is None or found.outcome.done():  # its caller may have been cancelled
            return
        if found.term == entry.term:
            found.outcome.set_result(answer)
        else:
            found.outcome.set_exception(OutcomeUnknown("another leader's entry took the place of this write"))

    def outcomes(self) -> "list[asyncio.Future[Answered]]":
        """Of all that is open."""
        return [it.outcome for it in self._pending.values()]

    def fail(self, error: Exception) -> None:
        """No outcome will come here any more."""
        pending, self._pending = self._pending, {}
        for it in pending.values():
            if not it.outcome.done():
                it.outcome.set_exception(error)


def _looked_at(outcome: "asyncio.Future[Answered]") -> None:
    """Its caller may be gone; then nobody else will ask."""
    if not outcome.cancelled():
        outcome.exception()

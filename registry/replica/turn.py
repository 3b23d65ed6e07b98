"""What a turn of the event loop leaves to do at its end: plans to take, bytes to send.

A turn is one thing that happened: bytes that arrived, a write that is on disk, a tick. All that it gives rise
to is planned once and sent once, without a further round of the event loop; what happens outside of a turn
is collected until the next round.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Sender(Protocol):
    """Something with bytes to send."""

    def flush(self) -> None: ...


class Turn:
    """`take_plans` is set by who plans; without it there is only sending."""

    def __init__(self) -> None:
        self.take_plans: Callable[[], None] = _nothing
        self._loop = asyncio.get_running_loop()
        self._plans_due = False
        self._senders: list[Sender] = []
        self._inside = self._scheduled = False

    def run(self, work: Callable[[], None]) -> None:
        """Does the work, and then all that it leaves to do."""
        if self._inside:
            work()
            return
        self._inside = True
        try:
            work()
        finally:
            self._end()

    def plan(self) -> None:
        """Something may have come about that needs a plan."""
        self._plans_due = True
        if not (self._inside or self._scheduled):
            self._schedule()

    def send(self, sender: Sender) -> None:
        """It has something to send."""
        self._senders.append(sender)
        if not (self._inside or self._scheduled):
            self._schedule()

    def flush(self) -> None:
        """Sends what waits, now."""
        senders, self._senders = self._senders, []
        for sender in senders:
            sender.flush()

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._scheduled = False
        if not self._inside:
            self._inside = True
            self._end()

    def _end(self) -> None:
        try:
            while self._plans_due:
                self._plans_due = False
                self.take_plans()
        finally:
            self._inside = False
            self.flush()


def _nothing() -> None:
    """Nobody plans."""

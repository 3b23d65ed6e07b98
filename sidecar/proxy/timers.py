"""One timer for all requests of the process: all are looked at when the earliest of their limits may have
passed.

Nothing is kept per request but the moment on its exchange (`Exchange.due`), so that the many that end long
before it cost nothing. `Outbox.due` is a lower bound of all moments; after each look it is exact. Looking
takes the share of time that LOOKING_SHARE allows, however many requests there are.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..h2.outbox import NEVER, Outbox

if TYPE_CHECKING:
    from .exchange import Exchange

TICK_S = 0.002  # limits are kept this exactly, at best
LONGEST_S = 3600.0  # a deadline may be centuries away, which a loop's timer may not
LOOKING_SHARE = 1 / 32  # of one processor, at most


class Timers:
    """`running` answers all exchanges that are open; `expired` is called with each whose moment has come, and
    sets another or ends it."""

    def __init__(
        self,
        outbox: Outbox,
        running: Callable[[], Iterable["Exchange"]],
        expired: Callable[["Exchange", float], None],
    ) -> None:
        self._outbox = outbox
        self._running = running
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._rest_until = 0.0  # no look before it
        outbox.arm = self.arm

    def arm(self, due: float) -> None:
        """A limit that ends before all that were known."""
        self._outbox.due = due
        if self._handle is not None:
            self._handle.cancel()
        now = self._outbox.clock()
        delay = min(max(due - now, self._rest_until - now, TICK_S), LONGEST_S)
        self._handle = self._loop.call_later(delay, self._look)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = None
        outbox = self._outbox
        begun = outbox.now = outbox.clock()
        outbox.due = NEVER
        least = NEVER
        ended = []
        for exchange in self._running():
            due = exchange.due
            if due <= begun:
                ended.append(exchange)
            elif due < least:
                least = due
        for exchange in ended:
            due = exchange.due
            self._expired(exchange, begun)  # may arm
            if exchange.due == due:
                exchange.due = NEVER
        now = outbox.clock()
        self._rest_until = now + (now - begun) / LOOKING_SHARE
        if least < outbox.due:
            self.arm(least)
        outbox.flush()

"""The election clock: ticks from one timer, and how late the event loop was at worst (trap 24)."""

import asyncio
from collections.abc import Callable

FOLLOWER_TICKS_MAX = 2  # after a pause, the leader's heartbeats wait in a socket: read them first


class Ticker:
    """Calls `tick` with how many times `tick_s` has passed on the monotonic clock."""

    def __init__(self, tick_s: float, tick: Callable[[int], None], leads: Callable[[], bool]) -> None:
        self._tick_s = tick_s
        self._tick = tick
        self._leads = leads
        self._loop = asyncio.get_running_loop()
        self._delivered_until = self._loop.time()
        self._alarm = self._loop.call_later(tick_s, self._run, self._delivered_until + tick_s)
        self.longest_stall_s = 0.0

    def due(self) -> int:
        """Ticks that have passed but were not delivered yet: what a lease read must count."""
        return int((self._loop.time() - self._delivered_until) / self._tick_s)

    def deliver(self) -> None:
        """Delivers what is due, so that messages which came later are looked at later."""
        if due := self.due():
            self._delivered_until += due * self._tick_s
            # A leader hears of every tick, for its lease has run out meanwhile.
            self._tick(due if self._leads() else min(due, FOLLOWER_TICKS_MAX))

    def _run(self, expected: float) -> None:
        self.longest_stall_s = max(self.longest_stall_s, self._loop.time() - expected)
        self.deliver()
        after = max(self._delivered_until + self._tick_s, self._loop.time())
        self._alarm = self._loop.call_at(after, self._run, after)

    def close(self) -> None:
        self._alarm.cancel()

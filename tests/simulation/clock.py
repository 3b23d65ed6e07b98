"""Simulated time: one queue of events in microseconds, and clocks that drift from it.

All of a run happens inside `Scheduler.run_until`. Two events of one microsecond run in the order in
which they were asked for, so a run depends on its seed alone.
"""

import heapq
from collections.abc import Callable
from typing import Any

EVENTS_PER_INSTANT_MAX = 20_000
"""More at one microsecond is a loop that time cannot end."""

MS = 1_000
SECOND = 1_000_000


class Scheduler:
    """The true time of the simulated world, and what happens when."""

    def __init__(self) -> None:
        self.now_us = 0
        self._at_this_instant = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._asked = 0

    def after(self, delay_us: int, do: Callable[..., None], *args: Any) -> None:
        """Runs `do(*args)` when `delay_us` have passed."""
        self._asked += 1
        heapq.heappush(self._queue, (self.now_us + delay_us, self._asked, do, args))

    def run_until(self, end_us: int, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Runs events up to `end_us`, or until `stop()` holds after one of them."""
        while self._queue and self._queue[0][0] <= end_us:
            due_us, _, do, args = heapq.heappop(self._queue)
            self._at_this_instant = self._at_this_instant + 1 if due_us == self.now_us else 0
            if self._at_this_instant > EVENTS_PER_INSTANT_MAX:
                raise RuntimeError(f"events without end at {due_us} us, the next is {do}")
            self.now_us = due_us
            do(*args)
            if stop():
                return
        self.now_us = end_us


class LocalClock:
    """A server's monotonic clock: true time at a rate within the drift that leases allow for.

    It keeps running while the server's process is stopped.
    """

    def __init__(self, scheduler: Scheduler, rate_ppm: int, start_us: int) -> None:
        self._scheduler = scheduler
        self._rate_ppm = 1_000_000 + rate_ppm
        self._true_us = scheduler.now_us
        self._local_us = start_us

    def now_us(self) -> int:
        return self._local_us + (self._scheduler.now_us - self._true_us) * self._rate_ppm // 1_000_000

    def true_delay_us(self, local_us: int) -> int:
        """How long `local_us` of this clock last in true time (at least 1)."""
        return max(1, local_us * 1_000_000 // self._rate_ppm)

    def set_rate(self, rate_ppm: int) -> None:
        """Runs faster (positive) or slower from now on, without a jump."""
        self._local_us, self._true_us = self.now_us(), self._scheduler.now_us
        self._rate_ppm = 1_000_000 + rate_ppm

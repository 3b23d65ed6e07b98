# Hot path: bench/switch.py
"""What one process is about to write, and how much it holds back.

Frames collect per connection; each connection that has any is in `dirty`, once. `flush` writes each with one
call: uvloop tries a system call at every write, and TLS makes a record of it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

# All bytes that wait for flow control in this process; over it a stream that wants to park more is ended.
# 768 stalled streams of 64 KiB, and what it takes to keep RSS below 150 MB: with 64 MiB it came to 147.
HELD_BYTES_MAX = 48 * 1024 * 1024


# What restless connections (`abuse`) get of the time: a turn, and then so many times as much is everybody's.
# The least is what a loop's timer can do. A turn that took longer than TURN_COUNTED_S was not all its own.
RESTS_PER_TURN = 4
REST_MIN_S, REST_MAX_S = 0.002, 0.5
TURN_COUNTED_S = 0.002
NEVER = float("inf")


def _nothing() -> None:
    pass


def _no_timers(due: float) -> None:
    pass


class Outbox:
    """Shared by all connections of one engine. `clock` gives monotonic seconds."""

    __slots__ = (
        "_later", "_restless_at", "arm", "began", "clock", "dirty", "due", "held", "held_max", "now",
        "relieve", "soon",
    )  # fmt: skip

    def __init__(
        self,
        clock: Callable[[], float],
        soon: Callable[[Callable[[], None]], object],
        held_max: int = HELD_BYTES_MAX,
    ) -> None:
        self.clock = clock
        self.soon = soon  # calls in the next turn of the loop
        self._later = False
        self.began = clock()  # when the first of what collects now was read; what is only parked, before that
        self.now = clock()  # read once per wake-up
        self.dirty: list[Connection] = []
        self.held = 0  # bytes parked on streams or kept for a retry
        self.held_max = held_max
        self.due = NEVER  # no limit of a request ends before it
        self.arm: Callable[[float], None] = _no_timers  # told of a limit that ends before `due`
        self._restless_at = 0.0  # when the next restless connection may have a turn
        self.relieve: Callable[[], None] = _nothing  # frees some of what is held; called over the bound

    def full(self, more: int) -> bool:
        """Whether `more` bytes would be too many, even after relief."""
        if self.held + more > self.held_max:
            self.relieve()
        return self.held + more > self.held_max

    def rests_s(self) -> float:
        """How long a restless connection waits after the turn that it has had since `now`. All together they
        get a small share of the process, however many connections a flood is spread over."""
        now = self.clock()
        took = min(now - self.now, TURN_COUNTED_S)
        free_at = max(now, self._restless_at) + max(took * RESTS_PER_TURN, REST_MIN_S)
        self._restless_at = min(free_at, now + REST_MAX_S)
        return self._restless_at - now

    def flush(self) -> None:
        """Writes all that has collected, once this turn of the loop has read what there is to read.

        Against writing at the end of each read: -4 µs per request and pair with 10 callers of 10 streams,
        and no more latency with one, as the loop runs what is `soon` before it waits for sockets again.
        """
        if not self._later and self.dirty:
            self._later = True
            self.began = self.now
            self.soon(self._write)

    def _write(self) -> None:
        self._later = False
        dirty = self.dirty
        try:
            while dirty:
                dirty.pop().flush()
        finally:  # a bug on one connection must not silence the others
            self.flush()

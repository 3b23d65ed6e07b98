"""Time as an argument: cores take a `Clock` or a `now`, and only composition roots make a real one."""

import time
from typing import Protocol


class Clock(Protocol):
    """`wall` is seconds since the Unix epoch, `monotonic` seconds since an arbitrary point."""

    def wall(self) -> float: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

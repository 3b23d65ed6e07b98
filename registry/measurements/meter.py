"""Calls to one target from a moment on, and those of its last seconds."""

from collections import deque

from .tally import Tally

RECENT_S = 30  # what counts as lately, however long the whole is


class Meter:
    """`since_s` is when it began. Times are seconds of a clock that does not go back."""

    def __init__(self, target: str, since_s: float) -> None:
        self.target = target
        self.since_s = since_s
        self.whole = Tally()
        self._seconds: deque[tuple[int, Tally]] = deque(maxlen=RECENT_S)

    def add(self, now_s: float, tally: Tally) -> None:
        self.whole.add(tally)
        if not self._seconds or self._seconds[-1][0] != int(now_s):
            self._seconds.append((int(now_s), Tally()))
        self._seconds[-1][1].add(tally)

    def recent(self, now_s: float) -> Tally:
        """What came in the last RECENT_S seconds."""
        return Tally.of(tally for second, tally in self._seconds if second > now_s - RECENT_S)

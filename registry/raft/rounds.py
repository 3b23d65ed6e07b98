"""Rounds of contact of one leadership: what proves that it still leads (thesis 6.4).

A round begins when the leader is about to send; whoever answers it followed this leader after that
moment. A round that a majority answered confirms every read that came before it began, and starts the
lease at the tick at which it began, not at the tick of the answers.
"""

from collections import deque

from .ready import Read


class Rounds:
    def __init__(self) -> None:
        self.current = 0
        self._began: deque[tuple[int, int]] = deque()  # (round, tick), from the newest confirmed one on
        self._fresh: list[int] = []  # tokens that no round covers yet
        self._waiting: deque[tuple[int, int, int]] = deque()  # (round, index, token)

    def begin(self, now: int) -> int:
        self.current += 1
        self._began.append((self.current, now))
        return self.current

    def ask(self, token: int) -> None:
        self._fresh.append(token)

    @property
    def has_fresh(self) -> bool:
        return bool(self._fresh)

    @property
    def reads(self) -> int:
        return len(self._fresh) + len(self._waiting)

    def cover(self, index: int) -> None:
        """The round that has just begun covers the fresh reads, at the commit index of now."""
        self._waiting.extend((self.current, index, token) for token in self._fresh)
        self._fresh.clear()

    def confirmed(self, round_: int) -> list[Read]:
        """A majority has answered `round_`: the reads that this confirms."""
        while len(self._began) > 1 and self._began[1][0] <= round_:
            self._began.popleft()
        reads = []
        while self._waiting and self._waiting[0][0] <= round_:
            _, index, token = self._waiting.popleft()
            reads.append(Read(token, index))
        return reads

    def began_at(self, round_: int) -> int | None:
        """The tick at which the newest round up to `round_` began; None when none is known."""
        found = None
        for began, tick in self._began:
            if began > round_:
                break
            found = tick
        return found

    def lost(self) -> list[int]:
        """The tokens of all reads that wait: leadership is over."""
        return [token for _, _, token in self._waiting] + self._fresh

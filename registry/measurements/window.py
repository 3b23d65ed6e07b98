"""The last minute of measurements, second by second. Times are seconds of a clock that does not go back."""

from collections.abc import Callable, Iterator

from .tally import Edge, Tally

SPAN_S = 60  # how far back it reaches
TALLIES_MAX = 100_000  # in all seconds together, each some 400 bytes: 40 MB


Wanted = Callable[[Edge], bool]


def every(_: Edge) -> bool:
    return True


class Window:
    """Tallies by second and edge. What does not fit any more is dropped, and counted in `dropped`."""

    def __init__(self) -> None:
        self._seconds: dict[int, dict[Edge, Tally]] = {}  # oldest first
        self._held = 0
        self.dropped = 0

    def add(self, now_s: float, edge: Edge, tally: Tally) -> None:
        second = self._second(int(now_s))
        held = second.get(edge)
        if held is not None:
            held.add(tally)
        elif self._held < TALLIES_MAX:
            second[edge] = Tally.of((tally,))
            self._held += 1
        else:
            self.dropped += 1

    def _second(self, at: int) -> dict[Edge, Tally]:
        """Of this moment; what is too old goes."""
        found = self._seconds.get(at)
        if found is None:
            for old in [second for second in self._seconds if second <= at - SPAN_S]:
                self._held -= len(self._seconds.pop(old))
            found = self._seconds.setdefault(at, {})
        return found

    def edges(self, now_s: float, span_s: float = SPAN_S, wanted: Wanted = every) -> dict[Edge, Tally]:
        """What was added in the last `span_s` seconds, by edge."""
        found: dict[Edge, Tally] = {}
        for edge, tally in self._since(now_s - span_s):
            if wanted(edge):
                found.setdefault(edge, Tally()).add(tally)
        return found

    def total(self, now_s: float, span_s: float = SPAN_S, wanted: Wanted = every) -> Tally:
        """What was added in the last `span_s` seconds, together."""
        return Tally.of(tally for edge, tally in self._since(now_s - span_s) if wanted(edge))

    def _since(self, since_s: float) -> Iterator[tuple[Edge, Tally]]:
        for second, tallies in self._seconds.items():
            if second >= int(since_s):  # the second in which it begins counts whole
                yield from tallies.items()

"""Sans-IO. Places for what stays a while: connections, calls, parked queries."""

from collections import Counter

from .refusals import Limit


class Places:
    """So many for all, and so many for each holder of a kind. Only who has a place is remembered."""

    def __init__(self, total: int, limit: Limit) -> None:
        self._total_max = total
        self._limit = limit
        self._kinds: list[tuple[int, Limit, Counter[str]]] = []
        self.total = 0

    def each(self, most: int, limit: Limit) -> "Places":
        """Bounds the places of one holder; holders of `enter` are named in the order of these calls."""
        self._kinds.append((most, limit, Counter()))
        return self

    def enter(self, *holders: str) -> Limit | None:
        """Takes a place; or the limit that stands against it, and none is taken."""
        if self.total >= self._total_max:
            return self._limit
        for (most, limit, held), holder in zip(self._kinds, holders, strict=True):
            if holder and held[holder] >= most:
                return limit
        for (_, _, held), holder in zip(self._kinds, holders, strict=True):
            held[holder] += 1
        self.total += 1
        return None

    def leave(self, *holders: str) -> None:
        """Gives up a place that `enter` gave."""
        self.total -= 1
        for (_, _, held), holder in zip(self._kinds, holders, strict=True):
            held[holder] -= 1
            if not held[holder]:
                del held[holder]

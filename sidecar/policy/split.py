"""Sans-IO. Which of its targets a route sends a request to."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class Shares:
    """Weights as a line from 0 to 1: a point on it belongs to one of them."""

    __slots__ = ("_bounds",)

    def __init__(self, weights: Sequence[int]) -> None:
        """At least one weight is above 0."""
        total = sum(weights)
        self._bounds = [bound / total for bound in accumulate(weights)]

    def at(self, point: float) -> int:
        """The index that `point` in [0, 1) falls to: drawn, or the hash of what must stay together.

        Where weights move gradually from one end to the other, most points keep their index.
        """
        return min(bisect_right(self._bounds, point), len(self._bounds) - 1)

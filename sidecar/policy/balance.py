# Hot path: bench/telemetry.py
"""Sans-IO. Which of the usable instances gets the next request.

Both ways respect weights: an instance of weight 2 is given twice the requests of one of weight 1.
"""

from collections.abc import Callable, Sequence
from math import gcd
from typing import Protocol, TypeVar

# A schedule of round robin holds one turn per unit of weight; above this the weights are scaled down.
TURNS_MAX = 4096


class EndpointLike(Protocol):
    """`active` is the number of requests it is serving for us now; `weight` is at least 1."""

    active: int
    weight: int


E = TypeVar("E", bound=EndpointLike)


def least_request(endpoints: Sequence[E], draw: Callable[[], float]) -> E:
    """The less loaded of two instances chosen at random ("power of two choices", Mitzenmacher 2001).

    `draw` gives floats in [0, 1). `endpoints` must not be empty.
    """
    count = len(endpoints)
    if count == 1:
        return endpoints[0]
    first = int(draw() * count)
    second = int(draw() * (count - 1))
    if second >= first:  # two different ones, each pair equally likely
        second += 1
    one = endpoints[first]
    other = endpoints[second]
    # +1 is the request to be placed: of two idle instances the heavier one wins.
    if (one.active + 1) * other.weight <= (other.active + 1) * one.weight:
        return one
    return other


class RoundRobin:
    """Turns in order. Give it the same sequence object until the pool changes: it plans once per object."""

    __slots__ = ("_next", "_planned_for", "_turns")

    def __init__(self) -> None:
        self._planned_for: Sequence[EndpointLike] | None = None
        self._turns: list[int] = []
        self._next = 0

    def pick(self, endpoints: Sequence[E]) -> E:
        """The endpoint whose turn it is. `endpoints` must not be empty."""
        turns = self._turns
        if self._planned_for is not endpoints or not turns:
            turns = self._turns = plan([endpoint.weight for endpoint in endpoints])
            self._planned_for = endpoints
        self._next = turn = (self._next + 1) % len(turns)
        return endpoints[turns[turn]]


def plan(weights: Sequence[int]) -> list[int]:
    """The order of turns: each index as often as its weight says, spread out evenly.

    Equal weights give 0, 1, 2, ...; {5, 1, 1} gives 0, 0, 1, 0, 2, 0, 0 (smooth weighted round robin).
    """
    common = gcd(*weights)
    shares = [weight // common for weight in weights]
    total = sum(shares)
    if total > TURNS_MAX and total > len(shares):
        shares = [max(1, share * TURNS_MAX // total) for share in shares]
        total = sum(shares)
    if total == len(shares):
        return list(range(total))
    return _spread(shares, total)


def _spread(shares: Sequence[int], total: int) -> list[int]:
    credit = [0] * len(shares)
    turns = []
    for _ in range(total):
        credit = [have + share for have, share in zip(credit, shares, strict=True)]
        chosen = max(range(len(credit)), key=credit.__getitem__)
        credit[chosen] -= total
        turns.append(chosen)
    return turns

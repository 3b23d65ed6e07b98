"""Sans-IO. The ways to choose an instance, behind one face. `balance` holds the one that is hot."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol, TypeVar

from ..traffic import Balance, Target
from .balance import RoundRobin
from .hashing import hash64

POINTS_MAX = 65536  # of a ring in all: each costs a hash when it is first built
# Sizes of Maglev's table: the smallest with a hundred places per instance (Eisenbud et al. 2016, 5.3).
MAGLEV_SIZES = (1009, 4099, 16411, 65537)
_PLACES = 100
HASHED = frozenset((Balance.RING_HASH, Balance.MAGLEV))


class Chosen(Protocol):
    key: str
    active: int
    weight: int


E = TypeVar("E", bound=Chosen)


class Balancer(Protocol):
    """`plan` is called when the list of live instances has changed, `pick` with that list, never empty."""

    def plan(self, live: Sequence[Chosen]) -> None: ...

    def pick(self, live: Sequence[E], key: int | None) -> E: ...


def balancer_for(target: Target, old: Balancer | None, draw: Callable[[], float]) -> Balancer | None:
    """The one that the target asks for; None: the less loaded of two. `old` is kept where it will do."""
    made: Balancer
    if target.balance is Balance.ROUND_ROBIN:
        made = Turns()
    elif target.balance is Balance.RANDOM:
        made = Random(draw)
    elif target.balance is Balance.RING_HASH:
        made = Ring(draw, target.ring_size_min, min(target.ring_size_max, POINTS_MAX))
    elif target.balance is Balance.MAGLEV:
        made = Maglev(draw)
    elif target.choice_count > 2:
        made = LeastOfMany(target.choice_count, draw)
    else:
        return None
    return old if type(old) is type(made) and old is not None and vars_equal(old, made) else made


def vars_equal(one: Balancer, other: Balancer) -> bool:
    settings = getattr(one, "settings", None)
    return settings == getattr(other, "settings", None)


class Turns:
    """Round robin."""

    def __init__(self) -> None:
        self._turns = RoundRobin()

    def plan(self, live: Sequence[Chosen]) -> None:
        pass  # once per list, when it is first used

    def pick(self, live: Sequence[E], key: int | None) -> E:
        return self._turns.pick(live)


class Random:
    """By weight."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._bounds: list[int] = []

    def plan(self, live: Sequence[Chosen]) -> None:
        self._bounds = list(accumulate(it.weight for it in live))

    def pick(self, live: Sequence[E], key: int | None) -> E:
        point = self._draw() * self._bounds[-1]
        return live[min(bisect_left(self._bounds, point), len(live) - 1)]


class LeastOfMany:
    """The least loaded of `choices` drawn at random."""

    def __init__(self, choices: int, draw: Callable[[], float]) -> None:
        self.settings = choices
        self._draw = draw

    def plan(self, live: Sequence[Chosen]) -> None:
        pass

    def pick(self, live: Sequence[E], key: int | None) -> E:
        count = len(live)
        first = int(self._draw() * count)  # of equals the one drawn first is taken
        if count <= self.settings:
            drawn = [*live[first:], *live[:first]]
        else:
            drawn = [live[first], *(live[int(self._draw() * count)] for _ in range(self.settings - 1))]
        return min(drawn, key=lambda it: (it.active + 1) / it.weight)


class Ring:
    """Consistent hashing: an instance owns the arcs before its points, more of them the heavier it is.

    One that comes or goes moves only what is its own share.
    """

    def __init__(self, draw: Callable[[], float], size_min: int, size_max: int) -> None:
        self.settings = (size_min, size_max)
        self._draw = draw
        self._known: dict[tuple[str, int], list[int]] = {}  # points, as they are dear
        self._points: list[int] = []
        self._owners: list[int] = []

    def plan(self, live: Sequence[Chosen]) -> None:
        if not live:
            return
        unit = self._points_per_weight(sum(it.weight for it in live))
        known: dict[tuple[str, int], list[int]] = {}
        placed: list[tuple[int, int]] = []
        for number, it in enumerate(live):
            of = it.key, max(1, round(unit * it.weight))
            points = known[of] = self._known.get(of) or _points(*of)
            placed += [(point, number) for point in points]
        placed.sort()
        self._known = known
        self._points = [point for point, _ in placed]
        self._owners = [number for _, number in placed]

    def _points_per_weight(self, total: int) -> float:
        """A power of two, so that it seldom changes as instances come and go: then nobody's points move."""
        size_min, size_max = self.settings
        unit = 1 << max(0, (-(-size_min // total) - 1).bit_length())
        return unit if unit * total <= size_max else size_max / total

    def pick(self, live: Sequence[E], key: int | None) -> E:
        if key is None:
            return live[int(self._draw() * len(live))]
        at = bisect_left(self._points, key)
        return live[self._owners[at if at < len(self._points) else 0]]


def _points(key: str, count: int) -> list[int]:
    return [hash64(f"{key}_{number}".encode()) for number in range(count)]


class Maglev:
    """A table in which each instance has its share of places, in an order of its own."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._table: list[int] = []

    def plan(self, live: Sequence[Chosen]) -> None:
        if live:
            self._table = _maglev_table([(it.key, it.weight) for it in live])

    def pick(self, live: Sequence[E], key: int | None) -> E:
        if key is None:
            return live[int(self._draw() * len(live))]
        return live[self._table[key % len(self._table)]]


def _maglev_table(entries: Sequence[tuple[str, int]]) -> list[int]:
    """Eisenbud et al. 2016, section 3.4; weights as Envoy has them: the heaviest gets a place in every round,
    the others in their proportion."""
    wanted = len(entries) * _PLACES
    size = next((it for it in MAGLEV_SIZES if it >= wanted), MAGLEV_SIZES[-1])
    heaviest = max(weight for _, weight in entries)
    # In an order that all sidecars share, whatever theirs is.
    order = sorted(range(len(entries)), key=lambda number: entries[number][0])
    at = [hash64(key.encode(), b"offset") % size for key, _ in entries]
    skip = [hash64(key.encode(), b"skip") % (size - 1) + 1 for key, _ in entries]
    due = [0] * len(entries)
    table = [-1] * size
    left = size
    while True:
        for number in order:
            due[number] += entries[number][1]
            if due[number] < heaviest:
                continue
            due[number] -= heaviest
            place = at[number]
            while table[place] >= 0:
                place = (place + skip[number]) % size
            table[place] = number
            at[number] = (place + skip[number]) % size
            left -= 1
            if not left:
                return table

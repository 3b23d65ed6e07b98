"""Calls added up: how many ended, how many of them failed, how long they took."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import add
from typing import NamedTuple, Self

from weft.grpc_status import FAILED
from weft.histogram import BOUNDS_S, quantile_s

BUCKETS = len(BOUNDS_S) + 1
_ZEROES = (0,) * BUCKETS

NO_GRPC_STATUS = -1
NO_STATUS_CLASS, SERVER_ERRORS = 0, 5


def is_failed(status_class: int, grpc_status: int) -> bool:
    """Whether the called side failed such calls. One that its caller gave up did not fail."""
    if grpc_status != NO_GRPC_STATUS:
        return grpc_status in FAILED
    return status_class in (NO_STATUS_CLASS, SERVER_ERRORS)  # without any status: cut off


class Edge(NamedTuple):
    """Whose calls. `inbound` is as the called side counted them; `route` and `target` it does not know.

    `target` is the id of the set of instances that a route ended at: `v2.orders.default.default.dc1`.
    """

    inbound: bool
    source: str
    destination: str
    route: str = ""
    target: str = ""


class Tally:
    """Mutable; two are added entry by entry."""

    __slots__ = ("buckets", "ended", "failed", "injected", "sum_s")

    def __init__(
        self,
        ended: int = 0,
        failed: int = 0,
        buckets: Sequence[int] = (),
        sum_s: float = 0.0,
        injected: int = 0,
    ) -> None:
        """`injected` of the failed were made to fail, by an experiment."""
        self.ended = ended
        self.failed = failed
        self.buckets = [*buckets, *_ZEROES[len(buckets) :]]
        self.sum_s = sum_s
        self.injected = injected

    def add(self, other: "Tally") -> None:
        self.ended += other.ended
        self.failed += other.failed
        self.buckets = list(map(add, self.buckets, other.buckets))
        self.sum_s += other.sum_s
        self.injected += other.injected

    @classmethod
    def of(cls, tallies: Iterable["Tally"]) -> Self:
        """All of them together."""
        made = cls()
        for tally in tallies:
            made.add(tally)
        return made

    @property
    def error_rate(self) -> float:
        """Share of the ended calls that failed, 0 to 1."""
        return self.failed / self.ended if self.ended else 0.0

    def surely_slower(self, limit_s: float) -> int:
        """How many calls took longer than `limit_s`, of those that the histogram can tell it of."""
        return sum(self.buckets[bisect_left(BOUNDS_S, limit_s) + 1 :])

    def quantile_s(self, share: float) -> float:
        """How long at most the fastest `share` of the calls took, in seconds."""
        return quantile_s(self.buckets, share)

"""Latency as sidecars count it and the registry adds it up: calls by how long they took.

Entry i of a histogram counts calls of up to BOUNDS_S[i] seconds, the last entry those that took longer. Both
sides hold the same bounds: two histograms are added entry by entry.
"""

from collections.abc import Sequence
from itertools import accumulate

# Upper bounds, seconds: a local hop is well under 1 ms, a slow call seconds.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def quantile_s(buckets: Sequence[int], share: float) -> float:
    """How long at most the fastest `share` (0 to 1) of the calls took, in seconds; 0.0 where there are none.

    Calls are taken to lie evenly within their entry, as Prometheus does. Of those beyond the last bound no
    more is known than the bound.
    """
    rank = share * sum(buckets)
    if not rank:
        return 0.0
    below = 0
    for upto, count, low, high in zip(
        accumulate(buckets), buckets, (0.0, *BOUNDS_S), (*BOUNDS_S, BOUNDS_S[-1]), strict=False
    ):
        if upto >= rank:
            return low + (high - low) * (rank - below) / count
        below = upto
    return BOUNDS_S[-1]

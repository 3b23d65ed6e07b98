"""Quantiles of a histogram lie where its calls do."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.histogram import BOUNDS_S, quantile_s


def histogram(*seconds: float) -> list[int]:
    made = [0] * (len(BOUNDS_S) + 1)
    for value in seconds:
        made[bisect_left(BOUNDS_S, value)] += 1
    return made


def test_nothing_took_no_time() -> None:
    assert quantile_s(histogram(), 0.99) == 0.0


def test_calls_lie_evenly_within_an_entry() -> None:
    hundred = histogram(*[0.2] * 100)
    assert quantile_s(hundred, 0.5) == pytest.approx(0.175)
    assert quantile_s(hundred, 1.0) == pytest.approx(0.25)


def test_one_slow_call_of_a_hundred_is_beyond_p99() -> None:
    assert quantile_s(histogram(*[0.002] * 99, 5.0), 0.99) <= 0.0025
    assert quantile_s(histogram(*[0.002] * 98, 5.0, 5.0), 0.99) > 2.5


def test_beyond_the_last_bound_no_more_is_known_than_the_bound() -> None:
    assert quantile_s(histogram(600.0), 0.5) == BOUNDS_S[-1]


@given(st.lists(st.floats(0.0, 9.9), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_it_is_in_the_entry_of_the_call_that_it_names(seconds: list[float], share: float) -> None:
    found = quantile_s(histogram(*seconds), share)
    rank = max(0, -int(-(share * len(seconds)) // 1) - 1)  # of the call that the share ends with
    named = bisect_left(BOUNDS_S, sorted(seconds)[rank])
    low = BOUNDS_S[named - 1] if named else 0.0
    assert low - 1e-9 <= found <= BOUNDS_S[named] + 1e-9

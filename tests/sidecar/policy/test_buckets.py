"""Local rate limits, against a list of the moments at which requests were let through."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.admission import RateLimit
from sidecar.policy.buckets import CALLERS_MAX, Limiter, refused_for


def _limit(per_second: float = 2.0, burst: float = 3.0, per_caller: bool = False) -> Limiter:
    return Limiter(RateLimit("l", per_second, burst, per_caller=per_caller))


def test_a_burst_and_then_the_rate() -> None:
    limit = _limit()
    assert [refused_for([limit], "web", 0.0) is None for _ in range(5)] == [True] * 3 + [False] * 2
    refused = refused_for([limit], "web", 0.25)
    assert refused == (limit, pytest.approx(0.25))
    assert refused_for([limit], "web", 0.5) is None
    assert [refused_for([limit], "web", 100.0) is None for _ in range(4)] == [True] * 3 + [False]


def test_callers_have_buckets_of_their_own_where_that_is_said() -> None:
    shared, each = _limit(burst=1.0), _limit(burst=1.0, per_caller=True)
    assert refused_for([shared], "web", 0.0) is None
    assert refused_for([shared], "billing", 0.0) is not None
    assert refused_for([each], "web", 0.0) is None
    assert refused_for([each], "billing", 0.0) is None
    assert refused_for([each], "web", 0.0) is not None


def test_a_request_that_one_limit_refuses_costs_the_others_nothing() -> None:
    wide, narrow = _limit(burst=2.0), _limit(burst=1.0)
    assert refused_for([wide, narrow], "web", 0.0) is None
    for _ in range(5):
        assert refused_for([wide, narrow], "web", 0.0) is not None
    assert refused_for([wide], "web", 0.0) is None


def test_callers_are_bounded_and_the_busy_ones_stay() -> None:
    limit = _limit(burst=1.0, per_caller=True)
    assert refused_for([limit], "busy", 0.0) is None
    for number in range(CALLERS_MAX + 10):
        refused_for([limit], f"caller-{number}", 0.0)
        assert refused_for([limit], "busy", 0.0) is not None
    assert len(limit) == CALLERS_MAX


@given(
    st.lists(st.integers(0, 2_000), max_size=60),
    st.integers(1, 20),
    st.integers(1, 8),
)
def test_it_lets_through_what_exact_arithmetic_does(gaps: list[int], per_second: int, burst: int) -> None:
    """Time in thousandths; the oracle counts in fractions. A clock that stands still is no trouble."""
    limit = _limit(float(per_second), float(burst))
    tokens, now = Fraction(burst), 0
    for gap in gaps:
        now += gap
        tokens = min(Fraction(burst), tokens + Fraction(gap * per_second, 1000))
        if abs(tokens - 1) < Fraction(1, 10**6):
            return  # as close as this floats may differ
        let = tokens >= 1
        tokens -= int(let)
        assert (refused_for([limit], "web", now / 1000) is None) is let

"""Trap 25, and the rates of requests: token buckets with the time as an argument."""

from hypothesis import given
from hypothesis import strategies as st

from registry.limits.rate import RateLimit


def test_trap_25_a_burst_is_allowed_and_then_the_rate() -> None:
    limit = RateLimit(per_s=2, burst=3)
    assert [limit.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert not limit.take("a", 0.4)
    assert limit.take("a", 0.5)
    assert not limit.take("a", 0.5)


def test_trap_25_each_instance_has_its_own_share() -> None:
    limit = RateLimit(per_s=1, burst=1)
    assert limit.take("a", 0.0)
    assert not limit.take("a", 0.0)
    assert limit.take("b", 0.0)


def test_a_rest_fills_no_more_than_the_burst() -> None:
    limit = RateLimit(per_s=1, burst=2)
    limit.take("a", 0.0)
    assert [limit.take("a", 1000.0) for _ in range(3)] == [True, True, False]


def test_who_was_quiet_longest_is_forgotten() -> None:
    limit = RateLimit(per_s=1, burst=2, buckets_max=10)
    for n in range(9):
        limit.take(f"old-{n}", 0.0)
    limit.take("busy", 100.0)
    limit.take("busy", 100.0)
    for n in range(9):
        assert limit.take(f"new-{n}", 100.0)
        assert len(limit) <= 10
    assert not limit.take("busy", 100.0), "an exhausted bucket must not be forgotten before a quiet one"


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abc")), max_size=200), st.floats(0.1, 50))
def test_no_window_has_more_than_burst_and_rate(steps: list[tuple[float, str]], per_s: float) -> None:
    limit, now, burst = RateLimit(per_s, 5), 0.0, 5
    taken: dict[str, list[float]] = {}
    for pause, key in steps:
        now += pause
        if limit.take(key, now):
            taken.setdefault(key, []).append(now)
    for times in taken.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + per_s * (times[last] - times[first]) + 1e-6


@given(st.lists(st.floats(0, 100), min_size=2, max_size=50))
def test_a_clock_that_steps_back_gives_nothing_away(times: list[float]) -> None:
    limit = RateLimit(per_s=1, burst=3)
    allowed = sum(limit.take("a", now) for now in times)
    assert allowed <= 3 + max(times) - times[0] + max(times) + 1e-6

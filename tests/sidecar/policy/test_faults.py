"""What an experiment does to a request: shares, lengths, ends."""

import math
import random
from statistics import NormalDist, fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.admission import Abort, Delay, Distribution, Fault
from sidecar.policy.faults import NOTHING, Pacer, abort_of, draw_all, length_of

FOREVER = 2.0e9


def test_a_share_of_requests_is_hit() -> None:
    fault = Fault("f", 250_000, abort=Abort(503, 14), ends_s=FOREVER)
    draw = random.Random(1).random
    hits = sum(draw_all([fault], 0.0, draw).abort is not None for _ in range(20_000))
    assert abs(hits - 5_000) < 3 * math.sqrt(20_000 * 0.25 * 0.75)


@given(st.floats(0, 1, exclude_max=True))
def test_none_and_all_are_exact(point: float) -> None:
    assert draw_all([Fault("f", 0, reset=True, ends_s=FOREVER)], 0.0, lambda: point) == NOTHING
    assert draw_all([Fault("f", 1_000_000, reset=True, ends_s=FOREVER)], 0.0, lambda: point).reset


def test_it_ends_by_itself() -> None:
    fault = Fault("f", 1_000_000, reset=True, ends_s=1000.0)
    assert draw_all([fault], 999.9, random.random).reset
    assert draw_all([fault], 1000.0, random.random) == NOTHING


def test_faults_that_hit_together_are_one() -> None:
    delay = Delay(fixed_s=0.25)
    faults = [
        Fault("slow", 1_000_000, delay=delay, bytes_per_second=500, ends_s=FOREVER),
        Fault("slower", 1_000_000, delay=delay, bytes_per_second=100, ends_s=FOREVER),
        Fault("gone", 1_000_000, abort=Abort(500, 13), ends_s=FOREVER),
        Fault("reset", 1_000_000, reset=True, ends_s=FOREVER),
    ]
    hit = draw_all(faults, 0.0, random.random)
    assert hit.names == ("slow", "slower", "gone", "reset")
    assert (hit.delay_s, hit.bytes_per_second) == (0.5, 100)
    assert (hit.abort, hit.reset) == (Abort(500, 13), False)


@pytest.mark.parametrize(
    ("delay", "mean"),
    [
        (Delay(Distribution.FIXED, fixed_s=0.2), 0.2),
        (Delay(Distribution.UNIFORM, least_s=0.1, most_s=0.5), 0.3),
        (Delay(Distribution.NORMAL, mean_s=1.0, deviation_s=0.1), 1.0),
        (Delay(Distribution.EXPONENTIAL, mean_s=0.5), 0.5),
    ],
)
def test_lengths_have_the_mean_that_was_asked_for(delay: Delay, mean: float) -> None:
    draw = random.Random(2).random
    assert fmean(length_of(delay, draw()) for _ in range(20_000)) == pytest.approx(mean, rel=0.03)


@given(st.floats(0, 1, exclude_max=True))
def test_lengths_are_the_quantiles_of_their_distribution(point: float) -> None:
    normal = length_of(Delay(Distribution.NORMAL, mean_s=30.0, deviation_s=1.0), point)
    assert NormalDist(30.0, 1.0).cdf(normal) == pytest.approx(point, abs=1e-6)
    exponential = length_of(Delay(Distribution.EXPONENTIAL, mean_s=0.5), point)
    assert 1 - math.exp(-exponential / 0.5) == pytest.approx(point, abs=1e-6)


@given(
    st.builds(
        Delay,
        st.sampled_from(Distribution),
        *[st.floats(0, 60) for _ in range(3)],
        least_s=st.floats(0, 10),
        most_s=st.floats(10, 60),
    ),
    st.floats(0, 1),
)
def test_no_length_is_out_of_bounds(delay: Delay, point: float) -> None:
    assert delay.least_s <= length_of(delay, point) <= delay.most_s


def test_aborts_speak_both_languages() -> None:
    assert abort_of(503, 0) == Abort(503, 14)
    assert abort_of(0, 7) == Abort(403, 7)
    assert abort_of(418, 0) == Abort(418, 2)
    assert abort_of(0, 2) == Abort(500, 2)
    assert abort_of(404, 5) == Abort(404, 5)


@given(st.integers(1, 10**7), st.lists(st.tuples(st.integers(1, 20_000), st.floats(0, 0.5)), max_size=30))
def test_a_pace_is_never_exceeded(rate: int, asked: list[tuple[int, float]]) -> None:
    """Over any time from the beginning; and whoever waits as long as is said gets something."""
    pacer, now, sent = Pacer(rate, 0.0), 0.0, 0
    for wanted, gap in asked:
        now += gap
        sent += pacer.take(wanted, now)
        assert sent <= now * rate + 1
        now += pacer.lacks(wanted) + 1e-6
        more = pacer.take(wanted, now)
        assert more > 0
        sent += more

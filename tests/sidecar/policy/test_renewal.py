"""When to renew, and how long to wait after failures."""

import pytest

from sidecar.policy.renewal import (
    BACKOFF_MAX_S,
    ROTATION_SPREAD_S,
    backoff_s,
    renewal_after_rotation,
    renewal_at,
)

TTL_72H = 72 * 3600.0


@pytest.mark.parametrize("ttl_s", [20.0, 60.0, TTL_72H])
@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999999])
def test_it_is_due_with_jitter_before_half_of_the_life(ttl_s: float, draw: float) -> None:
    share = (renewal_at(1000.0, 1000.0 + ttl_s, draw) - 1000.0) / ttl_s
    assert 0.333 < share < 0.5


def test_instances_that_started_together_are_spread() -> None:
    dues = {renewal_at(0.0, TTL_72H, draw / 100) for draw in range(100)}
    assert max(dues) - min(dues) > TTL_72H * 0.16


def test_an_expired_certificate_is_due_at_once() -> None:
    assert renewal_at(1000.0, 900.0, 0.7) == 1000.0


def test_waits_double_up_to_the_most_and_differ() -> None:
    assert [backoff_s(failures, 1.0) for failures in (1, 2, 3, 4)] == [0.2, 0.4, 0.8, 1.6]
    assert backoff_s(1, 0.0) == 0.1
    assert backoff_s(10_000, 1.0) == BACKOFF_MAX_S


@pytest.mark.parametrize("left_s", [10.0, 40.0, TTL_72H])
@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999999])
def test_trap_25_after_a_change_of_the_root_it_is_due_soon_and_spread(left_s: float, draw: float) -> None:
    wait_s = renewal_after_rotation(1000.0, 1000.0 + left_s, draw) - 1000.0
    assert wait_s == pytest.approx(draw * min(ROTATION_SPREAD_S, left_s / 4))


def test_after_a_change_of_the_root_an_expired_certificate_is_due_at_once() -> None:
    assert renewal_after_rotation(1000.0, 900.0, 0.7) == 1000.0

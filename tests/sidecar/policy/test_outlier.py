"""Consecutive failures eject, for a growing time, within a share of the pool."""

import pytest

from sidecar.policy.outlier import Detector, Rate, is_failure
from sidecar.snapshot import EjectionPolicy

POLICY = EjectionPolicy(consecutive_failures=3, base_s=10, max_s=25, max_percent=50)


def fail(detector: Detector, key: str, now: float, times: int = 3) -> list[float]:
    found = [detector.failure(key, now) for _ in range(times)]
    return [ejection.until for ejection in found if ejection]


def test_only_a_row_of_failures_ejects() -> None:
    detector = Detector(POLICY, 4)
    assert not fail(detector, "a", 0, times=2)
    detector.success("a")
    assert not fail(detector, "a", 0, times=2)
    assert fail(detector, "a", 1, times=1) == [11]
    assert detector.ejected("a")


def test_success_of_another_does_not_break_the_row() -> None:
    detector = Detector(POLICY, 4)
    fail(detector, "a", 0, times=2)
    detector.success("b")
    assert fail(detector, "a", 0, times=1)


def test_it_returns_when_its_time_is_over() -> None:
    detector = Detector(POLICY, 4)
    fail(detector, "a", 0)
    assert detector.next_deadline() == 10
    assert detector.returned(9.99) == []
    assert detector.returned(10) == ["a"]
    assert detector.next_deadline() is None
    assert not detector.ejected("a")


def test_each_ejection_in_a_row_is_longer_up_to_the_most() -> None:
    detector = Detector(POLICY, 4)
    now, spans = 0.0, []
    for _ in range(4):
        (until,) = fail(detector, "a", now)
        spans.append(until - now)
        now = until
        assert detector.returned(now) == ["a"]
    assert spans == [10, 20, 25, 25]


def test_time_in_the_pool_is_forgiven() -> None:
    detector = Detector(POLICY, 4)
    fail(detector, "a", 0)
    detector.returned(10)
    fail(detector, "a", 10)
    detector.returned(30)
    assert fail(detector, "a", 40) == [60]  # one base time in the pool takes back one of two
    detector.returned(60)
    assert fail(detector, "a", 1000) == [1010]


def test_at_most_a_share_is_out() -> None:
    detector = Detector(POLICY, 4)
    assert fail(detector, "a", 0)
    assert fail(detector, "b", 0)
    assert not fail(detector, "c", 0)
    detector.returned(10)
    assert fail(detector, "c", 10, times=1)  # its row went on meanwhile


@pytest.mark.parametrize(("size", "ejected"), [(1, False), (2, True), (3, True)])
def test_one_may_always_be_ejected_but_never_the_only_one(size: int, ejected: bool) -> None:
    policy = EjectionPolicy(consecutive_failures=1, max_percent=1)
    assert (Detector(policy, size).failure("a", 0) is not None) is ejected


def test_failures_of_an_ejected_instance_change_nothing() -> None:
    detector = Detector(POLICY, 4)
    fail(detector, "a", 0)
    assert not fail(detector, "a", 5)
    assert detector.next_deadline() == 10


def test_what_left_the_pool_is_forgotten() -> None:
    detector = Detector(POLICY, 3)
    fail(detector, "a", 0)
    fail(detector, "b", 0, times=2)
    detector.keep(["b", "c"])
    assert not detector.ejected("a")
    assert fail(detector, "b", 0, times=1)
    detector.keep(["c"])
    assert not fail(detector, "c", 0)  # the only one


def test_new_settings_apply_to_failures_to_come() -> None:
    detector = Detector(POLICY, 4)
    detector.reconfigure(EjectionPolicy(consecutive_failures=1, base_s=1))
    assert fail(detector, "a", 0, times=1) == [1]


@pytest.mark.parametrize(
    ("grpc_status", "http_status", "counts"),
    [
        (14, 200, True),
        (13, 200, True),
        (15, 200, True),
        (0, 200, False),
        (2, 200, False),
        (4, 200, False),
        (7, 200, False),
        (-1, 200, False),
        (-1, 404, False),
        (-1, 500, True),
        (-1, 503, True),
        (0, 503, False),
    ],
)
def test_what_counts_as_failure(grpc_status: int, http_status: int, counts: bool) -> None:
    assert is_failure(grpc_status, http_status) is counts


def test_failures_of_a_gateway_are_counted_apart() -> None:
    policy = EjectionPolicy(consecutive_failures=10, consecutive_gateway_failures=2, base_s=10)
    detector = Detector(policy, 4)
    assert detector.failure("a", 0, 503) is None
    assert detector.failure("a", 0, 500) is None  # breaks the gateway's row, not the other
    assert detector.failure("a", 0, 502) is None
    assert detector.failure("a", 0, 0) is not None  # no answer at all
    assert detector.failure("b", 0, 504) is None
    detector.success("b")
    assert detector.failure("b", 0, 504) is None


def rates(*failures: int, requests: int = 100) -> list[Rate]:
    return [Rate(f"i{number}", requests, count) for number, count in enumerate(failures)]


def test_a_success_rate_far_below_the_pool_s_ejects() -> None:
    policy = EjectionPolicy(success_rate_stdevs=1.9, success_rate_min_hosts=5, max_percent=50)
    detector = Detector(policy, 6)
    assert [it.key for it in detector.judge(rates(1, 0, 2, 1, 50, 1), 0)] == ["i4"]
    assert not detector.judge(rates(1, 0, 2, 1), 0)  # too few to compare with
    assert not Detector(policy, 6).judge(rates(1, 0, 2, 1, 50, 1, requests=99), 0)  # of too few requests
    assert not Detector(policy, 6).judge(rates(50, 50, 50, 50, 50, 50), 0)  # nobody stands out


def test_a_share_of_failures_ejects_the_worst_first_up_to_the_bound() -> None:
    policy = EjectionPolicy(failure_percent=20, failure_percent_min_requests=50, max_percent=40)
    detector = Detector(policy, 5)
    assert [it.key for it in detector.judge(rates(21, 20, 90, 50, 0), 7)] == ["i2", "i3"]
    assert not detector.judge(rates(90, 0, 0, 0, 0, requests=49), 8)


def test_more_failures_than_requests_is_no_rate_below_nothing() -> None:
    """Failures are counted when they end, requests when they begin."""
    policy = EjectionPolicy(failure_percent=20, failure_percent_min_requests=1)
    assert [it.key for it in Detector(policy, 3).judge([Rate("a", 1, 9), Rate("b", 0, 3)], 0)] == ["a"]

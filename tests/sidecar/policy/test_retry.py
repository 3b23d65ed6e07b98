"""Once more, but only where nothing was processed and the body is held whole."""

from dataclasses import dataclass

import pytest

from sidecar.policy.retry import Budget, FailureKind, backoff_s, is_retriable, may_retry
from sidecar.traffic import RetryOn, RetryPolicy


@dataclass(eq=False)
class Begun:
    requests: int
    active: int


SAFE = [FailureKind.CONNECT_FAILED, FailureKind.REFUSED_STREAM, FailureKind.ABOVE_GOAWAY, FailureKind.STALE]
UNSAFE = [FailureKind.CONNECTION_LOST, FailureKind.RESET, FailureKind.TIMED_OUT]


def test_every_kind_is_judged() -> None:
    assert {*SAFE, *UNSAFE} == set(FailureKind)


@pytest.mark.parametrize("why", SAFE)
def test_trap_17_an_unprocessed_request_is_sent_once_more(why: FailureKind) -> None:
    assert may_retry(1, why, body_whole=True)
    assert not may_retry(2, why, body_whole=True)


@pytest.mark.parametrize("why", UNSAFE)
def test_a_request_that_may_have_run_is_never_sent_again(why: FailureKind) -> None:
    assert not may_retry(1, why, body_whole=True)


def test_trap_17_a_body_passed_on_in_part_is_not_replayed() -> None:
    assert not may_retry(1, FailureKind.REFUSED_STREAM, body_whole=False)


def test_an_answered_request_is_over() -> None:
    assert not may_retry(1, FailureKind.REFUSED_STREAM, body_whole=True, answered=True)


@pytest.mark.parametrize("why", UNSAFE)
def test_a_policy_may_name_what_may_have_run(why: FailureKind) -> None:
    policy = RetryPolicy(attempts_max=3, on=frozenset((RetryOn.SERVER_ERROR,)))
    assert may_retry(2, why, body_whole=True, policy=policy)
    assert not may_retry(3, why, body_whole=True, policy=policy)
    assert not may_retry(2, why, body_whole=False, policy=policy)
    assert not may_retry(2, why, body_whole=True, answered=True, policy=policy)
    assert not may_retry(1, why, body_whole=True, policy=RetryPolicy(on=frozenset((RetryOn.CANCELLED,))))


def test_a_reset_is_judged_by_the_status_that_a_grpc_client_makes_of_it() -> None:
    policy = RetryPolicy(on=frozenset((RetryOn.CANCELLED,)))
    assert may_retry(1, FailureKind.RESET, body_whole=True, policy=policy, grpc_status=1)
    assert not may_retry(1, FailureKind.RESET, body_whole=True, policy=policy, grpc_status=13)


@pytest.mark.parametrize(
    ("word", "http_status", "grpc_status", "retried"),
    [
        (RetryOn.SERVER_ERROR, 500, -1, True),
        (RetryOn.SERVER_ERROR, 499, -1, False),
        (RetryOn.SERVER_ERROR, 200, 13, False),
        (RetryOn.GATEWAY_ERROR, 503, -1, True),
        (RetryOn.GATEWAY_ERROR, 500, -1, False),
        (RetryOn.RETRIABLE_4XX, 409, -1, True),
        (RetryOn.RETRIABLE_4XX, 404, -1, False),
        (RetryOn.UNAVAILABLE, 200, 14, True),
        (RetryOn.UNAVAILABLE, 200, 13, False),
        (RetryOn.INTERNAL, 200, 13, True),
        (RetryOn.RESOURCE_EXHAUSTED, 200, 8, True),
        (RetryOn.DEADLINE_EXCEEDED, 200, 4, True),
        (RetryOn.CANCELLED, 200, 1, True),
        (RetryOn.UNAVAILABLE, 200, 0, False),
    ],
)
def test_answers_are_retried_by_their_status(
    word: RetryOn, http_status: int, grpc_status: int, retried: bool
) -> None:
    assert is_retriable(RetryPolicy(on=frozenset((word,))), http_status, grpc_status) is retried
    if http_status != 200:
        listed = RetryPolicy(status_codes=frozenset((http_status,)))
        assert is_retriable(listed, http_status, grpc_status)


def test_back_off_doubles_up_to_its_bound_with_full_jitter() -> None:
    policy = RetryPolicy(backoff_base_s=0.1, backoff_max_s=0.35)
    assert [round(backoff_s(policy, retry, 1.0), 3) for retry in (1, 2, 3, 4)] == [0.1, 0.2, 0.35, 0.35]
    assert backoff_s(policy, 1, 0.0) == 0.0 and backoff_s(policy, 1000, 0.5) == 0.175


def test_the_budget_is_a_share_of_what_is_no_retry() -> None:
    """So a total outage adds a fifth to the load at most."""
    budget, counted = Budget(RetryPolicy(budget_percent=20, budget_min=0)), Begun(0, 120)
    assert not budget.has_room(counted, retrying=False), "nothing is saved yet"
    counted.requests += 1000
    while budget.has_room(counted, retrying=False):
        budget.spend()
        budget.running += 1
    assert budget.running == 20
    least = Budget(RetryPolicy(budget_percent=20, budget_min=3))
    least.running = 2
    assert least.has_room(Begun(3, 3), retrying=False)
    least.running = 3
    assert not least.has_room(Begun(4, 4), retrying=False)
    assert least.has_room(Begun(4, 4), retrying=True), "one of the three goes on"


def test_the_budget_counts_attempts_and_not_only_what_is_under_way() -> None:
    """Retries that are over at once: of 1000 requests 200 may be, however often each is tried."""
    budget, counted = Budget(RetryPolicy(budget_percent=20, budget_min=0)), Begun(0, 100)
    made = 0
    for _ in range(1000):
        counted.requests += 1
        budget.running = 0
        while made < 5 * counted.requests and budget.has_room(counted, retrying=budget.running > 0):
            budget.spend()
            budget.running = 1
            made += 1
    assert 190 <= made <= 200


def test_shares_that_were_not_used_are_kept_for_a_burst_only() -> None:
    budget, counted = Budget(RetryPolicy(budget_percent=20, budget_min=0)), Begun(0, 20)
    budget.running = 1
    counted.requests += 10_000
    made = 0
    while budget.has_room(counted, retrying=True):
        budget.spend()
        made += 1
    assert made == 10

"""Once more, but only where nothing was processed and the body is held whole."""

import pytest

from sidecar.policy.retry import FailureKind, may_retry

SAFE = [FailureKind.CONNECT_FAILED, FailureKind.REFUSED_STREAM, FailureKind.ABOVE_GOAWAY]
UNSAFE = [FailureKind.CONNECTION_LOST, FailureKind.RESET]


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

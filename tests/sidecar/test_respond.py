"""Every refusal has exactly one row in the table."""

import pytest

from sidecar import errors
from sidecar.respond import ANSWERS, REFUSED_STREAM


def test_the_table_is_complete() -> None:
    assert set(ANSWERS) == set(errors.RequestRefused.__subclasses__())


@pytest.mark.parametrize("refusal", ANSWERS)
def test_a_row_is_a_valid_answer(refusal: type[errors.RequestRefused]) -> None:
    answer = ANSWERS[refusal]
    assert 400 <= answer.http_status <= 599
    assert 0 < answer.grpc_status <= 16
    assert answer.grpc_message.isascii() and "%" not in answer.grpc_message  # needs no percent-encoding
    assert answer.reason.isidentifier()


def test_reasons_tell_refusals_apart() -> None:
    assert len({answer.reason for answer in ANSWERS.values()}) == len(ANSWERS)


def test_trap_17_a_dead_app_is_safe_to_retry_elsewhere() -> None:
    """The caller's proxy must learn that nothing was processed."""
    assert ANSWERS[errors.AppUnreachable].reset_code == REFUSED_STREAM

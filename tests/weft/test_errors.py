"""The root of the error tree."""

import pytest

from weft import errors


def test_exit_codes_tell_wrong_input_from_a_wrong_machine_and_a_bug() -> None:
    assert errors.ConfigError.exit_code == errors.UsageError.exit_code == 2
    assert errors.PortTaken.exit_code == errors.DataDirProblem.exit_code == errors.Unavailable.exit_code == 1
    assert errors.InvariantBroken.exit_code == 70


def test_an_invariant_that_does_not_hold_is_a_bug() -> None:
    errors.invariant(True, "fine")
    with pytest.raises(errors.InvariantBroken, match="cannot happen"):
        errors.invariant(False, "cannot happen")

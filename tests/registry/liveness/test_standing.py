"""The table by which the leader decides about one agent: every row of it."""

import pytest

from registry.liveness.limits import Patience
from registry.liveness.standing import Listed, Standing, Verdict, verdict

PATIENCE = Patience(lost_after_s=4.0, gone_after_s=100.0)
ALL = tuple(Listed)


@pytest.mark.parametrize("listed", ALL)
@pytest.mark.parametrize("silent_s", [None, 0.0, 1e6])
def test_who_is_heard_is_alive_or_as_it_should_be(listed: Listed, silent_s: float | None) -> None:
    settled = listed is Listed.PASSING and silent_s is None
    found = verdict(Standing(0, silent_s, listed, certified=True), PATIENCE)
    assert found is (None if settled else Verdict.ALIVE)


@pytest.mark.parametrize("listed", ALL)
def test_a_short_silence_says_nothing(listed: Listed) -> None:
    for silent_s in (None, 1e6):
        assert verdict(Standing(3.9, silent_s, listed, certified=False), PATIENCE) is None


@pytest.mark.parametrize("listed", ALL)
def test_a_longer_one_is_written_once(listed: Listed) -> None:
    assert verdict(Standing(4.0, None, listed, certified=True), PATIENCE) is Verdict.SILENT
    again = verdict(Standing(9.0, 5.0, listed, certified=True), PATIENCE)
    assert again is (None if listed in (Listed.CRITICAL, Listed.ABSENT) else Verdict.SILENT)


def test_a_very_long_one_ends_the_node() -> None:
    def found(silent_s: float) -> Verdict | None:
        return verdict(Standing(200.0, silent_s, Listed.CRITICAL, certified=True), PATIENCE)

    assert (found(99.9), found(100.0)) == (None, Verdict.GONE)


def test_the_time_of_silence_alone_ends_nothing() -> None:
    """A new leader has heard nobody yet, whatever the log says of the time before."""
    assert verdict(Standing(0.1, 1e6, Listed.CRITICAL, certified=True), PATIENCE) is None


def test_a_member_without_node_and_certificate_is_forgotten() -> None:
    assert verdict(Standing(9.0, 5.0, Listed.ABSENT, certified=False), PATIENCE) is Verdict.GONE

"""The table of a root's life: which step follows which, and never too early."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.rotation import (
    SKEW_MS,
    TABLE,
    Phase,
    Position,
    Step,
    due_ms,
    may_take,
    next_step,
    retire_at_ms,
)

HOUR_MS = 3_600_000
times = st.integers(0, 10**13)


def test_every_phase_has_one_step_and_the_table_comes_back_to_rest() -> None:
    assert set(TABLE) == set(Phase)
    phase, seen = Phase.EMPTY, []
    for _ in range(4):
        seen.append(TABLE[phase].step)
        phase = TABLE[phase].leads_to
    assert seen == [Step.INSTALL, Step.REQUEST, Step.SWITCH, Step.RETIRE]
    assert phase is Phase.STEADY


@pytest.mark.parametrize("phase", list(Phase))
def test_only_the_next_step_may_be_taken(phase: Phase) -> None:
    assert [step for step in Step if may_take(phase, step)] == [TABLE[phase].step]


def test_a_root_is_replaced_before_leaves_would_be_cut_short() -> None:
    ends = 1000 * HOUR_MS
    steady = Position(Phase.STEADY, leaf_ttl_ms=72 * HOUR_MS, root_ends_ms=ends)
    early = ends - 2 * (72 * HOUR_MS + SKEW_MS)
    assert due_ms(steady) == early
    assert next_step(steady, early - 1) is None
    assert next_step(steady, early) is Step.REQUEST


@given(switched=times, ttl=st.integers(10_000, 366 * 24 * HOUR_MS), last=times)
def test_trap_25_the_old_root_outlives_every_leaf_on_every_clock(switched: int, ttl: int, last: int) -> None:
    at = retire_at_ms(switched, ttl, last)
    assert at >= switched + ttl + SKEW_MS
    assert at >= last + SKEW_MS
    position = Position(Phase.SWITCHED, ttl, retire_at_ms=at)
    assert next_step(position, at - 1) is None
    assert next_step(position, at) is Step.RETIRE

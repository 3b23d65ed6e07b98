"""The bench of the consensus core runs, and counts what was applied."""

from itertools import count

from bench.raft import run


def test_it_counts_commands_per_second_of_its_clock() -> None:
    ticks = count()
    rate = run(3, writers=4, seconds=5, clock=lambda: float(next(ticks)))
    # Four rounds of four commands fit between the readings of the clock, which advances by 1 each time;
    # besides, each server applies one no-op of the election, before the first reading.
    assert rate == 4 * 4 / 6

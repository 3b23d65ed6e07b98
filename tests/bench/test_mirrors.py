"""Windows of two kinds in turns, and what is concluded from them."""

import random
from contextlib import ExitStack
from pathlib import Path

from bench import mirrors, open_loop
from bench.processes import start_backend


def windows(rng: random.Random, pairs: int, slower: float) -> list[list[float]]:
    return [[rng.expovariate(1.0) * slower for _ in range(50)] for _ in range(pairs)]


def test_every_window_has_its_calls_and_all_are_answered(tmp_path: Path) -> None:
    with ExitStack() as stack:
        backend, port = start_backend(stack, tmp_path)
        before = backend.ask()["requests"]
        plain, mirrored = mirrors.in_turns(port, 3, 0.02)
        asked = backend.ask()["requests"] - before
    count = int(mirrors.RATE * 0.02)
    assert [len(window) for window in plain + mirrored] == [count] * 6
    assert asked == 2 * mirrors.CONNECTIONS * open_loop.WARM_CALLS + 6 * count
    assert all(latency > 0 for window in plain + mirrored for latency in window)


def test_the_interval_holds_one_where_nothing_differs() -> None:
    rng = random.Random(1)
    found = mirrors.compared(windows(rng, 100, 1.0), windows(rng, 100, 1.0))
    for name in ("p50", "p99"):
        low, high = found[name]["ratio_95"]
        assert low < 1 < high and low < found[name]["ratio"] < high
    assert found["requests"] == 5000


def test_the_interval_lies_above_one_where_copies_cost() -> None:
    rng = random.Random(1)
    found = mirrors.compared(windows(rng, 100, 1.0), windows(rng, 100, 1.5))
    assert found["p50"]["ratio_95"][0] > 1.2
    assert found["p99"]["ratio_95"][0] > 1.1


def test_a_whole_pair_of_windows_is_drawn() -> None:
    """A machine that is slow for a while is slow for both: the ratio stays what it is."""
    plain = [[1.0 + number] * 50 for number in range(20)]
    found = mirrors.compared(plain, [[2 * latency for latency in window] for window in plain])
    assert found["p50"]["ratio_95"] == found["p99"]["ratio_95"] == [2.0, 2.0]

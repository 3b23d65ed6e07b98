"""A fixed number of seeds, their repeatability, and that the planted bugs can be planted."""

import os
import subprocess
import sys

import pytest

from tests.simulation import campaign
from tests.simulation.campaign import Outcome, hunt, run_seed
from tests.simulation.mutants import CONTROL, MUTANTS, planted
from tests.simulation.options import THEMES, draw_theme
from tests.support.sources import PROJECT

SEEDS = range(1, 21)
KILLED_QUICKLY = ("votes_for_any_log", "commits_without_the_minimum", "applies_a_retry_again", "never_syncs")
HUNT_RUNS = 1_000


def test_no_promise_is_broken_under_any_seed() -> None:
    failed = [outcome for seed in SEEDS if (outcome := run_seed(seed)).rule]
    assert not failed, "\n".join(f"{it.detail}\n  replay: {it.replay}" for it in failed)


def test_the_seeds_cover_every_theme() -> None:
    assert {draw_theme(seed) for seed in SEEDS} == {"", *THEMES}


def test_trap_19_trap_22_a_seed_replays_alike_under_any_hash_seed() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "2"]
    traces = [
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, cwd=PROJECT, capture_output=True
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert traces[0].count(b"\n") > 1_000 and traces[0].endswith(b"all held\n")


def test_a_failure_names_the_command_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(jobs: object, processes: int) -> list[Outcome]:
        return [Outcome(7, "", "election safety", "two leaders"), Outcome(8, "")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaign, "run_jobs", failing)
        assert campaign.run_seeds(range(7, 9)) == 1
    assert "two leaders\n  replay: python -m tests.simulation --seed 7\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", MUTANTS)
def test_each_bug_can_be_planted_and_is_gone_again(name: str) -> None:
    with planted(name):
        pass
    with planted(""):
        pass


@pytest.mark.parametrize("name", KILLED_QUICKLY)
def test_a_planted_bug_is_caught(name: str) -> None:
    assert hunt(name, first=1, runs=40, processes=1), f"{name} survived"


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in MUTANTS if name != CONTROL])
def test_every_planted_bug_is_caught(name: str) -> None:
    assert hunt(name, first=1, runs=HUNT_RUNS), f"{name} survived {HUNT_RUNS} seeds"


@pytest.mark.long
def test_nothing_is_caught_where_no_bug_is_planted() -> None:
    killer = hunt(CONTROL, first=1, runs=60)
    assert killer is None, killer and killer.replay

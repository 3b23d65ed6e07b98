"""The golden transcripts in tests/scenarios/raft; see tests/support/raft_scenario.py."""

from pathlib import Path

import pytest

from tests.support.raft_scenario import check, play
from tests.support.sources import PROJECT

SCENARIOS = sorted((PROJECT / "tests" / "scenarios" / "raft").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_transcript_is_what_happens(path: Path, request: pytest.FixtureRequest) -> None:
    check(path, rewrite=bool(request.config.getoption("--rewrite")))


def test_there_are_transcripts_and_each_says_why_it_exists() -> None:
    assert len(SCENARIOS) >= 10
    for path in SCENARIOS:
        assert path.read_text().startswith("# "), f"{path.name}: say in the first lines why it exists"


def test_a_difference_is_found() -> None:
    wrong = "# nothing\n> cluster abc\nok\n\n> status\na leader t7\n"
    assert play(wrong) != wrong

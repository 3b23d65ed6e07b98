"""docs/config-entries.md is what the kinds say, and its examples work as written, in its order."""

import pytest

from registry.catalog import commands
from registry.config_entries.kinds import KINDS, encoded, entry_of
from tests.support.catalog import World, stamp
from tests.tidy.config_page import EXAMPLES, PAGE, render
from weft.hcl import loads


def test_the_page_is_what_the_kinds_say() -> None:
    assert PAGE.read_text() == render(), "run: .venv/bin/python -m tests.tidy.config_page"


def test_there_is_one_example_for_each_kind() -> None:
    assert {file.stem for file in EXAMPLES.iterdir()} == set(KINDS)


@pytest.mark.parametrize("times", [1, 2])
def test_the_examples_can_be_written_in_the_order_of_the_page(times: int) -> None:
    world = World.set_up()
    for _ in range(times):
        for kind in KINDS:
            entry = entry_of(loads((EXAMPLES / f"{kind}.hcl").read_text()))
            assert entry.kind == kind
            world.do(commands.set_config_entry(stamp(), encoded(entry)))

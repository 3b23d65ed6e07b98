"""docs/memory.md: what it says is what the program does, and it says all."""

import ast
import re

from tests.support.sources import inside, sources
from tests.tidy.memory_page import NO_BUFFERS, PAGE, SCOPES, render, value_of

ROOMS = (
    "sidecar.h2",
    "sidecar.http1",
    "sidecar.proxy",
    "sidecar.outlets",
    "sidecar.tap",
    "sidecar.telemetry",
)
LOOKS_LIKE_A_BOUND = re.compile(r"[A-Z][A-Z0-9_]*_?(MAX|BYTES)([A-Z0-9_]*)")
ROWS = [row for scope in SCOPES for row in scope.rows]


def test_the_page_is_of_today_s_constants() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.tidy.memory_page"


def test_every_bound_of_the_data_plane_is_in_a_row_or_bounds_no_buffer() -> None:
    found = set()
    for source in sources():
        if not inside(source.name, *ROOMS):
            continue
        for node in source.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                found |= {
                    f"{source.name.removeprefix('sidecar.')}:{name.id}"
                    for name in names
                    if isinstance(name, ast.Name)
                    and LOOKS_LIKE_A_BOUND.fullmatch(name.id)
                    and not name.id.endswith(("_S", "_S_MAX", "_PER_S", "_SHARE"))
                }
    told = {row.bound for row in ROWS} | NO_BUFFERS
    assert found - told == set(), "say in tests/tidy/memory_page.py what they bound"
    gone = {it for it in NO_BUFFERS if it not in found}
    assert not gone, "they are there no more"


def test_bounds_are_numbers_and_no_row_is_there_twice() -> None:
    assert len({row.bound for row in ROWS}) == len(ROWS)
    assert all(value_of(row.bound) > 0 for row in ROWS)

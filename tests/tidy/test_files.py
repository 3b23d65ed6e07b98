"""House rules that a reader of one file relies on."""

import ast
import importlib
import re
import statistics

import pytest

from tests.support.sources import PROJECT, inside, sources
from tests.tidy.test_layering import SANS_IO
from weft.errors import WeftError

SOURCES = sources()
LINES_MAX = 500
HOT_LINES_MAX = 1300  # a state machine stays in one file
MEDIAN_LINES_MAX = 220
HOT_ROOMS = ("sidecar.h2", "sidecar.http1", "sidecar.proxy")
HOT_FILES = ("sidecar.telemetry", "sidecar.policy.balance")  # single files that each request runs through
HOT_LINE = re.compile(r"# Hot path: (?P<bench>bench/\S+\.py)")


def test_every_module_says_what_it_is() -> None:
    silent = [str(source.path) for source in SOURCES if not ast.get_docstring(source.tree)]
    assert not silent, f"begin with a docstring: {silent}"


@pytest.mark.parametrize("room", [room for room in SANS_IO if not room.startswith("ca.")] + ["ca"])
def test_a_sans_io_room_says_so(room: str) -> None:
    (face,) = [source for source in SOURCES if source.name == room]
    assert (ast.get_docstring(face.tree) or "").startswith("Sans-IO.")


def test_hot_files_are_few_and_name_the_bench_that_measures_them() -> None:
    for source in SOURCES:
        if "Hot path" not in source.text:
            continue
        marked = HOT_LINE.fullmatch(source.text.partition("\n")[0])
        assert marked, f"{source.path}: the first line of a hot file is '# Hot path: bench/<file>.py'"
        assert inside(source.name, *HOT_ROOMS, *HOT_FILES), f"{source.path}: hot files are in {HOT_ROOMS}"
        assert (PROJECT / marked["bench"]).is_file(), f"{source.path}: {marked['bench']} does not exist"


def test_a_file_can_be_read_in_one_sitting() -> None:
    for source in SOURCES:
        limit = HOT_LINES_MAX if inside(source.name, *HOT_ROOMS) else LINES_MAX
        assert len(source.text.splitlines()) <= limit, f"{source.path}: split it, or say here why not"


def test_files_are_small_as_a_rule() -> None:
    sizes = [len(source.text.splitlines()) for source in SOURCES if not source.is_package]
    assert statistics.median(sizes) <= MEDIAN_LINES_MAX


def test_errors_belong_to_the_tree_and_say_whether_they_are_expected() -> None:
    for source in SOURCES:
        if source.path.name != "errors.py":
            continue
        module = importlib.import_module(source.name)
        for node in source.tree.body:
            made = getattr(module, node.name) if isinstance(node, ast.ClassDef) else None
            if made is None or not issubclass(made, BaseException):
                continue
            assert issubclass(made, WeftError), f"{source.path}: {made.__name__} is no WeftError"
            said = (made.__doc__ or "").startswith(("Expected.", "Unexpected.", "Root of"))
            assert said, f"{source.path}: {made.__name__} begins with Expected. or Unexpected."


def test_no_room_is_named_for_nothing() -> None:
    for room in ("utils", "helpers", "managers", "common", "misc"):
        assert not list(PROJECT.glob(f"[a-z]*/**/{room}.py")), f"name {room}.py for what it does"

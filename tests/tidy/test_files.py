"""House rules that a reader of one file relies on."""

import ast
import re
import statistics

import pytest

from tests.support.sources import PROJECT, Source, inside, sources
from tests.tidy.test_layering import SANS_IO, named
from weft.errors import WeftError

SOURCES = sources()
LINES_MAX = 500
HOT_LINES_MAX = 1300  # a state machine stays in one file
MEDIAN_LINES_MAX = 220
HOT_ROOMS = ("sidecar.h2", "sidecar.proxy")
HOT_FILES = ("sidecar.telemetry", "sidecar.policy.balance")  # single files that each request runs through
HOT_LINE = re.compile(r"# Hot path: (?P<bench>bench/\S+\.py)")


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_every_module_says_what_it_is(source: Source) -> None:
    assert ast.get_docstring(source.tree), f"{source.path}: begin with a docstring"


@pytest.mark.parametrize(
    "room", sorted({room.rpartition(".")[0] if "ca." in room else room for room in SANS_IO})
)
def test_a_sans_io_room_says_so(room: str) -> None:
    (face,) = [source for source in SOURCES if source.name == room]
    assert (ast.get_docstring(face.tree) or "").startswith("Sans-IO.")


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_hot_files_are_few_and_name_the_bench_that_measures_them(source: Source) -> None:
    first = source.text.partition("\n")[0]
    if "Hot path" not in source.text:
        return
    marked = HOT_LINE.fullmatch(first)
    assert marked, f"{source.path}: the first line of a hot file is '# Hot path: bench/<file>.py'"
    assert inside(source.name, *HOT_ROOMS, *HOT_FILES), f"{source.path}: hot files are in {HOT_ROOMS}"
    assert (PROJECT / marked["bench"]).is_file(), f"{source.path}: {marked['bench']} does not exist"


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_file_can_be_read_in_one_sitting(source: Source) -> None:
    limit = HOT_LINES_MAX if inside(source.name, *HOT_ROOMS) else LINES_MAX
    assert len(source.text.splitlines()) <= limit, f"{source.path}: split it, or say here why not"


def test_files_are_small_as_a_rule() -> None:
    sizes = [len(source.text.splitlines()) for source in SOURCES if not source.is_package]
    assert statistics.median(sizes) <= MEDIAN_LINES_MAX


@pytest.mark.parametrize("source", [s for s in SOURCES if s.path.name == "errors.py"], ids=named)
def test_errors_belong_to_the_tree_and_say_whether_they_are_expected(source: Source) -> None:
    module = __import__(source.name, fromlist=["*"])
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef) and isinstance(made := getattr(module, node.name), type):
            if not issubclass(made, BaseException):
                continue
            assert issubclass(made, WeftError), f"{source.path}: {node.name} is no WeftError"
            if made is not WeftError:
                said = ast.get_docstring(node) or ""
                assert said.startswith(("Expected.", "Unexpected.", "Root of")), f"{source.path}: {node.name}"


def test_no_module_shadows_the_standard_library_at_the_top() -> None:
    for room in ("utils", "helpers", "managers", "common", "misc"):
        assert not list(PROJECT.glob(f"[a-z]*/**/{room}.py")), f"name {room}.py for what it does"

"""Regular expressions of users: linear in time, bounded in size."""

import time

import pytest

from weft.regex import PATTERN_CHARS_MAX, InvalidPattern, compile_pattern


def test_a_part_or_the_whole() -> None:
    pattern = compile_pattern("b+")
    assert pattern.is_in("abbc")
    assert not pattern.is_all("abbc")
    assert pattern.is_all("bb")


@pytest.mark.parametrize(
    "text", ["(", "(?=a)", r"(a)\1", "a" * (PATTERN_CHARS_MAX + 1), "((a{999}){999}){99}"]
)
def test_what_is_no_expression_of_re2_is_refused(text: str) -> None:
    with pytest.raises(InvalidPattern):
        compile_pattern(text)


def test_what_makes_others_backtrack_takes_no_time() -> None:
    began = time.process_time()
    assert not compile_pattern("(a+)+$").is_all("a" * 50_000 + "b")
    assert time.process_time() - began < 5

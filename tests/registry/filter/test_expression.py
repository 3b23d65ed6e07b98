"""Filter expressions: what they mean, what they refuse, and that text from outside breaks nothing."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.filter import rows
from registry.filter.errors import InvalidFilter
from registry.filter.expression import filter_of
from registry.filter.fields import TEXT, TEXT_MAP, TEXTS, ListOf, struct
from registry.filter.parse import DEPTH_MAX, TERMS_MAX
from registry.filter.tokens import EXPRESSION_CHARS_MAX

ENTRY: dict[str, Any] = {
    "Node": {"Node": "n1", "Address": "10.0.0.1", "Meta": {"rack": "r1"}},
    "Service": {
        "ID": "web-1",
        "Service": "web",
        "Tags": ["v1", "blue"],
        "Meta": {"version": "2.1", "a-b": "x"},
        "Port": 8080,
        "EnableTagOverride": True,
        "TaggedAddresses": {"lan": {"Address": "10.0.0.9", "Port": 1}},
    },
    "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "app", "Status": "warning"}],
}


def _holds(expression: str, row: dict[str, Any] = ENTRY) -> bool:
    return filter_of(expression, rows.HEALTH_ENTRY)(row)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "  ",
        'Service.Service == "web"',
        "Service.Service == web",
        "Service.Service==web",
        "Service.Service != db",
        "Service.Meta.version == 2.1",
        'Service.Meta["a-b"] == `x`',
        'Service.Meta["a-b"]=="x"',
        "Service.Port == 8080",
        "Service.Port != 80",
        "Service.EnableTagOverride == true",
        "v1 in Service.Tags",
        '"v1" in Service.Tags',
        "green not in Service.Tags",
        'Service.Tags contains "blue"',
        "Service.Tags not contains green",
        "version in Service.Meta",
        "Service.Meta contains version",
        "eb in Service.Service",
        "Service.Service contains we",
        "Service.Service matches `^w.b$`",
        'Service.ID matches "^web-[0-9]+"',
        "Service.Service not matches `^x`",
        "Service.Tags is not empty",
        "Service.Kind is empty",
        "Service.Kind == ``",
        "Service.Meta is not empty",
        "Checks is not empty",
        "Checks.Status == warning",
        "Checks.Status != warning",  # one of them is not
        "not Checks.Status == critical",
        "Service.TaggedAddresses.lan.Address == 10.0.0.9",
        "Service.Meta.nope != x",
        "Service.Meta.nope is empty",
        "Node.Meta.rack == r1 and Service.Service == web",
        "Service.Service == db or Service.Service == web",
        "Service.Service == web or Service.Service == db and Service.Service == no",
        "not Service.Service == db and Service.Port == 8080",
        "not not Service.Service == web",
        "not (Service.Service == web and Service.Port == 1)",
        "((Service.Service == web))",
        "Service.ID == web-1",
        "Node.Address == 10.0.0.1",
    ],
)
def test_what_holds(expression: str) -> None:
    assert _holds(expression)
    if expression.strip():
        assert not _holds(f"not ({expression})")


@pytest.mark.parametrize(
    "expression",
    [
        "Service.Service == db",
        "Service.Meta.nope == x",
        "Service.Meta.nope is not empty",
        "x in Service.Meta.nope",
        "Service.Meta.nope matches `.*`",
        "Service.Tags is empty",
        "Service.Port == 8081",
        "(Service.Service == web or Service.Service == db) and Service.Port == 1",
    ],
)
def test_what_does_not_hold(expression: str) -> None:
    assert not _holds(expression)


def test_what_a_row_leaves_out_is_empty() -> None:
    assert _holds("Service.Tags is empty and Node.Address == `` and Service.Port == 0", {})
    assert not _holds("Checks.Status == passing", {"Checks": None})


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("Nope == 1", "Selector 'Nope' is not valid"),
        ("Service.Nope == 1", "Selector 'Service.Nope' is not valid"),
        ("Service.Service.x == 1", "is not valid"),
        ("Service == web", "Invalid match operator '=='"),
        ("Service.Tags == v1", "Invalid match operator '=='"),
        ("Service.Port matches `1`", "Invalid match operator 'matches'"),
        ("Service.Port == x", "is a number"),
        ("Service.EnableTagOverride == x", "is a boolean"),
        ("Service.Service matches `(`", "Failed to compile regular expression"),
        ("Service.Service", "1:16"),
        ("Service.Service ==", "expected a value, not the end"),
        ("Service.Service = web", "no match found"),
        ("== web", "expected a selector"),
        ("Service.Service == web Service.Service == web", 'expected "and"'),
        ("(Service.Service == web", 'expected ")"'),
        ('Service.Meta["x] == 1', "no match found"),
        ("Service.Meta[x] == 1", "expected a string"),
        ('Service.Service == "\\q"', "escape"),
        ("not", "expected a selector"),
        ("x in", "expected a selector"),
        ("Service.Service is", 'expected "empty"'),
        ("a" * (EXPRESSION_CHARS_MAX + 1), "longer than"),
        ("(" * (DEPTH_MAX + 1), "levels"),
        ("not " * (DEPTH_MAX + 1), "levels"),
        (" or ".join(["a in Checks.Node"] * (TERMS_MAX + 1)), "comparisons"),
    ],
)
def test_what_is_refused_and_why(expression: str, says: str) -> None:
    with pytest.raises(InvalidFilter, match=re.escape(says)):
        _holds(expression)


@given(st.text(max_size=80))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with suppress(InvalidFilter):
        assert isinstance(_holds(text), bool)


_WORDS = [
    "Service.Service",
    "Service.Tags",
    "Meta",
    "a",
    "==",
    "!=",
    "in",
    "not",
    "and",
    "or",
    "(",
    ")",
    '"x"',
]
_WORDS += ["is", "empty", "contains", "matches", "`x`", "[", "]", ".", "1", "Service.Meta.x"]


@given(st.lists(st.sampled_from(_WORDS), max_size=16).map(" ".join))
def test_any_words_of_the_language_are_a_filter_or_refused(text: str) -> None:
    test_any_text_is_a_filter_or_refused.hypothesis.inner_test(text)  # type: ignore[attr-defined]


# An oracle: expressions made together with their meaning.

_FIELDS = struct(A=TEXT, T=TEXTS, M=TEXT_MAP, L=ListOf(struct(S=TEXT)))
_VALUES = st.sampled_from(["", "x", "xy", "z"])
_ROWS = st.fixed_dictionaries(
    {
        "A": _VALUES,
        "T": st.lists(_VALUES, max_size=3),
        "M": st.dictionaries(st.sampled_from(["k", "j"]), _VALUES),
        "L": st.lists(st.fixed_dictionaries({"S": _VALUES}), max_size=3),
    }
)


@st.composite
def _match(draw: st.DrawFn) -> tuple[str, Any]:
    value = draw(_VALUES)
    found: tuple[str, Any] = draw(
        st.sampled_from(
            [
                (f'A == "{value}"', lambda row: row["A"] == value),
                (f'A != "{value}"', lambda row: row["A"] != value),
                (f'"{value}" in A', lambda row: value in row["A"]),
                (f'T not contains "{value}"', lambda row: value not in row["T"]),
                (f'M.k == "{value}"', lambda row: row["M"].get("k") == value),
                (f'M["k"] != "{value}"', lambda row: row["M"].get("k") != value),
                ("M is empty", lambda row: not row["M"]),
                ("k in M", lambda row: "k" in row["M"]),
                (f'L.S == "{value}"', lambda row: any(it["S"] == value for it in row["L"])),
            ]
        )
    )
    return found


def _joined(pair: tuple[tuple[str, Any], tuple[str, Any]]) -> st.SearchStrategy[tuple[str, Any]]:
    (left, means_left), (right, means_right) = pair
    return st.sampled_from(
        [
            (f"({left}) and ({right})", lambda row: means_left(row) and means_right(row)),
            (f"({left}) or ({right})", lambda row: means_left(row) or means_right(row)),
            (f"not ({left})", lambda row: not means_left(row)),
        ]
    )


_TREES = st.recursive(_match(), lambda inner: st.tuples(inner, inner).flatmap(_joined), max_leaves=6)


@given(_TREES, _ROWS)
def test_expressions_mean_what_they_say(tree: tuple[str, Any], row: dict[str, Any]) -> None:
    text, means = tree
    assert filter_of(text, _FIELDS)(row) == means(row)

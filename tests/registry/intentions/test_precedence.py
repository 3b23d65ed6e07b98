"""Consul's precedence: 9 exact to exact, 8 any to exact, 6 exact to any, 5 any to any."""

import itertools

from registry.intentions.precedence import ordered, precedence
from tests.support.catalog import intention


def test_the_numbers_are_those_of_consul() -> None:
    pairs = [("web", "db"), ("*", "db"), ("web", "*"), ("*", "*")]
    assert [precedence(intention(*pair)) for pair in pairs] == [9, 8, 6, 5]


def test_the_order_does_not_depend_on_where_one_starts() -> None:
    rows = [
        intention(*pair) for pair in (("web", "db"), ("api", "db"), ("*", "db"), ("web", "*"), ("*", "*"))
    ]
    expected = ["api-db", "web-db", "*-db", "web-*", "*-*"]
    for mixed in itertools.permutations(rows):
        assert [f"{row.source}-{row.destination}" for row in ordered(mixed)] == expected

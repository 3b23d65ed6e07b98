"""An expression, parsed and bound to the fields of the rows that it will be asked about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from weft.regex import InvalidPattern, compile_pattern

from .errors import InvalidFilter
from .fields import EMPTY, EQUALS, IN, MATCHES, Field, Flag, ListOf, MapOf, Number, Struct, Text
from .parse import Comparison, Junction, Negation, Tree, parse

Row = Mapping[str, Any]
_Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """Asks rows. Equal text and fields give one that answers the same."""

    text: str
    test: _Test

    def __call__(self, row: Row) -> bool:
        return self.test(row)


@lru_cache(1024)
def filter_of(text: str, fields: Struct) -> Filter:
    """The filter of an expression about rows with these fields. Raises InvalidFilter.

    A blank expression holds for every row.
    """
    if not text.strip():
        return Filter(text, lambda row: True)
    return Filter(text, _bound(parse(text), fields))


def _bound(tree: Tree, fields: Struct) -> _Test:
    if isinstance(tree, Negation):
        inner = _bound(tree.inner, fields)
        return lambda row: not inner(row)
    if isinstance(tree, Junction):
        tests = tuple(_bound(part, fields) for part in tree.parts)
        if tree.is_or:
            return lambda row: any(test(row) for test in tests)
        return lambda row: all(test(row) for test in tests)
    return _reach(tree, fields, 0)


def _reach(match: Comparison, field: Field, depth: int) -> _Test:
    """A test of what the rest of the selector leads to, from a value of this field."""
    if isinstance(field, ListOf) and (depth < len(match.selector) or match.operation != EMPTY):
        item = _reach(match, field.item, depth)
        return lambda value: any(item(each) for each in value or ())
    if depth == len(match.selector):
        return _leaf(match, field)
    step = match.selector[depth]
    if isinstance(field, Struct):
        if step not in field.fields:
            raise InvalidFilter(f"Selector {'.'.join(match.selector)[:200]!r} is not valid")
        inner, zero = _reach(match, field.fields[step], depth + 1), field.fields[step].zero
        return lambda value: inner(zero if value is None or (got := value.get(step)) is None else got)
    if isinstance(field, MapOf):
        inner, missing = _reach(match, field.item, depth + 1), _says_of_missing(match)
        return lambda value: inner(value[step]) if value and step in value else missing
    raise InvalidFilter(f"Selector {'.'.join(match.selector)[:200]!r} is not valid")


def _says_of_missing(match: Comparison) -> bool:
    """A key that is not there equals nothing, is in nothing, and is empty."""
    return match.is_negated if match.operation != EMPTY else not match.is_negated


def _leaf(match: Comparison, field: Field) -> _Test:
    if match.operation not in field.operations:
        raise InvalidFilter(
            f"Invalid match operator {match.says!r} for selector {'.'.join(match.selector)!r}"
        )
    test = _positive(match, field)
    return (lambda value: not test(value)) if match.is_negated else test


def _positive(match: Comparison, field: Field) -> _Test:
    if match.operation == EMPTY:
        return lambda value: not value
    if match.operation == MATCHES:
        return _pattern(match.value)
    if match.operation == IN:
        return lambda value: value is not None and match.value in value
    assert match.operation == EQUALS
    wanted = _coerced(match, cast(Text | Number | Flag, field))
    return lambda value: bool(value == wanted)


def _pattern(text: str) -> _Test:
    try:
        return compile_pattern(text).is_in
    except InvalidPattern as error:
        raise InvalidFilter(f"Failed to compile regular expression: {error}") from None


_FLAGS = {"true": True, "false": False, "1": True, "0": False, "t": True, "f": False}


def _coerced(match: Comparison, field: Text | Number | Flag) -> str | int | float | bool:
    text = match.value
    if isinstance(field, Text):
        return text
    if isinstance(field, Flag) and text.lower() in _FLAGS:
        return _FLAGS[text.lower()]
    if isinstance(field, Number) and len(text) < 40:
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    what = "boolean" if isinstance(field, Flag) else "number"
    raise InvalidFilter(f"{'.'.join(match.selector)} is a {what}: {text[:50]!r} is none")

"""The words of a filter expression."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from .errors import InvalidFilter

EXPRESSION_CHARS_MAX = 4096  # a subset's filter takes 100; a query string holds 8 KiB
KEYWORDS = frozenset(("and", "or", "not", "in", "contains", "matches", "is", "empty"))

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator>==|!=)
      | (?P<mark>[()\[\].])
      | (?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)
      | (?P<name>[A-Za-z][A-Za-z0-9_]*)(?![\w/:-])
      | (?P<bare>[\w+-][\w/:+-]*(?:\.[\w/:+-]+)*)
    )""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class Token(NamedTuple):
    """`kind` is "operator", "mark", "string", "name", "bare" or "end". `text` of a string is its value."""

    kind: str
    text: str
    at: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "name" and self.text in words

    def is_mark(self, mark: str) -> bool:
        return self.kind == "mark" and self.text == mark


def tokens(expression: str) -> Iterator[Token]:
    """Ends with one of kind "end". Raises InvalidFilter."""
    if len(expression) > EXPRESSION_CHARS_MAX:
        raise InvalidFilter(f"the filter is longer than {EXPRESSION_CHARS_MAX} characters")
    at, end = 0, len(expression.rstrip())
    while at < end:
        found = _TOKEN.match(expression, at, end)
        if found is None:
            raise refused(expression, at, "no match found")
        kind, text = str(found.lastgroup), found[str(found.lastgroup)]
        start = found.start(kind)
        yield Token(kind, _unquoted(expression, text, start) if kind == "string" else text, start)
        at = found.end()
    yield Token("end", "", end)


def _unquoted(expression: str, text: str, at: int) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        value: str = json.loads(text, strict=False)
    except ValueError:
        raise refused(
            expression, at, "the string has an escape that is not JSON's; use `...` for raw text"
        ) from None
    return value


def refused(expression: str, at: int, why: str) -> InvalidFilter:
    """The error, with the place as Consul's parser names it: line, column, offset."""
    line = expression.count("\n", 0, at) + 1
    column = at - expression.rfind("\n", 0, at)
    return InvalidFilter(f"{line}:{column} ({at}): {why}")

"""From text to a tree: `not` binds tighter than `and`, `and` tighter than `or`.

expression := expression "or" expression | expression "and" expression | "not" expression
            | "(" expression ")" | match
match      := selector ("==" | "!=") value | selector "is" ["not"] "empty"
            | value ["not"] "in" selector | selector ["not"] ("contains" | "matches") value
"""

from dataclasses import dataclass
from typing import NoReturn

from .fields import EMPTY, EQUALS, IN, MATCHES
from .tokens import KEYWORDS, Token, refused, tokens

DEPTH_MAX = 32  # of parentheses and negations; reading recurses
TERMS_MAX = 128  # comparisons of one expression; each is asked for every row


@dataclass(frozen=True, slots=True)
class Comparison:
    """One match. `operation` is of `fields`; `says` is how it was written."""

    selector: tuple[str, ...]
    operation: str
    value: str = ""
    is_negated: bool = False
    says: str = ""


@dataclass(frozen=True, slots=True)
class Negation:
    inner: "Tree"


@dataclass(frozen=True, slots=True)
class Junction:
    """All of the parts, or with `is_or` one of them."""

    parts: tuple["Tree", ...]
    is_or: bool


Tree = Comparison | Negation | Junction


def parse(expression: str) -> Tree:
    """Raises InvalidFilter."""
    parser = _Parser(expression)
    tree = parser.disjunction()
    parser.expect_end()
    return tree


class _Parser:
    def __init__(self, expression: str) -> None:
        self._text = expression
        self._tokens = list(tokens(expression))
        self._at = 0
        self._depth = 0
        self._terms = 0

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._now
        self._at += token.kind != "end"
        return token

    def _take_word(self, *words: str) -> bool:
        found = self._now.is_word(*words)
        self._at += found
        return found

    def _refuse(self, why: str) -> NoReturn:
        found = repr(self._now.text[:50]) if self._now.kind != "end" else "the end"
        raise refused(self._text, self._now.at, f"{why}, not {found}")

    def expect_end(self) -> None:
        if self._now.kind != "end":
            self._refuse('expected "and", "or" or the end')

    def disjunction(self) -> Tree:
        parts = [self._conjunction()]
        while self._take_word("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Junction(tuple(parts), True)

    def _conjunction(self) -> Tree:
        parts = [self._negation()]
        while self._take_word("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Junction(tuple(parts), False)

    def _negation(self) -> Tree:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._refuse(f"expected no more than {DEPTH_MAX} levels")
        try:
            if self._take_word("not"):
                return Negation(self._negation())
            if self._now.is_mark("("):
                return self._grouped()
            return self._match()
        finally:
            self._depth -= 1

    def _grouped(self) -> Tree:
        self._take()
        tree = self.disjunction()
        if not self._now.is_mark(")"):
            self._refuse('expected ")"')
        self._take()
        return tree

    def _match(self) -> Comparison:
        self._terms += 1
        if self._terms > TERMS_MAX:
            self._refuse(f"expected no more than {TERMS_MAX} comparisons")
        if self._is_value_first():
            value = self._value()
            is_negated = self._take_word("not")
            if not self._take_word("in"):
                self._refuse('expected "in"')
            return Comparison(self._selector(), IN, value, is_negated, "not in" if is_negated else "in")
        return self._after(self._selector())

    def _is_value_first(self) -> bool:
        if self._now.kind in ("string", "bare"):
            return True
        following = self._tokens[self._at + 1 : self._at + 3]
        words = [token.text for token in following if token.kind == "name"]
        return words[:1] == ["in"] or words == ["not", "in"]

    def _after(self, selector: tuple[str, ...]) -> Comparison:
        if self._now.kind == "operator":
            says = self._take().text
            return Comparison(selector, EQUALS, self._value(), says == "!=", says)
        if self._take_word("is"):
            is_negated = self._take_word("not")
            if not self._take_word("empty"):
                self._refuse('expected "empty"')
            return Comparison(selector, EMPTY, "", is_negated, "is not empty" if is_negated else "is empty")
        is_negated = self._take_word("not")
        if not self._now.is_word("contains", "matches"):
            self._refuse('expected "==", "!=", "is", "contains", "matches" or "in"')
        word = self._take().text
        says = f"not {word}" if is_negated else word
        return Comparison(selector, IN if word == "contains" else MATCHES, self._value(), is_negated, says)

    def _selector(self) -> tuple[str, ...]:
        steps = [self._name()]
        while True:
            if self._now.is_mark("."):
                self._take()
                steps.append(self._name())
            elif self._now.is_mark("["):
                steps.append(self._key())
            else:
                return tuple(steps)

    def _name(self) -> str:
        if self._now.kind != "name" or self._now.text in KEYWORDS:
            self._refuse("expected a selector")
        return self._take().text

    def _key(self) -> str:
        self._take()
        if self._now.kind != "string":
            self._refuse("expected a string")
        key = self._take().text
        if not self._now.is_mark("]"):
            self._refuse('expected "]"')
        self._take()
        return key

    def _value(self) -> str:
        if self._now.kind in ("string", "bare"):
            return self._take().text
        if self._now.kind != "name" or self._now.text in KEYWORDS:
            self._refuse("expected a value")
        return ".".join(self._selector())  # a bare word may have dots

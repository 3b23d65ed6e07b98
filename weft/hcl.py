"""Sans-IO. Text that people write as HCL or as JSON: ACL rules, config entries, service definitions.

The dialect is HCL 1, which Consul reads: nothing is evaluated (`${...}` is text), commas between
attributes are allowed, and blocks may stand inside of lists. (HCL 2, which the libraries on PyPI parse,
has expressions, and refuses the files that Consul's users have.)

    key "value"...  { body }     a block; `key { body }` and `key = { body }` say the same

Documents become plain values of JSON. A block with labels nests, a block that is repeated is a list:

    service "web" { policy = "write" }      {"service": {"web": {"policy": "write"}}}
    check { id = "a" } check { id = "b" }   {"check": [{"id": "a"}, {"id": "b"}]}
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from .errors import UsageError

TEXT_BYTES_MAX = 512 * 1024  # of one document; the largest sensible ones are a tenth of it
DEPTH_MAX = 32  # nested deeper than this is no configuration, and reading recurses
NUMBER_CHARS_MAX = 64  # no port, weight or count is longer; int() is quadratic

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]


class InvalidText(UsageError):
    """Expected. Neither HCL nor JSON; the message says where."""


def loads(text: str, what: str = "the text", *, bytes_max: int = TEXT_BYTES_MAX) -> dict[str, Value]:
    """The value of a document: JSON if it begins with a brace, else HCL. An empty one is {}.

    Raises InvalidText, which names `what` and, where it can, the line.
    """
    if len(text.encode(errors="replace")) > bytes_max:
        raise InvalidText(f"{what} is over {bytes_max} bytes")
    text = text.removeprefix("\ufeff")
    if not text.lstrip().startswith("{"):
        return _Reader(text, what).document()
    if _depth(text) > DEPTH_MAX:
        raise InvalidText(f"{what} nests deeper than {DEPTH_MAX}")
    try:
        value: Value = json.loads(text, parse_constant=_no_constant, parse_int=_integer)
    except ValueError as error:
        raise InvalidText(f"{what} is not valid JSON: {error}") from None
    assert isinstance(value, dict)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _integer(digits: str) -> int:
    if len(digits) > NUMBER_CHARS_MAX:
        raise ValueError("a number is too long")
    return int(digits)


def _depth(text: str) -> int:
    """An upper bound of the nesting, brackets in strings included."""
    depth = deepest = 0
    for found in re.finditer(r"[\[{\]}]", text):
        depth += 1 if found[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


class _Token(NamedTuple):
    kind: str  # "word", "string", "heredoc", "number", a punctuation mark, or "end"
    text: str
    at: int


_TOKEN = re.compile(
    r"""(?P<blank>[\ \t\r\n]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
      | (?P<string>"(?:[^"\\\n$]|\\.|\$(?!\{)|\$\{[^}\n]*\})*")
      | (?P<heredoc><<(?P<indented>-?)(?P<mark>\w+)\r?\n(?P<body>.*?)^[\ \t]*(?P=mark)[\ \t]*$)
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)(?![\w.]))
      | (?P<word>[A-Za-z_][\w.\-]*)
      | (?P<mark_>[={}\[\],:])""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", '"': '"', "\\": "\\"}


class _Reader:
    """Recursive descent over the tokens of one document."""

    def __init__(self, text: str, what: str) -> None:
        self._text = text
        self._what = what
        self._tokens = self._scan()
        self._depth = 0
        # Objects that labels or repetition made, by id: the document holds them all until the end.
        self._labelled: set[int] = set()
        self._queues: set[int] = set()
        self._now = next(self._tokens)

    def document(self) -> dict[str, Value]:
        """The whole text."""
        return self._body("end")

    # Tokens

    def _scan(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            found = _TOKEN.match(self._text, at)
            if found is None:
                self._refuse(at, f"{self._text[at : at + 20].splitlines()[0]!r} is not expected here")
            kind = found.lastgroup or ""
            if found["heredoc"] is not None:
                yield _Token("heredoc", _heredoc(found["body"], bool(found["indented"])), at)
            elif found["mark_"] is not None:
                yield _Token(found[0], found[0], at)
            elif found["blank"] is None:
                yield _Token(kind, found[0], at)
            at = found.end()
        yield _Token("end", "", at)

    def _refuse(self, at: int, why: str) -> NoReturn:
        line = self._text.count("\n", 0, at) + 1
        column = at - (self._text.rfind("\n", 0, at) + 1) + 1
        raise InvalidText(f"{self._what} is not valid HCL: line {line}, column {column}: {why}")

    def _take(self) -> _Token:
        taken = self._now
        if taken.kind != "end":
            self._now = next(self._tokens)
        return taken

    def _expect(self, *kinds: str) -> _Token:
        if self._now.kind not in kinds:
            found = "the end" if self._now.kind == "end" else repr(self._now.text[:20])
            self._refuse(self._now.at, f"expected {' or '.join(kinds)}, found {found}")
        return self._take()

    # Values

    def _body(self, end: str) -> dict[str, Value]:
        """Attributes and blocks up to the token `end`."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._refuse(self._now.at, f"nests deeper than {DEPTH_MAX}")
        found: dict[str, Value] = {}
        while self._now.kind != end:
            self._item(found)
            if self._now.kind == ",":
                self._take()
        self._take()
        self._depth -= 1
        return found

    def _item(self, found: dict[str, Value]) -> None:
        first = self._expect("word", "string")
        path = [self._key(first)]
        while self._now.kind in ("string", "word"):
            path.append(self._key(self._take()))
        if self._now.kind == "{":
            self._take()
            value: Value = self._body("}")
        else:
            self._expect("=", ":")
            value = self._value()
        self._place(found, path, value, first.at)

    def _key(self, token: _Token) -> str:
        return self._unquote(token) if token.kind == "string" else token.text

    def _place(self, found: dict[str, Value], path: list[str], value: Value, at: int) -> None:
        """Puts a value where its key and labels say. Labels of one key join, blocks queue up."""
        for label in path[:-1]:
            inner = found.setdefault(label, {})
            if not isinstance(inner, dict) or (inner and id(inner) not in self._labelled):
                self._refuse(at, f"{label[:40]!r} is given twice, with and without a label")
            self._labelled.add(id(inner))
            found = inner
        key = path[-1]
        old = found.get(key)
        if key not in found:
            found[key] = value
        elif isinstance(old, list) and id(old) in self._queues and isinstance(value, dict):
            old.append(value)
        elif isinstance(old, dict) and isinstance(value, dict) and id(old) not in self._labelled:
            queue: list[Value] = [old, value]
            found[key] = queue
            self._queues.add(id(queue))
        else:
            self._refuse(at, f"{key[:40]!r} is given twice")

    def _value(self) -> Value:
        token = self._expect("string", "heredoc", "number", "word", "{", "[")
        match token.kind:
            case "string":
                return self._unquote(token)
            case "heredoc":
                return token.text
            case "number":
                return self._number(token)
            case "{":
                return self._body("}")
            case "[":
                return self._list()
        if token.text not in _WORDS:
            self._refuse(token.at, f"{token.text[:40]!r} is no value; write a string in double quotes")
        return _WORDS[token.text]

    def _list(self) -> Value:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._refuse(self._now.at, f"nests deeper than {DEPTH_MAX}")
        found: list[Value] = []
        while self._now.kind != "]":
            found.append(self._value())
            if self._now.kind != "]":
                self._expect(",")
        self._take()
        self._depth -= 1
        return found

    def _number(self, token: _Token) -> int | float:
        digits = token.text
        if len(digits) > NUMBER_CHARS_MAX:
            self._refuse(token.at, "the number is too long")
        if "x" in digits.lower():
            return int(digits, 16)
        value = float(digits) if set(digits) & set(".eE") else int(digits)
        if value in (float("inf"), float("-inf")):
            self._refuse(token.at, "the number is too large")
        return value

    def _unquote(self, token: _Token) -> str:
        def plain(found: re.Match[str]) -> str:
            code = found[1]
            if code in _ESCAPES:
                return _ESCAPES[code]
            if len(code) == 1:
                self._refuse(token.at, f"\\{code} is no escape")
            point = int(code, 8) if code.isdigit() else int(code[1:], 16)
            if point > 0x10FFFF or 0xD800 <= point < 0xE000:
                self._refuse(token.at, f"\\{code} is no character")
            return chr(point)

        return _ESCAPE.sub(plain, token.text[1:-1])


def _heredoc(body: str, indented: bool) -> str:
    """Its lines; with `<<-` without the indentation that all of them have."""
    if not indented:
        return body
    lines = body.splitlines(keepends=True)
    margin = min((len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()), default=0)
    return "".join(line[margin:] if line.strip() else line.lstrip(" \t") for line in lines)

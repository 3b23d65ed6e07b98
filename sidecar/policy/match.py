"""Sans-IO. What a request must be like: rules checked when they come, compiled, asked once per head.

A compiled rule reads the head's method and path and the header fields that `reads` names, and nothing
else: whoever remembers its answer must have these in the key (`Decoder.promote` keeps them in the head).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import parse_qsl, quote

from weft.pb.mesh.v1 import mesh_pb2
from weft.regex import InvalidPattern, compile_pattern

from ..errors import InvalidResource
from ..h2.block import Head
from ..traffic import HeaderMatch, HttpMatch, QueryMatch, TextKind
from .fields import check_count

TERMS_MAX = 64  # header or query conditions, methods, sources of one rule
TEXT_BYTES_MAX = 4096
NAME_BYTES_MAX = 256
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

_ASCII = "".join(map(chr, range(0x80)))

Test = Callable[[str], bool]
# What the switch itself depends on, or that speaks of one connection: no rule may change these.
FIXED_NAMES = frozenset(
    ("connection", "content-length", "grpc-status", "grpc-timeout", "host", "keep-alive", "proxy-connection",
     "te", "transfer-encoding", "upgrade", "x-forwarded-client-cert")
)  # fmt: skip


# --- from the wire -----------------------------------------------------------------------------------


def http_match(where: str, said: mesh_pb2.HttpMatch) -> HttpMatch:
    """Raises InvalidResource."""
    kind = said.WhichOneof("path")
    path = _text(where, "path", str(getattr(said, kind))) if kind else ""
    path_kind = TextKind(kind.removeprefix("path_")) if kind else None
    if path_kind is TextKind.REGEX:
        _check_pattern(where, path)
    else:  # as it stands in a request: RFC 3986 section 2.1, what is not ASCII is escaped
        path = quote(path, safe=_ASCII)
    for what in ("headers", "query", "methods", "sources"):
        check_count(where, what, len(getattr(said, what)), TERMS_MAX)
    if any(not _METHOD(method) for method in said.methods):
        raise InvalidResource(where, "has a method that is no token")
    is_grpc = bool(said.grpc_service or said.grpc_method)
    return HttpMatch(
        path_kind=path_kind,
        path=path,
        case_insensitive=said.case_insensitive,
        headers=tuple(_header(where, it) for it in said.headers),
        query=tuple(_query(where, it) for it in said.query),
        methods=tuple(said.methods),
        grpc_service=_text(where, "grpc_service", said.grpc_service) if is_grpc else None,
        grpc_method=_text(where, "grpc_method", said.grpc_method) if is_grpc else None,
        sources=tuple(said.sources),
    )


def _header(where: str, said: mesh_pb2.HeaderMatch) -> HeaderMatch:
    name = said.name
    if not _NAME(name) or len(name) > NAME_BYTES_MAX:
        raise InvalidResource(where, f"{name[:80]!r} is not the lower-case name of a header")
    kind, text = _term(where, f"header {name!r}", said)
    return HeaderMatch(name, kind, text, said.invert, said.ignore_case)


def _query(where: str, said: mesh_pb2.QueryMatch) -> QueryMatch:
    if not said.name or len(said.name.encode()) > NAME_BYTES_MAX:
        raise InvalidResource(where, f"a query parameter has a name of 0 or over {NAME_BYTES_MAX} bytes")
    return QueryMatch(said.name, *_term(where, f"query parameter {said.name[:80]!r}", said))


def _term(where: str, what: str, said: mesh_pb2.HeaderMatch | mesh_pb2.QueryMatch) -> tuple[TextKind, str]:
    kind = said.WhichOneof("kind")
    if kind is None:
        raise InvalidResource(where, f"{what} does not say what it must be like")
    if kind == "present":
        if not said.present:
            raise InvalidResource(where, f"{what} says present: false; use invert")
        return TextKind.PRESENT, ""
    text = _text(where, what, str(getattr(said, kind)))
    if kind == "regex":
        _check_pattern(where, text)
    return TextKind(kind), text


def _text(where: str, what: str, text: str) -> str:
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise InvalidResource(where, f"{what} is over {TEXT_BYTES_MAX} bytes")
    return text


def _check_pattern(where: str, text: str) -> None:
    try:
        compile_pattern(text)
    except InvalidPattern as error:
        raise InvalidResource(where, str(error)) from error


def header_name(where: str, name: str) -> str:
    """A header that a rule may read for a hash, set or remove. Raises InvalidResource."""
    if not _NAME(name) or len(name) > NAME_BYTES_MAX:
        raise InvalidResource(where, f"{name[:80]!r} is not the lower-case name of a header")
    if name in FIXED_NAMES:
        raise InvalidResource(where, f"the header {name!r} is not for rules to change")
    return name


def is_text(text: str) -> bool:
    """Whether it may stand in a header or a path as it is (RFC 9110 section 5.5, ASCII only)."""
    return all(0x20 <= ord(char) < 0x7F for char in text)


# --- compiled ----------------------------------------------------------------------------------------


class Term(NamedTuple):
    """One thing that a rule asks for. `told` says it to people, as "path begins with /v2"."""

    told: str
    holds: Callable[[Head, str], bool]  # of the head, and the calling service


class Matcher:
    """One rule. `reads` are the header names that the answer depends on; `asks` says what all must hold."""

    __slots__ = ("_terms", "asks", "reads")

    def __init__(self, match: HttpMatch | None) -> None:
        match = match or HttpMatch()
        self._terms = tuple(_terms(match))
        self.asks = tuple(term.told for term in self._terms)
        self.reads = frozenset(it.name.encode() for it in match.headers)

    def matches(self, head: Head, source: str = "") -> bool:
        """`source` is the calling service, where that is proven."""
        return all(term.holds(head, source) for term in self._terms)

    def lacks(self, head: Head, source: str = "") -> str:
        """The first thing that it asks for and the request does not have; "" where it matches."""
        return next((term.told for term in self._terms if not term.holds(head, source)), "")


def _terms(match: HttpMatch) -> Iterator[Term]:
    if match.sources:
        sources = frozenset(match.sources)
        yield Term(f"caller is {_any_of(match.sources)}", lambda head, source: source in sources)
    if match.methods:
        methods = frozenset(method.upper().encode() for method in match.methods)
        yield Term(f"method is {_any_of(sorted(match.methods))}", lambda head, _: head.method in methods)
    if (path := _path_test(match)) is not None:
        told, test = path
        yield Term(told, lambda head, _: test(head.path.partition(b"?")[0].decode("latin-1")))
    for header in match.headers:
        yield _header_term(header)
    for query in match.query:
        yield _query_term(query)


def _header_term(it: HeaderMatch) -> Term:
    name, test, invert = it.name.encode(), _test(it.kind, it.text, it.ignore_case), it.invert

    def holds(head: Head, _: str) -> bool:
        value = head.value(name) if name != b"host" else head.authority
        return (value is not None and test(value.decode("latin-1"))) is not invert

    told = f"header {it.name} {_told(it.kind, it.text, it.ignore_case)}"
    return Term(f"not ({told})" if invert else told, holds)


def _query_term(it: QueryMatch) -> Term:
    name, test = it.name, _test(it.kind, it.text, ignore_case=False)

    def holds(head: Head, _: str) -> bool:
        query = head.path.partition(b"?")[2].decode("latin-1")
        return any(key == name and test(value) for key, value in parse_qsl(query, keep_blank_values=True))

    return Term(f"query parameter {name} {_told(it.kind, it.text)}", holds)


_VERBS = {
    TextKind.PRESENT: "is there",
    TextKind.EXACT: "is",
    TextKind.PREFIX: "begins with",
    TextKind.SUFFIX: "ends with",
    TextKind.CONTAINS: "contains",
    TextKind.REGEX: "matches",
}


def _told(kind: TextKind, text: str, ignore_case: bool = False) -> str:
    return f"{_VERBS[kind]} {text}".rstrip() + (" (in any case)" if ignore_case else "")


def _any_of(names: Iterable[str]) -> str:
    return " or ".join(names)


def reads_of(matchers: Iterable[Matcher]) -> frozenset[bytes]:
    """The header names that any of them reads."""
    return frozenset().union(*(matcher.reads for matcher in matchers))


def _path_test(match: HttpMatch) -> tuple[str, Test] | None:
    """What it says, and the test."""
    if match.grpc_service is not None or match.grpc_method is not None:
        service, method = match.grpc_service or "", match.grpc_method or ""
        return f"gRPC call is {service or '*'}/{method or '*'}", _grpc_test(service, method)
    if match.path_kind is None:
        return None
    test = _test(match.path_kind, match.path, match.case_insensitive)
    return f"path {_told(match.path_kind, match.path, match.case_insensitive)}", test


def _grpc_test(service: str, method: str) -> Test:
    def test(path: str) -> bool:
        first, slash, rest = path[1:].rpartition("/")
        return bool(slash) and (not service or first == service) and (not method or rest == method)

    return test


def _test(kind: TextKind, text: str, ignore_case: bool) -> Test:
    if kind is TextKind.REGEX:
        pattern = compile_pattern(f"(?i){text}" if ignore_case else text)
        return pattern.is_all
    if ignore_case:
        plain = _test(kind, text.lower(), ignore_case=False)
        return lambda value: plain(value.lower())
    tests: dict[TextKind, Test] = {
        TextKind.PRESENT: lambda value: True,
        TextKind.EXACT: lambda value: value == text,
        TextKind.PREFIX: lambda value: value.startswith(text),
        TextKind.SUFFIX: lambda value: value.endswith(text),
        TextKind.CONTAINS: lambda value: text in value,
    }
    return tests[kind]

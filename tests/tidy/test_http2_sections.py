"""Every section of HTTP/2 and HPACK that binds us has tests, and `-s` lists which.

A test cites its section in its docstring ("RFC 9113 section 6.5.2"; without the number of an RFC, 9113 is
meant), or in the keys of a table ("6.5.2 ENABLE_PUSH 2"; RFC 7541 in files named after it). A section that is
missing here binds nobody: introductions, terms, considerations for others, registrations.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import PROJECT

ROOMS = (PROJECT / "tests" / "sidecar" / "h2", PROJECT / "tests" / "sidecar" / "proxy")

RFC9113 = {
    "3.1": "version identification",
    "3.2": "starting for https URIs",
    "3.3": "starting with prior knowledge",
    "3.4": "connection preface",
    "4.1": "frame format",
    "4.2": "frame size",
    "4.3": "field section compression",
    "5.1": "stream states",
    "5.1.1": "stream identifiers",
    "5.1.2": "stream concurrency",
    "5.2": "flow control",
    "5.2.1": "flow-control principles",
    "5.2.2": "appropriate use of flow control",
    "5.3.1": "background on priority",
    "5.3.2": "priority signaling",
    "5.4.1": "connection error handling",
    "5.4.2": "stream error handling",
    "5.4.3": "connection termination",
    "5.5": "extending HTTP/2",
    "6.1": "DATA",
    "6.2": "HEADERS",
    "6.3": "PRIORITY",
    "6.4": "RST_STREAM",
    "6.5": "SETTINGS",
    "6.5.2": "defined settings",
    "6.5.3": "settings synchronization",
    "6.6": "PUSH_PROMISE",
    "6.7": "PING",
    "6.8": "GOAWAY",
    "6.9": "WINDOW_UPDATE",
    "6.9.1": "the flow-control window",
    "6.9.2": "initial flow-control window size",
    "6.9.3": "reducing the stream window size",
    "6.10": "CONTINUATION",
    "7": "error codes",
    "8.1": "HTTP message framing",
    "8.1.1": "malformed messages",
    "8.2": "HTTP fields",
    "8.2.1": "field validity",
    "8.2.2": "connection-specific header fields",
    "8.2.3": "compressing the cookie header field",
    "8.3": "HTTP control data",
    "8.3.1": "request pseudo-header fields",
    "8.3.2": "response pseudo-header fields",
    "8.4": "server push",
    "8.5": "the CONNECT method",
    "8.6": "the upgrade header field",
    "8.7": "request reliability",
    "8.8": "examples",
    "9.1": "connection management",
    "9.2.3": "TLS 1.3 features",
    "10.3": "intermediary encapsulation attacks",
    "10.5": "denial-of-service considerations",
    "10.5.1": "limits on field block size",
}
RFC7541 = {
    "2.2": "encoding and decoding contexts",
    "2.3.1": "static table",
    "2.3.2": "dynamic table",
    "2.3.3": "index address space",
    "3.2": "header field representation processing",
    "4.1": "calculating table size",
    "4.2": "maximum table size",
    "4.3": "entry eviction when the size changes",
    "4.4": "entry eviction when adding",
    "5.1": "integer representation",
    "5.2": "string literal representation",
    "6.1": "indexed header field",
    "6.2.1": "literal with incremental indexing",
    "6.2.2": "literal without indexing",
    "6.2.3": "literal never indexed",
    "6.3": "dynamic table size update",
    "7.1.3": "never-indexed literals",
    "7.3": "memory consumption",
}
SECTIONS = [("9113", section) for section in RFC9113] + [("7541", section) for section in RFC7541]

_NUMBER = r"\d+(?:\.\d+)*"
_CITED = re.compile(rf"(?:RFC (\d+),? )?[Ss]ections? ({_NUMBER}(?:(?:, | and |, and ){_NUMBER})*)")
_KEY = re.compile(rf"({_NUMBER}) \S")


def citations(path: Path) -> Iterator[tuple[str, str, str]]:
    """(RFC, section, where) of one file."""
    default = "7541" if "7541" in path.name else "9113"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for rfc, sections in _CITED.findall(ast.get_docstring(node) or ""):
                for section in re.findall(_NUMBER, sections):
                    yield rfc or default, section, f"{path.stem}.{node.name}"
        elif isinstance(node, ast.Dict):
            for key in node.keys:
                text = key.value if isinstance(key, ast.Constant) else None
                if isinstance(text, str) and (found := _KEY.match(text)):
                    yield default, found[1], f"{path.stem}: {text}"


def cited() -> dict[tuple[str, str], list[str]]:
    tests: dict[tuple[str, str], list[str]] = defaultdict(list)
    for room in ROOMS:
        for path in sorted(room.rglob("test_*.py")):
            for rfc, section, where in citations(path):
                tests[rfc, section].append(where)
    return tests


@pytest.mark.parametrize("rfc, section", SECTIONS, ids=[f"RFC {rfc}, {section}" for rfc, section in SECTIONS])
def test_each_section_has_a_test(rfc: str, section: str) -> None:
    tests = cited()[rfc, section]
    title = (RFC9113 if rfc == "9113" else RFC7541)[section]
    print(f"RFC {rfc} section {section}, {title}:", *tests, sep="\n    ")
    assert tests, f"no test cites RFC {rfc} section {section} ({title})"


def test_only_sections_that_exist_are_cited() -> None:
    unknown = {
        key: where
        for key, where in cited().items()
        if key[0] in ("9113", "7541") and key not in SECTIONS and not key[1].startswith(("10.", "9."))
    }
    assert not unknown, "list them in this file, or mend the citation"

"""weft.hcl: the dialect that Consul's users write, and nothing that would have to be evaluated."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.hcl import DEPTH_MAX, InvalidText, Value, loads


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# nothing\n// at all\n/* here\n*/", {}),
        ('operator = "read"', {"operator": "read"}),
        ('key_prefix "" { policy = "write" } // all', {"key_prefix": {"": {"policy": "write"}}}),
        (
            'service "web" { policy = "write" intentions = "read" }',
            {"service": {"web": {"policy": "write", "intentions": "read"}}},
        ),
        (
            'service "web" { policy = "write", intentions = "read", }',
            {"service": {"web": {"policy": "write", "intentions": "read"}}},
        ),
        (
            'key "a" { policy = "read" }\nkey "b" { policy = "deny" }',
            {"key": {"a": {"policy": "read"}, "b": {"policy": "deny"}}},
        ),
        (
            'key "a" { policy = "read" }\nkey "a" { policy = "deny" }',
            {"key": {"a": [{"policy": "read"}, {"policy": "deny"}]}},
        ),
        ('check { id = "a" } check { id = "b" }', {"check": [{"id": "a"}, {"id": "b"}]}),
        (
            'Routes = [ { Match { HTTP { PathPrefix = "/x" } } Destination { Service = "y" } }, ]',
            {"Routes": [{"Match": {"HTTP": {"PathPrefix": "/x"}}, "Destination": {"Service": "y"}}]},
        ),
        ('BindName = "dev-${value.name}"', {"BindName": "dev-${value.name}"}),
        ("a = -5\nb = 0x1F\nc = 33.33\nd = 1e3", {"a": -5, "b": 31, "c": 33.33, "d": 1000.0}),
        ("a = true\nb = false\nc = null", {"a": True, "b": False, "c": None}),
        (r'a = "q\"b\\n\n\u00e9\x41\101"', {"a": 'q"b\\n\né' + "AA"}),
        ('a = <<EOF\n one\n"two"\nEOF\nb = 1', {"a": ' one\n"two"\n', "b": 1}),
        ("a = <<-EOF\n    one\n      two\n  EOF\n", {"a": "one\n  two\n"}),
        ('Meta { "a b" = "c" d-e = "f" }', {"Meta": {"a b": "c", "d-e": "f"}}),
        ('{"key_prefix": {"": {"policy": "read"}}}', {"key_prefix": {"": {"policy": "read"}}}),
    ],
)
def test_documents_become_plain_values(text: str, value: Value) -> None:
    assert loads(text) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = foo.bar", "line 1, column 5: 'foo.bar' is no value"),
        ("\n  a = f(1)", "line 2, column 8"),
        ('a "x" {', "found the end"),
        ("a =", "found the end"),
        ("a = 1\na = 2", "line 2, column 1: 'a' is given twice"),
        ('a { b = 1 }\na "x" {}', "line 2, column 1: 'a' is given twice"),
        ('a "x" {}\na { b = 1 }', "line 2, column 1: 'a' is given twice"),
        ("a = [{}]\na {}", "given twice"),
        ('a = "one\ntwo"', "line 1, column 5"),
        (r'a = "\q"', r"\q is no escape"),
        (r'a = "\ud800"', "is no character"),
        ("a = " + "9" * 100, "too long"),
        ("a = 1e999", "too large"),
        ("a = " + "[" * (DEPTH_MAX + 1), "nests deeper"),
        ("a { " * (DEPTH_MAX + 1), "nests deeper"),
        ("{" * (DEPTH_MAX + 1), "nests deeper"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": 1', "not valid JSON"),
        ('{"a": ' + "9" * 100 + "}", "not valid JSON"),
        ("/* open", "not expected here"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidText, match=r"^rules ") as refused:
        loads(text, "rules")
    assert says in str(refused.value)


def test_a_document_is_bounded() -> None:
    with pytest.raises(InvalidText, match="over 10 bytes"):
        loads("a = 123456789", bytes_max=10)


_keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-]{0,8}", fullmatch=True)
_values = st.recursive(
    st.booleans()
    | st.none()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "${" not in text),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=20,
)


def _written(value: Value) -> str:
    if isinstance(value, dict):
        return "{" + "\n".join(f"{key} = {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@given(st.dictionaries(_keys, _values, max_size=5))
def test_hcl_says_what_the_same_json_says(document: dict[str, Value]) -> None:
    text = "\n".join(f"{key} = {_written(value)}" for key, value in document.items())
    assert loads(text) == document
    assert loads(json.dumps(document)) == document


@given(st.text(st.sampled_from('ab "\\${}[]=,:#/*<-\nE01.'), max_size=60) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidText):
        loads(text)

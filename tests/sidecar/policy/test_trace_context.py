"""W3C Trace Context and B3, read and written as their texts say."""

import random

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from sidecar.h2.block import Literal
from sidecar.h2.primitives import encode_integer, encode_raw
from sidecar.policy.trace_context import (
    NAME_ON_WIRE,
    NAMES,
    Context,
    Form,
    may_hold_another,
    read,
    rewritten,
    without,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OURS = "b7ad6b7169203331"


def literals(**fields: str) -> list[Literal]:
    return [
        Literal(name.replace("_", "-").encode(), encode_raw(value.encode()), False)
        for name, value in fields.items()
    ]


def pairs(found: list[Literal]) -> list[tuple[str, str]]:
    return [(literal.name.decode(), literal.value().decode()) for literal in found]


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-02", False),  # level 2: random trace id, not sampled
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),  # section 4.3: higher versions
    ],
)
def test_a_traceparent_is_read(value: str, sampled: bool) -> None:
    assert read(literals(traceparent=value)) == Context(Form.W3C, TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",  # version 00 has four parts
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[:-1]}-{SPAN}-001",
    ],
)
def test_a_traceparent_that_cannot_be_read_is_none(value: str) -> None:
    assert read(literals(traceparent=value)) is None


def test_two_traceparents_are_none() -> None:
    value = f"00-{TRACE}-{SPAN}-01"
    assert read(literals(traceparent=value) * 2) is None


def test_w3c_comes_before_b3() -> None:
    found = read(literals(b3="0", traceparent=f"00-{TRACE}-{SPAN}-01"))
    assert found is not None and found.form is Form.W3C


@pytest.mark.parametrize(
    ("value", "context"),
    [
        (f"{TRACE}-{SPAN}-1", Context(Form.B3, TRACE, SPAN, True)),
        (f"{TRACE}-{SPAN}-d", Context(Form.B3, TRACE, SPAN, True)),
        (f"{TRACE}-{SPAN}-0-{OURS}", Context(Form.B3, TRACE, SPAN, False)),
        (f"{TRACE}-{SPAN}", Context(Form.B3, TRACE, SPAN, None)),
        (f"{TRACE[16:]}-{SPAN}-1", Context(Form.B3, TRACE[16:].rjust(32, "0"), SPAN, True)),
        ("0", Context(Form.B3, "", "", False)),
        ("d", Context(Form.B3, "", "", True)),
        (f"{TRACE}-{SPAN}-x", None),
        (f"{'0' * 32}-{SPAN}-1", None),
        ("", None),
    ],
)
def test_b3_in_one_field(value: str, context: Context | None) -> None:
    assert read(literals(b3=value)) == context


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({"x_b3_traceid": TRACE, "x_b3_spanid": SPAN, "x_b3_sampled": "1"}, (TRACE, SPAN, True)),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": SPAN, "x_b3_sampled": "0"}, (TRACE, SPAN, False)),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": SPAN, "x_b3_flags": "1"}, (TRACE, SPAN, True)),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": SPAN}, (TRACE, SPAN, None)),
        ({"x_b3_sampled": "0"}, ("", "", False)),
        ({"x_b3_traceid": TRACE}, None),
        ({"x_b3_traceid": "short", "x_b3_spanid": SPAN}, None),
    ],
)
def test_b3_in_many_fields(fields: dict[str, str], context: tuple[str, str, bool | None] | None) -> None:
    assert read(literals(**fields)) == (Context(Form.B3_MULTI, *context) if context else None)


def test_our_span_becomes_the_parent_and_the_rest_stays() -> None:
    came = literals(tracestate="a=1", traceparent=f"cc-{TRACE}-{SPAN}-01-x", baggage="k=v", grpc_timeout="1S")
    context = read(came)
    assert context
    assert pairs(rewritten(came, context, TRACE, OURS)) == [
        ("tracestate", "a=1"),
        ("traceparent", f"00-{TRACE}-{OURS}-01"),
        ("baggage", "k=v"),
        ("grpc-timeout", "1S"),
    ]


def test_b3_goes_on_as_b3() -> None:
    one = literals(b3=f"{TRACE}-{SPAN}-1")
    context = read(one)
    assert context and pairs(rewritten(one, context, TRACE, OURS)) == [("b3", f"{TRACE}-{OURS}-1-{SPAN}")]
    many = literals(x_b3_traceid=TRACE, x_b3_spanid=SPAN, x_b3_parentspanid="1" * 16, x_b3_flags="1")
    context = read(many)
    assert context and pairs(rewritten(many, context, TRACE, OURS)) == [
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", OURS),
        ("x-b3-parentspanid", SPAN),
        ("x-b3-flags", "1"),
        ("x-b3-sampled", "1"),
    ]


def test_what_is_no_context_survives_a_new_start() -> None:
    came = literals(tracestate="a=1", traceparent="junk", baggage="k=v")
    assert pairs(without(came)) == [("baggage", "k=v")]


coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


def on_wire(name: bytes, value: bytes, huffman: bool) -> bytes:
    if not huffman:
        return b"\0" + encode_raw(name) + encode_raw(value)
    text = coded(name), coded(value)
    return b"\0" + b"".join(encode_integer(len(octets), 7, 0x80) + octets for octets in text)


VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40).map(str.encode)


@given(
    name=st.sampled_from(sorted(NAMES - {b"tracestate", b"x-b3-spanid", b"x-b3-parentspanid"})),
    value=VALUES,
    huffman=st.booleans(),
    around=st.lists(st.tuples(st.sampled_from((b"grpc-timeout", b"x-request-id")), VALUES, st.booleans())),
    at=st.randoms(),
)
def test_no_context_is_overlooked(
    name: bytes,
    value: bytes,
    huffman: bool,
    around: list[tuple[bytes, bytes, bool]],
    at: random.Random,
) -> None:
    """The hints that spare a walk never say no where there is one."""
    fields = [on_wire(*field) for field in around]
    fields.insert(at.randint(0, len(fields)), on_wire(name, value, huffman))
    wire = b"".join(fields)
    assert NAME_ON_WIRE in wire or may_hold_another(wire)


def test_usual_fields_are_not_walked() -> None:
    wire = on_wire(b"grpc-timeout", b"100m", False) + on_wire(b"x-request-id", b"b3a1-77", False)
    assert NAME_ON_WIRE not in wire and not may_hold_another(wire)

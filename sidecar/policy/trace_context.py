"""Where a request stands in a trace: W3C Trace Context (traceparent) and Zipkin's B3, read and written.

A request that comes with a context keeps its form: what came as B3 goes on as B3. The vendor's part
(`tracestate`) and `baggage` are passed on as they are; only a context that cannot be read takes its
`tracestate` with it (W3C Trace Context section 4.3).
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from ..h2.block import Field, Literal
from ..h2.names import TRACE_CONTEXT
from ..h2.primitives import encode_raw

TRACEPARENT, TRACESTATE, B3 = b"traceparent", b"tracestate", b"b3"
B3_TRACE, B3_SPAN, B3_PARENT = b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid"
B3_SAMPLED, B3_FLAGS = b"x-b3-sampled", b"x-b3-flags"
NAMES = TRACE_CONTEXT
"""All fields that say where a request stands."""

_W3C = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.S)
_B3 = re.compile(rb"([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?")
_B3_TRACE = re.compile(rb"[0-9a-f]{16}|[0-9a-f]{32}")
_B3_SPAN = re.compile(rb"[0-9a-f]{16}")
_SAMPLED = {b"1": True, b"d": True, b"0": False, b"true": True, b"false": False}
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


class Form(Enum):
    """How a context is written."""

    W3C = "traceparent"
    B3 = "b3"
    B3_MULTI = "x-b3-*"


class Context(NamedTuple):
    """A trace to join. Ids are lower-case hex of 32 and 16 digits; "" where only a decision came.

    `sampled` is None where the caller left the decision to whoever comes next (B3).
    """

    form: Form
    trace_id: str
    span_id: str
    sampled: bool | None


def read(literals: Iterable[Literal]) -> Context | None:
    """The context that the fields give; None if there is none, or none that can be read."""
    found: dict[bytes, bytes] = {}
    for literal in literals:
        if literal.name in NAMES and literal.name != TRACESTATE:
            if literal.name in found:
                return None  # two contexts are none (W3C Trace Context section 3.2.2.5)
            found[literal.name] = literal.value()
    if TRACEPARENT in found:
        return _w3c(found[TRACEPARENT])
    if B3 in found:
        return _b3(found[B3])
    return _b3_multi(found) if found else None


def _w3c(value: bytes) -> Context | None:
    parts = _W3C.fullmatch(value)
    if not parts or parts[1] == b"ff" or parts[2] == _NO_TRACE or parts[3] == _NO_SPAN:
        return None
    if parts[1] == b"00" and parts[5]:
        return None  # version 00 has four parts; later ones may have more
    return Context(Form.W3C, parts[2].decode(), parts[3].decode(), bool(int(parts[4], 16) & 1))


def _b3(value: bytes) -> Context | None:
    if value in _SAMPLED:
        return Context(Form.B3, "", "", _SAMPLED[value])
    parts = _B3.fullmatch(value)
    return _of_b3(Form.B3, parts[1], parts[2], _SAMPLED.get(parts[3] or b"")) if parts else None


def _b3_multi(found: dict[bytes, bytes]) -> Context | None:
    sampled = True if found.get(B3_FLAGS) == b"1" else _SAMPLED.get(found.get(B3_SAMPLED, b""))
    trace_id, span_id = found.get(B3_TRACE, b""), found.get(B3_SPAN, b"")
    if not trace_id and not span_id:
        return None if sampled is None else Context(Form.B3_MULTI, "", "", sampled)
    if not _B3_TRACE.fullmatch(trace_id) or not _B3_SPAN.fullmatch(span_id):
        return None
    return _of_b3(Form.B3_MULTI, trace_id, span_id, sampled)


def _of_b3(form: Form, trace_id: bytes, span_id: bytes, sampled: bool | None) -> Context | None:
    whole = trace_id.rjust(32, b"0")  # the short form means leading zeroes
    if whole == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Context(form, whole.decode(), span_id.decode(), sampled)


def without(literals: Iterable[Literal]) -> list[Literal]:
    """The fields that say nothing about a trace."""
    return [literal for literal in literals if literal.name not in NAMES]


def rewritten(literals: Sequence[Literal], came: Context, trace_id: str, span_id: str) -> list[Literal]:
    """The fields for the next hop of a sampled request: our span is its parent now. The order stays, and
    so does a `tracestate`."""
    made = dict(_written(came, trace_id, span_id))
    kept = [_replaced(literal, made.pop(literal.name, None)) for literal in literals if _stays(literal, made)]
    return kept + [Literal(name, encode_raw(value), False) for name, value in made.items()]


def _stays(literal: Literal, made: dict[bytes, bytes]) -> bool:
    return literal.name in made or literal.name not in NAMES or literal.name in (TRACESTATE, B3_FLAGS)


def _replaced(literal: Literal, value: bytes | None) -> Literal:
    return literal if value is None else literal._replace(raw=encode_raw(value))


def _written(came: Context, trace_id: str, span_id: str) -> Iterable[Field]:
    if came.form is Form.W3C:
        yield TRACEPARENT, f"00-{trace_id}-{span_id}-01".encode()
    elif came.form is Form.B3:
        parent = f"-{came.span_id}" if came.span_id else ""
        yield B3, f"{trace_id}-{span_id}-1{parent}".encode()
    else:
        yield B3_TRACE, trace_id.encode()
        yield B3_SPAN, span_id.encode()
        if came.span_id:
            yield B3_PARENT, came.span_id.encode()
        yield B3_SAMPLED, b"1"


NAME_ON_WIRE = encode_raw(TRACEPARENT)
"""The name of a traceparent as it stands in a literal, unless it is Huffman coded."""

LENGTH_ON_WIRE = bytes((55,))
"""What follows it in version 00, unless the value is Huffman coded."""

_B3_HINTS = (b"\x02b3", b"x-b3-")
# Huffman coded; of "x-b3-" these are the first three octets.
_CODED_HINTS = (b"\x88\x4d\x83\x21\x6b\x1d\x85\xa9\x3f", b"\x82\x8d\x9f", b"\xf2\xb4\x6c")


def may_hold_another(wire: bytes) -> bool:
    """Whether an Extra without NAME_ON_WIRE may name a trace all the same. Yes may be wrong: the octets
    may be there by chance, in a value."""
    if b"b3" in wire and any(hint in wire for hint in _B3_HINTS):
        return True
    return not wire.isascii() and any(hint in wire for hint in _CODED_HINTS)

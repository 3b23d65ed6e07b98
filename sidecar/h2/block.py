"""What a decoded header block is: a stable head and the fields that vary beside it.

Requests of one client say the same thing over and over, but for a literal or two (a trace id, a
deadline). So a block has a `Head`, which the decoder interns: equal heads of one connection are one
object, and whatever was decided for it can hang on it. And it has `Extra`: the varying fields, as the
octets that go on to the next hop, validated but not taken apart until somebody asks.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from .primitives import decode_integer, decode_raw, decode_string, encode_raw
from .static import STATIC_TABLE

Field = tuple[bytes, bytes]  # lower-case name, value; decoded


class Kind(IntEnum):
    """What a header block opens or closes (RFC 9113 section 8.1)."""

    REQUEST = 0
    RESPONSE = 1
    INFORMATIONAL = 2
    TRAILERS = 3


class NeverIndexed(tuple[bytes, bytes]):
    """A Field of a head that came never indexed and must stay so (RFC 7541 section 7.1.3).

    It equals no plain field: a head with it is another head, so the memos cannot mix the two.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is NeverIndexed and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__


class Head:
    """The stable part of a block, valid by RFC 9113 section 8; `is` identity is a memo key."""

    __slots__ = (
        "authority",
        "content_length",
        "fields",
        "grpc_status",
        "kind",
        "method",
        "path",
        "plan",
        "plan_for",
        "protocol",
        "scheme",
        "size",
        "status",
    )

    def __init__(self, kind: Kind, fields: tuple[Field, ...]) -> None:
        self.kind = kind
        self.fields = fields  # pseudo-header fields first, then the others, in wire order
        self.method = b""  # of requests, like the next three; b"" where absent
        self.scheme = b""
        self.path = b""
        self.protocol = b""  # of an extended CONNECT (RFC 8441); `method` is then GET
        self.authority = b""  # :authority, or else Host
        self.status = 0  # of responses
        self.grpc_status = -1  # of responses and trailers; -1: absent, 2 (UNKNOWN): not a known code
        self.content_length = -1  # octets; -1: absent
        self.size = 0  # octets by RFC 9113 section 6.5.2 (32 per field on top of its strings)
        self.plan: object | None = None  # the switch's memoised decision for this head
        self.plan_for: object | None = None  # what `plan` was computed against

    def value(self, name: bytes) -> bytes | None:
        """The value of a field, repeated ones joined as RFC 9110 section 5.2 says, cookies by "; "."""
        values = [value for field, value in self.fields if field == name]
        return (b"; " if name == b"cookie" else b", ").join(values) if values else None


class Literal(NamedTuple):
    """One varying field."""

    name: bytes
    raw: bytes  # the value with length and Huffman bit, as on the wire
    never_indexed: bool

    def value(self) -> bytes:
        """The decoded value."""
        return decode_string(self.raw)

    def wire(self) -> bytes:
        """The literal as a representation that refers to no table."""
        return (b"\x10" if self.never_indexed else b"\0") + encode_raw(self.name) + self.raw


class Extra:
    """The varying fields of a block, in wire order: an iterable of Literal that is cheap to copy.

    `wire` holds them as literals without (or never) indexing that refer to no dynamic table, so the
    next hop's encoder appends the octets as they are. `timeout` is the value of `grpc-timeout` among them,
    b"" where there is none: the one of them that the switch itself obeys. `trace_at` is where in `wire` the
    last digit of a `traceparent` in its usual form stands, NO_TRACE where there surely is no context of any
    form, and 0 where neither is known.
    """

    __slots__ = ("timeout", "trace_at", "wire")

    def __init__(self, wire: bytes, timeout: bytes = b"") -> None:
        self.wire = wire
        self.timeout = timeout
        self.trace_at = 0

    @classmethod
    def of(cls, literals: Iterable[Literal]) -> "Extra":
        """Exactly these literals."""
        return cls(b"".join([literal.wire() for literal in literals]))

    def __iter__(self) -> Iterator[Literal]:
        wire = self.wire
        at = 0
        while at < len(wire):
            never_indexed = wire[at] & 0x10 != 0
            index, at = decode_integer(wire, at, 0x0F)
            if index:
                name = STATIC_TABLE[index - 1][0]
            else:
                raw, at = decode_raw(wire, at)
                name = decode_string(raw)
            raw, at = decode_raw(wire, at)
            yield Literal(name, raw, never_indexed)

    def __bool__(self) -> bool:
        return self.wire != b""

    def value(self, name: bytes) -> bytes | None:
        """The decoded value of the first field of that name."""
        return next((literal.value() for literal in self if literal.name == name), None)


NO_EXTRA = Extra(b"")
# The name's two strings on the wire (RFC 7541 section 5.2).
TIMEOUT_NAMES = (b"\x0cgrpc-timeout", b"\x89\x9a\xca\xc8\xb2MIOj\x7f")


# As it is written by all who write it: its name, and the length of its value.
TRACE_ON_WIRE = b"\x0btraceparent\x37"
TRACE_BYTES = 55
NO_TRACE = -1


def extra_of(wire: bytes) -> Extra:
    """An Extra that knows of its `grpc-timeout`."""
    if TIMEOUT_NAMES[0] in wire or TIMEOUT_NAMES[1] in wire:  # or a value that reads like that
        return Extra(wire, Extra(wire).value(b"grpc-timeout") or b"")
    return Extra(wire)


class Block:
    """What one header block says. Immutable by contract: memos share it between requests."""

    __slots__ = ("extra", "head")

    def __init__(self, head: Head, extra: Extra) -> None:
        self.head = head
        self.extra = extra

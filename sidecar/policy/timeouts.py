"""Sans-IO. `grpc-timeout` (gRPC over HTTP/2, "Timeout"): read, and written anew with what is left."""

from math import ceil

from ..h2.block import Block, Extra

TIMEOUT = b"grpc-timeout"
DIGITS_MAX = 8
_LITERAL = b"\0" + bytes((len(TIMEOUT),)) + TIMEOUT  # without indexing, a new name (RFC 7541, 6.2.2)
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def read(value: bytes) -> float:
    """Seconds; 0.0 where it is malformed and so says nothing."""
    unit = _UNIT_S.get(value[-1:])
    digits = value[:-1]
    if unit is None or not digits.isdigit() or len(digits) > DIGITS_MAX:
        return 0.0
    return int(digits) * unit


def write(seconds: float) -> bytes:
    """Rounded up, in the finest unit that eight digits hold."""
    for unit, scale in ((b"u", 1e6), (b"m", 1e3), (b"S", 1.0)):
        if (count := max(1, ceil(seconds * scale))) < 10**DIGITS_MAX:
            return b"%d%s" % (count, unit)
    return b"99999999S"


def with_timeout(block: Block, value: bytes) -> Block:
    """The same request with this timeout, as `write` makes it, and no other."""
    wire = block.extra.wire
    if block.extra.timeout:
        wire = b"".join([literal.wire() for literal in block.extra if literal.name != TIMEOUT])
    return Block(block.head, Extra(wire + _LITERAL + bytes((len(value),)) + value, value))

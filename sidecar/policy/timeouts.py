"""Sans-IO. `grpc-timeout` (gRPC over HTTP/2, "Timeout"): read, and written anew with what is left."""

from ..h2.block import Block, Extra, Literal
from ..h2.primitives import encode_raw

TIMEOUT = b"grpc-timeout"
DIGITS_MAX = 8
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
        if (count := int(seconds * scale) + 1) < 10**DIGITS_MAX:
            return b"%d%s" % (count, unit)
    return b"99999999S"


def with_timeout(block: Block, seconds: float) -> Block:
    """The same request with so much time."""
    kept = [literal for literal in block.extra if literal.name != TIMEOUT]
    value = write(seconds)
    extra = Extra.of([*kept, Literal(TIMEOUT, encode_raw(value), never_indexed=False)])
    extra.timeout = value
    return Block(block.head, extra)

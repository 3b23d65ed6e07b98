"""Integers and string octets of HPACK (RFC 7541 section 5)."""

from . import huffman
from .errors import compression_error

# Five continuation octets carry 35 bits: more than any index, length or table size that we admit.
CONTINUATIONS_MAX = 5


def encode_integer(value: int, prefix_bits: int, flags: int = 0) -> bytes:
    """The octets of `value` with `prefix_bits` in the first octet, whose upper bits are `flags`."""
    full = (1 << prefix_bits) - 1
    if value < full:
        return bytes((flags | value,))
    out = bytearray((flags | full,))
    value -= full
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """The integer whose prefix is `block[at] & mask`, and the position after it.

    Raises ConnectionFault(COMPRESSION_ERROR) where it does not end in time.
    """
    try:
        value = block[at] & mask
        at += 1
        if value < mask:
            return value, at
        for shift in range(0, 7 * CONTINUATIONS_MAX, 7):
            octet = block[at]
            at += 1
            value += (octet & 127) << shift
            if octet < 128:
                return value, at
    except IndexError:
        raise compression_error("an HPACK integer runs past the end of its block") from None
    raise compression_error("an HPACK integer has too many octets")


def decode_raw(block: bytes, at: int) -> tuple[bytes, int]:
    """A string as on the wire, length and Huffman bit included, and the position after it.

    Raises ConnectionFault(COMPRESSION_ERROR) where the block ends first.
    """
    length, start = decode_integer(block, at, 127)
    end = start + length
    if end > len(block):
        raise compression_error("an HPACK string runs past the end of its block")
    return block[at:end], end


def decode_string(raw: bytes) -> bytes:
    """The text of one whole string as `decode_raw` returns it.

    Raises ConnectionFault(COMPRESSION_ERROR) where its Huffman code is broken.
    """
    _, start = decode_integer(raw, 0, 127)
    return huffman.decode(raw[start:]) if raw[0] & 128 else raw[start:]


def encode_raw(text: bytes) -> bytes:
    """`text` as a plain string (not Huffman coded) with its length."""
    return encode_integer(len(text), 7) + text

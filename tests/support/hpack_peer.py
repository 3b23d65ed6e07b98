"""A peer that writes header blocks in every way that RFC 7541 allows, on the `hpack` library's table."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

Field = tuple[bytes, bytes]
_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


class How(Enum):
    """A representation (RFC 7541 section 6)."""

    INDEXED = "indexed if possible, else inserted"
    INSERTED = "inserted"
    PLAIN = "without indexing"
    NEVER = "never indexed"


@dataclass(frozen=True)
class Saying:
    """One field and how it is said."""

    field: Field
    how: How = How.INDEXED
    name_by_index: bool = True
    huffman: bool = False


def integer(value: int, prefix_bits: int, flags: int) -> bytes:
    """RFC 7541 section 5.1, written apart from the code under test."""
    limit = 2**prefix_bits - 1
    if value < limit:
        return bytes([flags | value])
    octets = [flags | limit]
    value -= limit
    while value >= 128:
        octets.append(value % 128 + 128)
        value //= 128
    return bytes([*octets, value])


def string(text: bytes, huffman: bool = False) -> bytes:
    """RFC 7541 section 5.2."""
    coded = _huffman.encode(text) if huffman else text
    return integer(len(coded), 7, 0x80 if huffman else 0) + coded


def literal(name: bytes, value: bytes, *, never: bool = False, huffman: bool = False) -> bytes:
    """A literal that touches no table, with its name in full."""
    return (b"\x10" if never else b"\0") + string(name, huffman) + string(value, huffman)


class Peer:
    """Encodes one direction of a connection."""

    def __init__(self) -> None:
        self.table = HeaderTable()

    def resize(self, size: int) -> bytes:
        """A table size update, to stand in front of the next block."""
        self.table.maxsize = size
        return integer(size, 5, 0x20)

    def say(self, sayings: Sequence[Saying]) -> bytes:
        return b"".join([self._say(saying) for saying in sayings])

    def _say(self, saying: Saying) -> bytes:
        name, value = saying.field
        found = self.table.search(name, value)
        if saying.how is How.INDEXED and found is not None and found[2] is not None:
            return integer(found[0], 7, 0x80)
        index = found[0] if found is not None and saying.name_by_index else 0
        if saying.how in (How.INDEXED, How.INSERTED):
            start = integer(index, 6, 0x40)
            self.table.add(name, value)
        else:
            start = integer(index, 4, 0x10 if saying.how is How.NEVER else 0)
        if not index:
            start += string(name, saying.huffman)
        return start + string(value, saying.huffman)

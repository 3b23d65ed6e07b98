# Hot path: bench/hpack.py
"""Walks the representations of a header block (RFC 7541 section 6) and keeps the dynamic table."""

from typing import NamedTuple

from .block import Extra, Field, Literal, NeverIndexed
from .errors import compression_error
from .fields import is_value
from .primitives import decode_integer, decode_raw, decode_string
from .table import FIRST_DYNAMIC, DecoderTable, Entry, Name

# Bounds of the memo of names, per connection. It is emptied when full.
NAMES_MAX = 128
NAME_BYTES_MAX = 64


class Stray(NamedTuple):
    """A field that stands beside the head."""

    anchor: int  # how many fields of the head came before it
    name: bytes
    value_size: int  # octets, decoded
    wire: bytes  # its representation for the next hop


class Walk(NamedTuple):
    """A block taken apart, in wire order."""

    fields: list[Field]  # of the head, not yet validated
    strays: list[Stray]
    run: int  # octets before the first stray
    still: bool  # the block left the table as it was


class Reader:
    """Reads the blocks of one connection, in wire order."""

    __slots__ = ("_names", "_promoted", "_table", "free_names")

    def __init__(self, table_size_max: int, promoted: frozenset[bytes]) -> None:
        self._promoted = promoted
        self._table = DecoderTable(table_size_max, promoted)
        self._names: dict[bytes, Name] = {}  # by their string on the wire
        self.free_names: set[bytes] = set()  # the strings of names that may stand beside the head

    def promote(self, names: frozenset[bytes]) -> None:
        """From now on fields of exactly these names are always in the head."""
        self._promoted = names
        self._names.clear()
        self.free_names.clear()
        self._table.promote(names)

    def read(self, block: bytes) -> Walk:
        """Takes `block` apart and updates the table. The block must not be read again.

        Raises ConnectionFault(COMPRESSION_ERROR).
        """
        entries = self._table.entries
        fields: list[Field] = []
        strays: list[Stray] = []
        still = True
        at = 0
        run = size = len(block)
        try:
            while at < size:
                octet = block[at]
                if octet > 0x80:  # an indexed field; 0x80 itself is index 0, which means nothing
                    if octet == 0xFF:
                        index, at = decode_integer(block, at, 0x7F)
                        fields.append(entries[index].field)
                    else:
                        fields.append(entries[octet - 0x80].field)
                        at += 1
                elif octet & 0xE0 == 0x20:
                    if fields or strays:
                        raise compression_error("a table size update does not open its block")
                    capacity, at = decode_integer(block, at, 0x1F)
                    self._table.resize(capacity)
                    still = False
                elif octet == 0x80:
                    raise compression_error("index 0 is used")
                else:
                    if octet >= 0x40:
                        still = False
                    start = at
                    at = self._literal(block, at, fields, strays)
                    if run == size and strays:
                        run = start
        except IndexError:
            # One handler for the whole walk spares it a test per octet and per index.
            raise compression_error("a header block refers past its own end or its table's") from None
        return Walk(fields, strays, run, still)

    def _literal(self, block: bytes, start: int, fields: list[Field], strays: list[Stray]) -> int:
        """Reads one literal into `fields` or `strays` and returns the position after it."""
        octet = block[start]
        inserts = octet >= 0x40
        index, at = decode_integer(block, start, 0x3F if inserts else 0x0F)
        if index:
            name = self._table.entries[index].name
        else:
            raw, at = decode_raw(block, at)
            name = self._names.get(raw) or self._name(raw)
        raw, at = decode_raw(block, at)
        value = decode_string(raw)
        never_indexed = not inserts and octet & 0x10 != 0
        if inserts:
            self._table.insert(Entry(name, value))
        # What was inserted will be referred to, and belongs to the head; unless that is known to be vain.
        if (name.volatile if inserts else name.free) and is_value(value):
            if inserts or index >= FIRST_DYNAMIC:
                wire = Literal(name.text, raw, never_indexed or name.sensitive).wire()
            else:
                wire = block[start:at]
            strays.append(Stray(len(fields), name.text, len(value), wire))
        else:
            field = (name.text, value)
            fields.append(NeverIndexed(field) if never_indexed else field)
        return at

    def _name(self, raw: bytes) -> Name:
        name = Name(decode_string(raw), self._promoted)
        if len(raw) <= NAME_BYTES_MAX:
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
                self.free_names.clear()
            self._names[raw] = name
            if name.free:
                self.free_names.add(raw)
        return name


def in_order(walk: Walk) -> Walk:
    """`walk`, with its strays moved into the head if keeping them apart would hide or change an order.

    Fields of one name must keep theirs, and a pseudo-header field after a regular one must be noticed.
    """
    fields, strays = walk.fields, walk.strays
    last = {name if name[:1] != b":" else b":": position for position, (name, _) in enumerate(fields)}
    pseudo = last.get(b":", -1)
    if all(max(last.get(stray.name, -1), pseudo) < stray.anchor for stray in strays):
        return walk
    merged = list(fields)
    for stray in reversed(strays):
        merged.insert(stray.anchor, _field(stray.wire))
    return Walk(merged, [], 0, walk.still)


def _field(wire: bytes) -> Field:
    ((name, raw, never_indexed),) = Extra(wire)
    field = (name, decode_string(raw))
    return NeverIndexed(field) if never_indexed else field

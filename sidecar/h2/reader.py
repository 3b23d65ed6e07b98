# Hot path: bench/hpack.py
"""Walks the representations of a header block (RFC 7541 section 6) and keeps the dynamic table."""

from .block import Extra, Field, NeverIndexed
from .errors import compression_error
from .fields import is_value
from .names import TRACE_CONTEXT
from .primitives import decode_integer, decode_raw, decode_string, encode_raw
from .table import FIRST_DYNAMIC, DecoderTable, Entry, Name

# Bounds of the memo of names, per connection. It is emptied when full.
NAMES_MAX = 128
NAME_BYTES_MAX = 64

# Table size updates before a block. RFC 7541 section 4.2 needs two; some encoders tell each change.
UPDATES_MAX = 64


# A field that stands beside the head: how many of the head's came before it, its name, the octets of its
# decoded value, and its representation for the next hop. Plain tuples: a NamedTuple takes three times as
# long.
Stray = tuple[int, bytes, int, bytes]

# A block taken apart, in wire order: the head's fields, not yet validated; the strays; the octets before the
# first stray; and whether the block left the table as it was.
Walk = tuple[list[Field], list[Stray], int, bool]


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
        # One function, one handler for IndexError and the short forms of integers and strings inline: calls,
        # and a test per octet and per index, made it three times as dear.
        entries = self._table.entries
        names = self._names
        fields: list[Field] = []
        strays: list[Stray] = []
        still = True
        updates = 0
        at = 0
        run = size = len(block)
        try:
            while at < size:
                octet = block[at]
                if octet > 0x80:  # an indexed field
                    if octet == 0xFF:
                        index, at = decode_integer(block, at, 0x7F)
                        fields.append(entries[index].field)
                    else:
                        fields.append(entries[octet - 0x80].field)
                        at += 1
                    continue
                if octet == 0x80 or octet & 0xE0 == 0x20:
                    updates += 1
                    at = self._resize(block, at, fields or strays or updates > UPDATES_MAX)
                    still = False
                    continue
                # A literal: where its name is,
                start = at
                inserts = octet >= 0x40
                mask = 0x3F if inserts else 0x0F
                index = octet & mask
                at += 1
                if index == mask:
                    index, at = decode_integer(block, start, mask)
                if index:
                    name = entries[index].name
                else:
                    end = at + 1 + (block[at] & 0x7F)
                    known = names.get(block[at:end])
                    if known is None:
                        raw, end = decode_raw(block, at)
                        known = self._name(raw)
                    name = known
                    at = end
                # what its value is,
                length = block[at]
                if length < 0x7F:
                    end = at + 1 + length
                    value = block[at + 1 : end]
                    if end > size:
                        raise IndexError
                else:
                    raw, end = decode_raw(block, at)
                    value = decode_string(raw)
                # and where it belongs. What was inserted will be referred to and so belongs to the head,
                # unless that is known to be vain.
                if inserts:
                    self._table.insert(Entry(name, value))
                    still = False
                if (name.volatile if inserts else name.free) and is_value(value):
                    if inserts:
                        wire = (b"\x10" if name.sensitive else b"\0") + name.wire + block[at:end]
                    elif index >= FIRST_DYNAMIC:
                        wire = (b"\x10" if octet & 0x10 else b"\0") + name.wire + block[at:end]
                    else:
                        wire = block[start:end]
                    if not strays:
                        run = start
                    strays.append((len(fields), name.text, len(value), wire))
                elif octet & 0x10 and not inserts:
                    fields.append(NeverIndexed((name.text, value)))
                else:
                    fields.append((name.text, value))
                at = end
        except IndexError:
            raise compression_error("a header block refers past its own end or its table's") from None
        return fields, strays, run, still

    @property
    def indexes_traces(self) -> bool:
        """Whether a field of names.TRACE_CONTEXT may come as an index."""
        return self._table.traces

    def apart(
        self, fields: list[Field], strays: list[Stray], run: int
    ) -> tuple[list[Field], list[Stray], int]:
        """The walk with these among the strays. Encoders that index all they send name a trace by its index
        when it comes again, and each would make a head of its own."""
        if not any(self._is_beside(name) for name, _ in fields):
            return fields, strays, run
        stable: list[Field] = []
        beside: list[Stray] = []
        at = 0
        for position, field in enumerate(fields):
            while at < len(strays) and strays[at][0] <= position:
                beside.append((len(stable), *strays[at][1:]))
                at += 1
            name, value = field
            if self._is_beside(name) and is_value(value):
                kind = b"\x10" if type(field) is NeverIndexed else b"\0"
                beside.append((len(stable), name, len(value), kind + encode_raw(name) + encode_raw(value)))
            else:
                stable.append(field)
        beside += [(len(stable), *stray[1:]) for stray in strays[at:]]
        return stable, beside, 0

    def _is_beside(self, name: bytes) -> bool:
        return name in TRACE_CONTEXT and name not in self._promoted

    def _resize(self, block: bytes, at: int, begun: object) -> int:
        if block[at] == 0x80:
            raise compression_error("a header block uses index 0")
        if begun:
            raise compression_error("a table size update does not open its block, or is one too many")
        capacity, at = decode_integer(block, at, 0x1F)
        self._table.resize(capacity)
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


def in_order(fields: list[Field], strays: list[Stray]) -> list[Field] | None:
    """All fields of a walk in wire order, if keeping the strays apart would hide or change an order.

    Fields of one name must keep theirs, and a pseudo-header field after a regular one must be noticed.
    """
    last = {name if name[:1] != b":" else b":": position for position, (name, _) in enumerate(fields)}
    pseudo = last.get(b":", -1)
    if all(max(last.get(name, -1), pseudo) < anchor for anchor, name, _, _ in strays):
        return None
    merged = []
    done = 0
    for anchor, _, _, wire in strays:
        merged += fields[done:anchor]
        merged.append(_field(wire))
        done = anchor
    return merged + fields[done:]


def _field(wire: bytes) -> Field:
    ((name, raw, never_indexed),) = Extra(wire)
    field = (name, decode_string(raw))
    return NeverIndexed(field) if never_indexed else field

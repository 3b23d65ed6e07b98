# Hot path: bench/hpack.py
"""The memoising HPACK encoder of one connection direction (RFC 7541).

It inserts a field into the dynamic table when it meets it for the second time, never evicts, and stops when
the table is full. So the table soon goes still, and from then on the block of a field list is always the
same octets: one dict lookup.
"""

from .block import NO_EXTRA, Extra, Field, NeverIndexed
from .fields import FIELD_OVERHEAD_BYTES
from .names import PER_REQUEST, is_sensitive
from .primitives import encode_integer, encode_raw
from .static import STATIC_TABLE
from .table import FIRST_DYNAMIC, TABLE_SIZE_DEFAULT

STATIC_FIELDS = {field: bytes((0x80 | index,)) for index, field in reversed([*enumerate(STATIC_TABLE, 1)])}
STATIC_NAMES = {field[0]: index for index, field in reversed([*enumerate(STATIC_TABLE, 1)])}

NEVER_INDEXED = 0x10
NOT_INDEXED = 0x00
INSERTED = 0x40

# Bounds of the memo of blocks and of the fields met once; each is emptied when full.
MEMO_ENTRIES_MAX = 128
MEMO_BLOCK_BYTES_MAX = 4096
MEMO_BYTES_MAX = 64 * 1024
SEEN_MAX = 128
SEEN_FIELD_BYTES_MAX = 512


class Encoder:
    """Encodes header blocks for one peer, in the order in which they are written."""

    __slots__ = (
        "_capacity",
        "_fields",
        "_indexed",
        "_kept",
        "_memo_bytes",
        "_seen",
        "_size",
        "_size_max",
        "_smallest",
        "_update",
        "memo",
    )

    def __init__(self, table_size_max: int = TABLE_SIZE_DEFAULT) -> None:
        """`table_size_max`, in octets, is what we are ready to use; the peer may allow less."""
        self._size_max = table_size_max
        self._capacity = TABLE_SIZE_DEFAULT  # of the peer's table, as last announced
        self._smallest = table_size_max  # of the capacities that were set since the last block
        self._update = b""
        self._size = 0
        self._fields: list[Field] = []  # the dynamic table, oldest first
        self._indexed: dict[Field, bytes] = {}  # its representations
        self._seen: set[Field] = set()
        # The block of a field list by the identity of its tuple, which _kept keeps from being reused.
        self.memo: dict[int, bytes] = {}
        self._memo_bytes = 0
        self._kept: list[tuple[Field, ...]] = []

    def set_table_size(self, peer_setting: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE, in octets. The next block announces what changes."""
        capacity = min(peer_setting, self._size_max)
        if capacity == self._capacity:
            return
        self._capacity = capacity
        self._smallest = min(self._smallest, capacity)
        # RFC 7541 section 4.2: the smallest size in between is announced, then the final one.
        self._update = encode_integer(self._smallest, 5, 0x20)
        if self._smallest != capacity:
            self._update += encode_integer(capacity, 5, 0x20)
        while self._size > self._smallest:
            self._size -= _entry_size(self._fields.pop(0))
        self._index()

    def encode(self, fields: tuple[Field, ...], extra: Extra = NO_EXTRA) -> bytes:
        """One header block: `fields`, then `extra` as it is.

        Memoised by the identity of `fields`: pass the same tuple object for the same list.
        """
        block = self.memo.get(id(fields))
        return (self._encode(fields) if block is None else block) + extra.wire

    def _encode(self, fields: tuple[Field, ...]) -> bytes:
        update, self._update = self._update, b""
        self._smallest = self._size_max
        settled = True
        representations = []
        for field in fields:
            wire = STATIC_FIELDS.get(field) or self._indexed.get(field)
            if wire is None:
                kind, final = self._choose(field)
                settled = settled and final
                wire = _literal(field, kind)
                if kind == INSERTED:
                    self._insert(field)
            representations.append(wire)
        block = b"".join(representations)
        if settled:
            self._keep(fields, block)
        return update + block

    def _choose(self, field: Field) -> tuple[int, bool]:
        """How to write a field that is in no table, and whether the answer will be the same next time."""
        name = field[0]
        if type(field) is NeverIndexed or is_sensitive(name):
            return NEVER_INDEXED, True
        room = min(self._capacity, self._size_max) - self._size
        if name in PER_REQUEST or _entry_size(field) > room:
            return NOT_INDEXED, True
        if field in self._seen:
            return INSERTED, False
        if len(name) + len(field[1]) > SEEN_FIELD_BYTES_MAX:
            return NOT_INDEXED, True
        if len(self._seen) >= SEEN_MAX:
            self._seen.clear()
        self._seen.add(field)
        return NOT_INDEXED, False

    def _insert(self, field: Field) -> None:
        self._seen.discard(field)
        self._size += _entry_size(field)
        self._fields.append(field)
        self._index()

    def _index(self) -> None:
        """After a change of the table: every index is another one, so every memoised block is wrong."""
        newest = FIRST_DYNAMIC + len(self._fields) - 1
        self._indexed = {
            field: encode_integer(newest - position, 7, 0x80) for position, field in enumerate(self._fields)
        }
        self._forget_blocks()

    def _keep(self, fields: tuple[Field, ...], block: bytes) -> None:
        if len(block) <= MEMO_BLOCK_BYTES_MAX:
            if len(self.memo) >= MEMO_ENTRIES_MAX or self._memo_bytes > MEMO_BYTES_MAX - len(block):
                self._forget_blocks()
            self.memo[id(fields)] = block
            self._memo_bytes += len(block)
            self._kept.append(fields)

    def _forget_blocks(self) -> None:
        self.memo.clear()
        self._memo_bytes = 0
        self._kept.clear()


def _entry_size(field: Field) -> int:
    return len(field[0]) + len(field[1]) + FIELD_OVERHEAD_BYTES


def _literal(field: Field, kind: int) -> bytes:
    name, value = field
    index = STATIC_NAMES.get(name)
    prefix_bits = 6 if kind == INSERTED else 4
    head = bytes((kind,)) + encode_raw(name) if index is None else encode_integer(index, prefix_bits, kind)
    return head + encode_raw(value)

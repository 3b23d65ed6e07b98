"""The decoder's indexing tables: static entries, and the dynamic ones that the peer inserts."""

from functools import lru_cache

from . import names
from .block import Field
from .errors import compression_error
from .fields import FIELD_OVERHEAD_BYTES, is_name
from .primitives import encode_raw
from .static import STATIC_TABLE

TABLE_SIZE_DEFAULT = 4096  # octets; RFC 9113 section 6.5.2: what holds until a setting says otherwise
STATIC_COUNT = len(STATIC_TABLE)
FIRST_DYNAMIC = STATIC_COUNT + 1


class Name:
    """A field name as the decoder knows it."""

    __slots__ = ("free", "sensitive", "text", "volatile", "wire")

    def __init__(self, text: bytes, promoted: frozenset[bytes]) -> None:
        self.text = text
        self.wire = encode_raw(text)
        # A free field may stand outside the head: nobody here reads it, and its name is valid.
        self.free = is_name(text) and text not in names.READ_ALWAYS and text not in promoted
        self.volatile = self.free and names.is_volatile(text)
        self.sensitive = names.is_sensitive(text)


class Entry:
    """A table entry. `field` is not validated: heads are, and a table must outlive a bad stream."""

    __slots__ = ("field", "name", "size")

    def __init__(self, name: Name, value: bytes) -> None:
        self.name = name
        self.field: Field = (name.text, value)
        self.size = len(name.text) + len(value) + FIELD_OVERHEAD_BYTES


@lru_cache(maxsize=16)  # all connections of a listener promote the same names; rules change now and then
def static_entries(promoted: frozenset[bytes]) -> tuple[Entry, ...]:
    """The static table, shared by the decoders that promote the same names."""
    return tuple(Entry(Name(name, promoted), value) for name, value in STATIC_TABLE)


class DecoderTable:
    """RFC 7541 section 2.3. `entries[index]` is what an index means; entry 0 only makes it count from 1."""

    __slots__ = ("_capacity", "_size", "_size_max", "entries", "traces")

    def __init__(self, size_max: int, promoted: frozenset[bytes]) -> None:
        self._size_max = size_max  # what our SETTINGS_HEADER_TABLE_SIZE allows
        self._capacity = TABLE_SIZE_DEFAULT  # what the peer's encoder uses of it
        self._size = 0
        static = static_entries(promoted)
        self.entries = [static[0], *static]
        self.traces = False  # whether a field was inserted that says where a request stands in a trace

    def insert(self, entry: Entry) -> None:
        """Puts `entry` at the front and evicts what no longer fits (RFC 7541 section 4.4)."""
        self._size += entry.size
        if entry.name.text in names.TRACE_CONTEXT:
            self.traces = True
        self.entries.insert(FIRST_DYNAMIC, entry)
        if self._size > self._capacity:
            self._evict()

    def resize(self, capacity: int) -> None:
        """A dynamic table size update (RFC 7541 section 6.3).

        Raises ConnectionFault(COMPRESSION_ERROR) where our setting does not allow it.
        """
        if capacity > self._size_max:
            raise compression_error("a table size update is over SETTINGS_HEADER_TABLE_SIZE")
        self._capacity = capacity
        self._evict()

    def promote(self, promoted: frozenset[bytes]) -> None:
        """Judges all names anew."""
        static = static_entries(promoted)
        dynamic = self.entries[FIRST_DYNAMIC:]
        for entry in dynamic:
            entry.name = Name(entry.name.text, promoted)
        self.entries[:] = [static[0], *static, *dynamic]

    def _evict(self) -> None:
        while self._size > self._capacity:
            self._size -= self.entries.pop().size

# Hot path: bench/hpack.py
"""The memoising HPACK decoder of one connection direction (RFC 7541).

A block that inserts nothing into the dynamic table and does not resize it decodes to the same fields as
long as that table is unchanged. On this rest three memos, which a change of the table empties:

- of whole blocks: the exact repeat is one dict lookup;
- of block beginnings: where a new block differs from an old one only in literals at its end, as those of
  gRPC clients do, the beginning is looked up and only the literals are walked;
- of the shapes of such endings: where the new values are as long as the old ones, as trace ids are, the
  octets between the values are compared and nothing is walked at all.

Heads depend on their fields alone, so those stay interned when the table changes.
"""

from . import huffman
from .block import NO_EXTRA, Block, Extra, Head, extra_of
from .errors import ConnectionFault, ErrorCode, HeaderListTooLarge
from .fields import (
    FIELD_OVERHEAD_BYTES,
    MARKS,
    is_value,
    request_head,
    response_head,
    size_of,
    trailers_head,
)
from .memos import LIST_PER_LITERALS_MAX, MEMO_ENTRIES_MAX, MEMO_HEAD_BYTES_MAX, Constant, Section
from .reader import Reader, Stray, in_order
from .table import TABLE_SIZE_DEFAULT

HEADER_LIST_BYTES_MAX = 64 * 1024
# No list within its bound needs more octets on the wire: the longest Huffman code has 30 bits.
BLOCK_PER_LIST_MAX = 4
# A block of single octets that name this many fields, each for 32 and more: walking it costs us far more than
# the peer, and whoever errs is not that far off.
FIELDS_MAX = 4 * HEADER_LIST_BYTES_MAX // FIELD_OVERHEAD_BYTES
FIELDS_UNCOUNTED_MAX = 64  # a list of no more fields is summed up only when its head is made

_new = object.__new__


class Decoder:
    """Decodes the header blocks of one connection, in wire order.

    `memo` and `trailer_memo` map octets that were seen before to their Block; they are the same dict
    objects for the decoder's life. The switch asks them first:

        block = decoder.memo.get(octets) or decoder.decode(octets)
    """

    __slots__ = ("_header_section", "_list_max", "_reader", "_trailer_section", "memo", "trailer_memo")

    def __init__(
        self,
        *,
        requests: bool,
        table_size_max: int = TABLE_SIZE_DEFAULT,
        header_list_max: int = HEADER_LIST_BYTES_MAX,
        promoted: frozenset[bytes] = frozenset(),
    ) -> None:
        """`table_size_max` and `header_list_max` are, in octets, what our SETTINGS tell the peer.

        The table's should not be below 4096: the peer starts from there before it has our SETTINGS.
        """
        self._list_max = header_list_max
        self._reader = Reader(table_size_max, promoted)
        self._header_section = Section(request_head if requests else response_head, header_list_max)
        self._trailer_section = Section(trailers_head, header_list_max)
        self.memo = self._header_section.memo
        self.trailer_memo = self._trailer_section.memo

    def promote(self, names: frozenset[bytes]) -> None:
        """From now on fields of exactly these names are always in the head. Clears the memos."""
        self._reader.promote(names)
        for section in (self._header_section, self._trailer_section):
            section.forget_blocks()
            section.heads.clear()

    def decode(self, block: bytes, trailers: bool = False) -> Block:
        """What `block` says, by the memos of its parts or in full.

        Raises ConnectionFault(COMPRESSION_ERROR or ENHANCE_YOUR_CALM), and StreamFault or
        HeaderListTooLarge after the dynamic table has been updated.
        """
        section = self._trailer_section if trailers else self._header_section
        shape = section.shapes.get(len(block))
        if shape is None:
            return self._decode_by_beginning(block, section)
        run, opened, opening, head, room, constants, later, marks, timeout, trace_at = shape
        if block[:opened] != opening:  # compared, as a look-up takes twice as long
            other = section.beginnings.get(block[:run])
            if other is None or other.size > room:
                return self._decode_by_beginning(block, section)
            head, later = other, constants
        for start, end, octets in later:
            if block[start:end] != octets:
                return self._decode_by_beginning(block, section)
        wire = block[run:]
        if wire.translate(MARKS) != marks:
            return self._decode_by_beginning(block, section)
        # Without their __init__ the two objects cost 220 ns instead of 380.
        extra = _new(Extra)
        extra.wire = wire
        extra.timeout = wire[timeout] if timeout is not None else b""
        extra.trace_at = trace_at
        decoded = _new(Block)
        decoded.head = head
        decoded.extra = extra
        # Where endings vary, the memo fills up with blocks that never come back; filling it anew for ever
        # would be a tenth of the cost. A block that does come back is in it from the full path.
        if len(section.memo) < MEMO_ENTRIES_MAX:
            section.keep_block(block, decoded)
        return decoded

    def _decode_by_beginning(self, block: bytes, section: Section) -> Block:
        """Walks only the literals behind a beginning that is known."""
        run = section.run
        head = section.beginnings.get(block[:run])
        if head is None or not self._may_follow(block, run, head, section):
            return self._decode_in_full(block, section)
        decoded = Block(head, extra_of(block[run:]) if run < len(block) else NO_EXTRA)
        section.keep_block(block, decoded)
        return decoded

    def _may_follow(self, block: bytes, run: int, head: Head, section: Section) -> bool:
        """Whether all from `run` on is valid literals of names that are known to be free.

        That is decided on the octets; whatever is unusual is left to the full path, which judges it.
        """
        size = len(block)
        if head.size + LIST_PER_LITERALS_MAX * (size - run) > self._list_max:
            return False
        free_names = self._reader.free_names
        constants: list[Constant] = []
        plain = True  # no value is Huffman coded
        at = run
        try:
            while at < size:
                start = at + 2 + (block[at + 1] & 0x7F)
                if block[at] & 0xEF or block[at + 1 : start] not in free_names:
                    return False
                length = block[start]
                constants.append((at, start + 1, block[at : start + 1]))
                if length < 0x7F:
                    at = start + 1 + length
                    value = block[start + 1 : at]
                elif 0x80 <= length < 0xFF:
                    at = start + 1 + length - 0x80
                    value = huffman.decode(block[start + 1 : at])
                    plain = False
                else:
                    return False
                if not is_value(value):
                    return False
        except IndexError:
            return False
        if at != size:
            return False
        if plain and constants:
            section.keep_shape(block, run, head, tuple(constants))
        return True

    def _decode_in_full(self, octets: bytes, section: Section) -> Block:
        """Decodes without memos, and teaches them."""
        if len(octets) > max(self._list_max, HEADER_LIST_BYTES_MAX) * BLOCK_PER_LIST_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block is far over the limit")
        fields, strays, run, still = self._reader.read(octets)
        if not still:
            self._header_section.forget_blocks()
            self._trailer_section.forget_blocks()
        # Before anything looks at all the fields: a block of indices can name the same 4 KiB 60,000 times.
        if (count := len(fields) + len(strays)) > FIELDS_UNCOUNTED_MAX and (
            count * FIELD_OVERHEAD_BYTES > self._list_max or size_of(fields) > self._list_max
        ):
            if count > FIELDS_MAX:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header list is far over the limit")
            raise HeaderListTooLarge("the header list is too large")
        if self._reader.indexes_traces:
            fields, strays, run = self._reader.apart(fields, strays, run)
        if strays and strays[0][0] < len(fields):
            run = 0
            merged = in_order(fields, strays)
            if merged is not None:
                fields, strays = merged, []
        head = section.head(tuple(fields))
        if head.size + _size_of_strays(strays) > self._list_max:
            raise HeaderListTooLarge("the header list is too large")
        block = Block(head, extra_of(b"".join([stray[3] for stray in strays])) if strays else NO_EXTRA)
        if still and head.size <= MEMO_HEAD_BYTES_MAX:
            section.keep_beginning(octets[:run], head)
            section.keep_block(octets, block)
        return block


def _size_of_strays(strays: list[Stray]) -> int:
    return sum([len(name) + size + FIELD_OVERHEAD_BYTES for _, name, size, _ in strays])

# Hot path: bench/hpack.py
"""The memoising HPACK decoder of one connection direction (RFC 7541).

A block that inserts nothing into the dynamic table and does not resize it decodes to the same fields as
long as that table is unchanged. On this rest two memos, which a change of the table empties:

- of whole blocks: the exact repeat is one dict lookup;
- of block beginnings: where a new block differs from an old one only in literals at its end, as those of
  gRPC clients do, the beginning is looked up and only the literals are walked.

Heads depend on their fields alone, so those stay interned when the table changes.
"""

from collections.abc import Callable

from . import huffman
from .block import NO_EXTRA, Block, Extra, Field, Head
from .errors import ConnectionFault, ErrorCode, HeaderListTooLarge
from .fields import (
    FIELD_OVERHEAD_BYTES,
    SUSPECT,
    is_value,
    request_head,
    response_head,
    size_of,
    trailers_head,
)
from .reader import Reader, Stray, in_order
from .table import TABLE_SIZE_DEFAULT

HEADER_LIST_BYTES_MAX = 64 * 1024
# No list within its bound needs more octets on the wire: the longest Huffman code has 30 bits.
BLOCK_PER_LIST_MAX = 4

# Bounds of the memos. A client has some tens of distinct blocks, of 10 to 500 octets; a memo that is full is
# emptied, which costs a refill per 128 novel blocks and no bookkeeping on a hit. So what one decoder holds is
# under 2 * 128 * 3 KiB for blocks and their beginnings, and 2 * 64 * 4 KiB for heads.
MEMO_ENTRIES_MAX = 128
MEMO_BLOCK_BYTES_MAX = 1024
HEADS_MAX = 64
HEAD_BYTES_MAX = 4096


class Section:
    """The memos of one place in a message: header blocks and trailers mean different things."""

    __slots__ = ("beginnings", "heads", "list_max", "make_head", "memo", "run")

    def __init__(self, make_head: Callable[[tuple[Field, ...]], Head], list_max: int) -> None:
        self.make_head = make_head
        self.list_max = list_max
        self.memo: dict[bytes, Block] = {}
        self.beginnings: dict[bytes, Head] = {}
        self.run = 0  # length of the beginning that was met last, so probably of the next one
        self.heads: dict[tuple[Field, ...], Head] = {}

    def forget_blocks(self) -> None:
        self.memo.clear()
        self.beginnings.clear()

    def keep_block(self, octets: bytes, block: Block) -> None:
        if len(octets) <= MEMO_BLOCK_BYTES_MAX:
            if len(self.memo) >= MEMO_ENTRIES_MAX:
                self.memo.clear()
            self.memo[octets] = block

    def keep_beginning(self, octets: bytes, head: Head) -> None:
        if 0 < len(octets) <= MEMO_BLOCK_BYTES_MAX:
            if len(self.beginnings) >= MEMO_ENTRIES_MAX:
                self.beginnings.clear()
            self.beginnings[octets] = head
            self.run = len(octets)

    def head(self, fields: tuple[Field, ...]) -> Head:
        """The one head of these fields. Raises StreamFault where they are malformed or too many."""
        head = self.heads.get(fields)
        if head is None:
            if size_of(fields) > self.list_max:
                raise HeaderListTooLarge("the header list is too large")
            head = self.make_head(fields)
            if head.size <= HEAD_BYTES_MAX:
                if len(self.heads) >= HEADS_MAX:
                    self.heads.clear()
                self.heads[fields] = head
        return head


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
        """What `block` says, by the memo of beginnings or in full.

        Raises ConnectionFault(COMPRESSION_ERROR or ENHANCE_YOUR_CALM), and StreamFault or
        HeaderListTooLarge after the dynamic table has been updated.
        """
        section = self._trailer_section if trailers else self._header_section
        run = section.run
        head = section.beginnings.get(block[:run])
        if head is None or not self._may_follow(block, run, head):
            return self._decode_in_full(block, section)
        decoded = Block(head, Extra(block[run:]) if run < len(block) else NO_EXTRA)
        section.keep_block(block, decoded)
        return decoded

    def _may_follow(self, block: bytes, at: int, head: Head) -> bool:
        """Whether all from `at` on is valid literals of names that are known to be free.

        That is decided on the octets; whatever is unusual is left to the full path, which judges it.
        """
        size = len(block)
        # A field takes 4 octets and counts for 32 more than its strings, which Huffman code may double.
        if head.size + 10 * (size - at) > self._list_max:
            return False
        free_names = self._reader.free_names
        try:
            while at < size:
                start = at + 2 + (block[at + 1] & 0x7F)
                if block[at] & 0xEF or block[at + 1 : start] not in free_names:
                    return False
                length = block[start]
                if length < 0x7F:
                    at = start + 1 + length
                    value = block[start + 1 : at]
                elif 0x80 <= length < 0xFF:
                    at = start + 1 + length - 0x80
                    value = huffman.decode(block[start + 1 : at])
                else:
                    return False
                if 1 in value.translate(SUSPECT) and not is_value(value):
                    return False
        except IndexError:
            return False
        return at == size

    def _decode_in_full(self, octets: bytes, section: Section) -> Block:
        """Decodes without memos, and teaches them."""
        if len(octets) > self._list_max * BLOCK_PER_LIST_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block is far over the limit")
        walk = self._reader.read(octets)
        if not walk.still:
            self._header_section.forget_blocks()
            self._trailer_section.forget_blocks()
        if (len(walk.fields) + len(walk.strays)) * FIELD_OVERHEAD_BYTES > self._list_max:
            raise HeaderListTooLarge("the header list has too many fields")
        if walk.strays and walk.strays[0].anchor < len(walk.fields):
            walk = in_order(walk)._replace(run=0)
        head = section.head(tuple(walk.fields))
        if head.size + _size_of_strays(walk.strays) > self._list_max:
            raise HeaderListTooLarge("the header list is too large")
        block = Block(
            head, Extra(b"".join([stray.wire for stray in walk.strays])) if walk.strays else NO_EXTRA
        )
        if walk.still:
            section.keep_beginning(octets[: walk.run], head)
            section.keep_block(octets, block)
        return block


def _size_of_strays(strays: list[Stray]) -> int:
    return sum([len(stray.name) + stray.value_size + FIELD_OVERHEAD_BYTES for stray in strays])

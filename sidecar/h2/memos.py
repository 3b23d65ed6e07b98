# Hot path: bench/hpack.py
"""What a decoder remembers, and how much of it."""

from collections.abc import Callable

from .block import NO_TRACE, TIMEOUT_NAMES, TRACE_BYTES, TRACE_ON_WIRE, Block, Field, Head
from .fields import MARKS

# What an octet of literals may count for in the list: a field takes 4 octets or more and counts for 32 more
# than its strings, which Huffman code may make almost twice as long.
LIST_PER_LITERALS_MAX = 10

# Bounds of the memos. A client has some tens of distinct blocks, of 10 to 500 octets, or 2,000 with a JWT. A
# memo that is full is emptied: that costs a refill per so many novel blocks and no bookkeeping on a hit.
MEMO_ENTRIES_MAX = 128
MEMO_BLOCK_BYTES_MAX = 4096
MEMO_BYTES_MAX = 64 * 1024  # of keys; what they map to is at most as large again
# Of a head as decoded. What is larger is decoded each time, and counted: sixteen octets can mean 64 KiB.
MEMO_HEAD_BYTES_MAX = 16 * 1024
BEGINNINGS_MAX = 64
BEGINNING_BYTES_MAX = 512
SHAPES_MAX = 64
SHAPE_BYTES_MAX = 1024
HEADS_MAX = 64
HEAD_BYTES_MAX = 4096

# The ending of a block: how many octets are before it; where the first value begins, what stood before it the
# last time, and its head; header list size that the head may have; the constant octets (position, end,
# octets) and all but the first of them; the marks of all octets of the ending; where in it the value of
# grpc-timeout is, and what `Extra.trace_at` says.
Constant = tuple[int, int, bytes]
_Constants = tuple[Constant, ...]
Shape = tuple[int, int, bytes, Head, int, _Constants, _Constants, bytes, slice | None, int]


class Section:
    """The memos of one place in a message: header blocks and trailers mean different things."""

    __slots__ = ("beginnings", "heads", "list_max", "make_head", "memo", "memo_bytes", "run", "shapes")

    def __init__(self, make_head: Callable[[tuple[Field, ...]], Head], list_max: int) -> None:
        self.make_head = make_head
        self.list_max = list_max
        self.memo: dict[bytes, Block] = {}
        self.memo_bytes = 0
        self.beginnings: dict[bytes, Head] = {}
        self.run = 0  # length of the beginning that was met last, so probably of the next one
        self.shapes: dict[int, Shape] = {}  # by the length of the whole block
        self.heads: dict[tuple[Field, ...], Head] = {}

    def forget_blocks(self) -> None:
        if self.memo or self.beginnings or self.shapes:  # often not: some clients insert in every block
            self.memo.clear()
            self.memo_bytes = 0
            self.beginnings.clear()
            self.shapes.clear()

    def keep_block(self, octets: bytes, block: Block) -> None:
        if len(octets) <= MEMO_BLOCK_BYTES_MAX:
            if len(self.memo) >= MEMO_ENTRIES_MAX or self.memo_bytes > MEMO_BYTES_MAX - len(octets):
                self.memo.clear()
                self.memo_bytes = 0
            self.memo[octets] = block
            self.memo_bytes += len(octets)

    def keep_beginning(self, octets: bytes, head: Head) -> None:
        if 0 < len(octets) <= BEGINNING_BYTES_MAX:
            if len(self.beginnings) >= BEGINNINGS_MAX:
                self.beginnings.clear()
            self.beginnings[octets] = head
            self.run = len(octets)

    def keep_shape(self, block: bytes, run: int, head: Head, constants: tuple[Constant, ...]) -> None:
        """Keeps the shape of `block`, whose values are plain and valid, if its length is new.

        Values of the same lengths whose octets have the same marks are valid too.
        """
        if len(block) <= SHAPE_BYTES_MAX and len(block) not in self.shapes and len(self.shapes) < SHAPES_MAX:
            room = self.list_max - LIST_PER_LITERALS_MAX * (len(block) - run)
            marks = block[run:].translate(MARKS)
            timeout, trace_at = _timeout_in(constants, run), _trace_in(constants, run)
            opened = constants[0][1]
            self.shapes[len(block)] = (
                run, opened, block[:opened], head, room, constants, constants[1:], marks, timeout, trace_at
            )  # fmt: skip

    def head(self, fields: tuple[Field, ...]) -> Head:
        """The one head of these fields. Raises StreamFault where they are malformed."""
        head = self.heads.get(fields)
        if head is None:
            head = self.make_head(fields)
            if head.size <= HEAD_BYTES_MAX:
                if len(self.heads) >= HEADS_MAX:
                    self.heads.clear()
                self.heads[fields] = head
        return head


def _timeout_in(constants: tuple[Constant, ...], run: int) -> slice | None:
    for _, end, octets in constants:
        if octets[1:-1] in TIMEOUT_NAMES:
            return slice(end - run, end - run + octets[-1])
    return None


def _trace_in(constants: tuple[Constant, ...], run: int) -> int:
    """`Extra.trace_at`. The first of several is the one that counts for `Tracer.join`, too."""
    for _, end, octets in constants:
        if octets[1:] == TRACE_ON_WIRE:
            return end - run + TRACE_BYTES - 1
    return NO_TRACE if all(octets[1:-1] in TIMEOUT_NAMES for _, _, octets in constants) else 0

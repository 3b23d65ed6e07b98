# Hot path: bench/hpack.py
"""The memoising HPACK decoder of one connection direction (RFC 7541)."""

from .block import Block

TABLE_SIZE_DEFAULT = 4096
HEADER_LIST_BYTES_MAX = 64 * 1024


class Decoder:
    """Decodes the header blocks of one connection, in wire order.

    `memo` and `trailer_memo` map octets that were seen before to their Block; they are the same dict
    objects for the decoder's life. The switch asks them first:

        block = decoder.memo.get(octets) or decoder.decode(octets)
    """

    memo: dict[bytes, Block]
    trailer_memo: dict[bytes, Block]

    def __init__(
        self,
        *,
        requests: bool,
        table_size_max: int = TABLE_SIZE_DEFAULT,
        header_list_max: int = HEADER_LIST_BYTES_MAX,
        promoted: frozenset[bytes] = frozenset(),
    ) -> None:
        self.memo = {}
        self.trailer_memo = {}

    def decode(self, block: bytes, trailers: bool = False) -> Block:
        """The full path.

        Raises ConnectionFault(COMPRESSION_ERROR or ENHANCE_YOUR_CALM), and StreamFault or
        HeaderListTooLarge after the dynamic table has been updated.
        """
        raise NotImplementedError

    def promote(self, names: frozenset[bytes]) -> None:
        """From now on fields of exactly these names are always in the head. Clears the memos."""
        raise NotImplementedError

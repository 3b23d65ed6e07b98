# Hot path: bench/hpack.py
"""The memoising HPACK encoder of one connection direction (RFC 7541)."""

from .block import NO_EXTRA, Extra, Field


class Encoder:
    """Encodes header blocks for one peer, in the order in which they are written."""

    def __init__(self, table_size_max: int = 4096) -> None:
        raise NotImplementedError

    def set_table_size(self, peer_setting: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; the next block opens with a size update if it matters."""
        raise NotImplementedError

    def encode(self, fields: tuple[Field, ...], extra: Extra = NO_EXTRA) -> bytes:
        """One header block: `fields`, then `extra` as it is.

        Memoised by the identity of `fields`: pass the same tuple object for the same list.
        """
        raise NotImplementedError

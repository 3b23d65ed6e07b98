"""HTTP/2 frames and header blocks for the generator and the backend (RFC 9113, RFC 7541).

Written for speed and for being independent of the code under test: nothing here comes from `sidecar`.
"""

import struct
from collections.abc import Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

SETTINGS_HEADER_TABLE_SIZE = 1
SETTINGS_ENABLE_PUSH = 2
SETTINGS_MAX_CONCURRENT_STREAMS = 3
SETTINGS_INITIAL_WINDOW_SIZE = 4

WINDOW_DEFAULT = 65_535
WINDOW_MAX = 2**31 - 1
TABLE_BYTES_DEFAULT = 4096

HEAD_BYTES = 9
_HEAD = struct.Struct(">HBBBI")  # length in 16 + 8 bits, type, flags, stream
_STATIC_FIRST_DYNAMIC = 62
_STATIC_NAMES = {":authority": 1, ":path": 4, "content-type": 31, "te": 0, "user-agent": 58}
_STATIC_FIELDS = {(":method", "POST"): 3, (":scheme", "http"): 6, (":status", "200"): 8}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def head_at(buffer: bytes, position: int) -> tuple[int, int, int, int]:
    """(payload length, type, flags, stream) of the frame that begins at `position`."""
    high, low, kind, flags, stream = _HEAD.unpack_from(buffer, position)
    return high << 8 | low, kind, flags, stream & 0x7FFF_FFFF


def settings(values: dict[int, int]) -> bytes:
    payload = b"".join(struct.pack(">HI", key, value) for key, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def parse_settings(payload: bytes) -> dict[int, int]:
    return dict(struct.iter_unpack(">HI", payload))


def window_update(stream: int, credit: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", credit))


def grpc_message(body: bytes) -> bytes:
    """A length-prefixed message, not compressed (gRPC over HTTP/2, "Length-Prefixed-Message")."""
    return struct.pack(">BI", 0, len(body)) + body


def integer(value: int, prefix_bits: int, pattern: int) -> bytes:
    """RFC 7541, 5.1."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([pattern | value])
    encoded = bytearray([pattern | limit])
    value -= limit
    while value >= 0x80:
        encoded.append(0x80 | value & 0x7F)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def string(text: str) -> bytes:
    """RFC 7541, 5.2, without Huffman, as grpc C-core writes strings."""
    octets = text.encode("ascii")
    return integer(len(octets), 7, 0) + octets


def literal_prefix(name: str, value_bytes: int) -> bytes:
    """What stands before the value of a literal without indexing with a new name (RFC 7541, 6.2.2)."""
    return b"\x00" + string(name) + integer(value_bytes, 7, 0)


class Blocks:
    """The blocks that repeat on one connection.

    Each block's `first` form inserts its fields into the dynamic table; `again` refers to them. They
    must be sent in the order in which they were added, the first forms before any second form.
    """

    def __init__(self, *blocks: Sequence[tuple[str, str]]) -> None:
        inserted = [field for block in blocks for field in block if field not in _STATIC_FIELDS]
        newest = _STATIC_FIRST_DYNAMIC + len(inserted) - 1
        self._index = {field: newest - age for age, field in enumerate(inserted)} | _STATIC_FIELDS
        self.first = [b"".join(map(self._insert, block)) for block in blocks]
        self.again = [b"".join(integer(self._index[f], 7, 0x80) for f in block) for block in blocks]

    def _insert(self, field: tuple[str, str]) -> bytes:
        if field in _STATIC_FIELDS:
            return integer(_STATIC_FIELDS[field], 7, 0x80)
        name, value = field
        index = _STATIC_NAMES.get(name, 0)
        return integer(index, 6, 0x40) + (b"" if index else string(name)) + string(value)

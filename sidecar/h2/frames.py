"""Frames as bytes (RFC 9113 sections 4 and 6): the 9-byte header, and the small frames that we send.

The switch has no frame objects: it reads headers with `HEADER.unpack_from` and writes them with `header`.
"""

from struct import Struct

from .errors import ErrorCode

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0x0, 0x1, 0x2, 0x3, 0x4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x5, 0x6, 0x7, 0x8, 0x9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

HEADER_BYTES = 9
FRAME_BYTES_MAX = 16_384  # RFC 9113 section 4.2: what every peer accepts, so forwarding never splits
STREAM_ID_MAX = 0x7FFF_FFFF
WINDOW_MAX = 0x7FFF_FFFF
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Length (high 8 and low 16 bits), type, flags, stream id.
HEADER = Struct(">BHBBI")
_SMALL = Struct(">BHBBII")
_SETTING = Struct(">HI")
_GOAWAY = Struct(">II")
U32 = Struct(">I")

PING_BYTES = 8
SETTING_BYTES = 6


def header(length: int, kind: int, flags: int, stream: int) -> bytes:
    """A frame header."""
    return HEADER.pack(length >> 16, length & 0xFFFF, kind, flags, stream)


def rst_stream(stream: int, code: ErrorCode | int) -> bytes:
    return _SMALL.pack(0, 4, RST_STREAM, 0, stream, code)


def window_update(stream: int, increment: int) -> bytes:
    return _SMALL.pack(0, 4, WINDOW_UPDATE, 0, stream, increment)


def settings(values: dict[int, int]) -> bytes:
    payload = b"".join(_SETTING.pack(key, value) for key, value in values.items())
    return header(len(payload), SETTINGS, 0, 0) + payload


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Identifier and value in wire order. `len(payload)` is a multiple of SETTING_BYTES."""
    return [(int(key), int(value)) for key, value in _SETTING.iter_unpack(payload)]


SETTINGS_ACK = header(0, SETTINGS, ACK, 0)


def ping(payload: bytes, ack: bool = False) -> bytes:
    return header(PING_BYTES, PING, ACK if ack else 0, 0) + payload


def goaway(last_stream: int, code: ErrorCode | int, debug: bytes = b"") -> bytes:
    return header(8 + len(debug), GOAWAY, 0, 0) + _GOAWAY.pack(last_stream, code) + debug


def block_frames(block: bytes, flags: int, stream: int) -> bytes:
    """HEADERS, and CONTINUATION where the block is longer than one frame (RFC 9113 section 4.3)."""
    if len(block) <= FRAME_BYTES_MAX:
        return header(len(block), HEADERS, flags | END_HEADERS, stream) + block
    parts = [block[at : at + FRAME_BYTES_MAX] for at in range(0, len(block), FRAME_BYTES_MAX)]
    frames = [header(len(parts[0]), HEADERS, flags, stream) + parts[0]]
    for part in parts[1:-1]:
        frames.append(header(len(part), CONTINUATION, 0, stream) + part)
    frames.append(header(len(parts[-1]), CONTINUATION, END_HEADERS, stream) + parts[-1])
    return b"".join(frames)

# Hot path: bench/switch.py
"""Frames that were written to a connection that does not speak them.

The halves of an exchange write HTTP/2 frames to each other, whoever stands behind. A connection of HTTP/1.1
or of plain bytes reads them back here, once per turn of the loop, and writes what its protocol has for them.
"""

from collections.abc import Iterator

from ..h2.frames import CONTINUATION, END_HEADERS, END_STREAM, HEADER, HEADERS

# The window of a stream, and of a connection, that knows none: its socket is what pushes back.
OPEN_WINDOW = 1 << 30

_unpack = HEADER.unpack_from


def written(out: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, END_STREAM or 0, stream and payload of each frame; header blocks in one piece."""
    at, size = 0, len(out)
    while at < size:
        high, low, kind, flags, sid = _unpack(out, at)
        start = at + 9
        at = start + (high << 16 | low)
        payload = out[start:at]
        end = flags & END_STREAM
        if kind == HEADERS:
            while not flags & END_HEADERS:
                high, low, more, flags, _ = _unpack(out, at)
                assert more == CONTINUATION
                start = at + 9
                at = start + (high << 16 | low)
                payload += out[start:at]
        yield kind, end, sid, payload

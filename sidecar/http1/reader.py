# Hot path: bench/http1.py
"""Frames the bytes of one direction: heads, then pieces of their bodies (RFC 9112 sections 6 and 7).

The owner asks: `head`, then `body` until it has ended, then `head` again. What was not asked for stays in the
buffer, so that whoever reads slowly is not sent on.
"""

from enum import Enum

from . import strict
from .decoder import Decoder
from .errors import BadMessage
from .message import Message
from .strict import CHUNK_EXCESS_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILERS_BYTES_MAX

# What framing each chunk may cost without counting as excess: an honest size line and two line ends.
_CHUNK_FREE_BYTES = 16


class Framing(Enum):
    """How the end of the body is found."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3  # it ends with the connection: responses, tunnels


class Reader:
    """One direction of one connection."""

    __slots__ = (
        "_decoder",
        "_excess",
        "_framing",
        "_in_chunk",
        "_left",
        "_scanned",
        "at",
        "buffer",
        "raw",
        "trailers",
    )

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.buffer = b""
        self.at = 0  # what stands before it was taken
        self.raw = b""  # octets of the last head, as the decoder's memo knows them
        self.trailers = b""  # octets of the trailer section of the last body; b"": none came
        self._framing = Framing.NONE
        self._left = 0  # of the body, or of the chunk
        self._in_chunk = False  # a chunk was begun, and its line end is still to come
        self._scanned = 0  # where the search for the end of the head goes on
        self._excess = 0

    def feed(self, data: bytes) -> None:
        self.buffer = self.buffer[self.at :] + data if self.at < len(self.buffer) else data
        self._scanned -= self.at
        self.at = 0

    @property
    def waiting(self) -> int:
        """Octets received and not taken."""
        return len(self.buffer) - self.at

    def rest(self) -> bytes:
        """Takes all that waits."""
        rest = self.buffer[self.at :]
        self.buffer, self.at, self._scanned = b"", 0, 0
        return rest

    # --- heads ---------------------------------------------------------------------------------------

    def head(self) -> Message | None:
        """The next head once it is whole. Raises BadMessage, which leaves the reader of no use."""
        buffer, at = self.buffer, self.at
        if buffer[at : at + 2] == b"\r\n":  # forgiven once (RFC 9112 section 2.2)
            at = self.at = at + 2
        end = buffer.find(b"\r\n\r\n", max(at, self._scanned - 3))
        if end < 0:
            self._scanned = len(buffer)
            strict.check_beginning(buffer[at:], self._decoder.list_max)
            return None
        end += 4
        if end - at > self._decoder.list_max:
            raise BadMessage(f"the head of the message is over {self._decoder.list_max} bytes", 431)
        self.raw = raw = buffer[at:end]
        self.at = end
        self._scanned = 0
        return self._decoder.memo.get(raw) or self._decoder.decode(raw)  # type: ignore[return-value]

    def frame_request(self, message: Message) -> bool:
        """What follows the head is the body of a request. Whether there is any."""
        return self._frame(message, Framing.NONE)

    def frame_response(self, message: Message, bodiless: bool) -> bool:
        """What follows is the body of a response; `bodiless` by its request or its status."""
        if bodiless:
            self._framing = Framing.NONE
            return False
        return self._frame(message, Framing.CLOSE)

    def frame_tunnel(self) -> None:
        """What follows is another protocol's, to the end of the connection."""
        self._framing = Framing.CLOSE

    def _frame(self, message: Message, otherwise: Framing) -> bool:
        self.trailers = b""
        if message.chunked:
            self._framing = Framing.CHUNKED
            self._left, self._in_chunk, self._excess = 0, False, 0
            return True
        if message.length > 0:
            self._framing, self._left = Framing.LENGTH, message.length
            return True
        self._framing = otherwise if message.length < 0 else Framing.NONE
        return self._framing is not Framing.NONE

    # --- bodies --------------------------------------------------------------------------------------

    def body(self, limit: int) -> tuple[bytes, bool]:
        """At most `limit` octets of the body, and whether it has ended. Raises BadMessage."""
        framing = self._framing
        if framing is Framing.LENGTH:
            at = self.at
            piece = self.buffer[at : at + min(limit, self._left)]
            self.at = at + len(piece)
            self._left -= len(piece)
            return piece, not self._left
        if framing is Framing.CHUNKED:
            return self._chunks(limit)
        if framing is Framing.CLOSE:
            piece = self.buffer[self.at : self.at + limit]
            self.at += len(piece)
            return piece, False
        return b"", True

    def whole_at_end(self) -> bool:
        """The connection has ended. Was the message that was being read one that ends so?"""
        return self._framing is Framing.CLOSE

    def _chunks(self, limit: int) -> tuple[bytes, bool]:
        pieces: list[bytes] = []
        taken = 0
        buffer = self.buffer
        while True:
            if self._left:
                piece = buffer[self.at : self.at + min(self._left, limit - taken)]
                if not piece:
                    break
                pieces.append(piece)
                self.at += len(piece)
                self._left -= len(piece)
                taken += len(piece)
                continue
            if self._in_chunk:
                line_end = buffer[self.at : self.at + 2]
                if line_end != b"\r\n"[: len(line_end)]:
                    raise BadMessage("a chunk is longer than its size")
                if len(line_end) < 2:
                    break
                self.at += 2
                self._in_chunk = False
            size = self._chunk_size()
            if size is None:
                break
            if not size:
                return b"".join(pieces), True
            self._left, self._in_chunk = size, True
        return b"".join(pieces), False

    def _chunk_size(self) -> int | None:
        """Takes a size line, and after the last one the trailers. None: more is needed."""
        buffer, at = self.buffer, self.at
        end = buffer.find(b"\r\n", at, at + CHUNK_LINE_BYTES_MAX)
        if end < 0:
            self._check_line(buffer[at : at + CHUNK_LINE_BYTES_MAX])
            return None
        size = strict.chunk_size(buffer[at:end])
        if size:
            self._excess = max(0, self._excess + end - at + 4 - _CHUNK_FREE_BYTES - size)
            if self._excess > CHUNK_EXCESS_BYTES_MAX:
                raise BadMessage("chunks that carry next to nothing")
            self.at = end + 2
            return size
        return 0 if self._trailers(end + 2) else None

    def _check_line(self, beginning: bytes) -> None:
        if len(beginning) >= CHUNK_LINE_BYTES_MAX or b"\n" in beginning or b"\r" in beginning[:-1]:
            raise BadMessage("a chunk size is malformed")

    def _trailers(self, at: int) -> bool:
        """RFC 9112 section 7.1.2: fields, then an empty line. False: not whole yet."""
        buffer = self.buffer
        if buffer[at : at + 2] == b"\r\n":
            self.at = at + 2
            return True
        end = buffer.find(b"\r\n\r\n", at, at + TRAILERS_BYTES_MAX)
        if end < 0:
            if len(buffer) - at >= TRAILERS_BYTES_MAX:
                raise BadMessage(f"the trailers are over {TRAILERS_BYTES_MAX} bytes", 431)
            return False
        self.trailers = buffer[at : end + 4]
        self.at = end + 4
        return True

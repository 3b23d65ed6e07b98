"""Sans-IO. Bytes between servers: messages cut into frames, on lanes of which the more urgent goes first.

Frame: body bytes u32, kind of the message u8, lane u8, 1 where the message ends here u8, then the body;
big-endian. A message is the bodies of its frames. The frames of one lane stay in order; between two
frames of a long message, those of a more urgent lane may come: a snapshot never holds up a heartbeat.
"""

import struct
from collections import deque
from enum import IntEnum
from typing import NamedTuple

from . import limits
from .errors import PeerRefused

_HEAD = struct.Struct(">IBBB")
HEAD_BYTES = _HEAD.size
_pack, _unpack_from = _HEAD.pack, _HEAD.unpack_from


class Kind(IntEnum):
    """What a message is: a type of weft.raft.v1."""

    OPENING = 1
    OPENED = 2
    CLOSING = 3
    MESSAGE = 4
    CALL = 5
    ANSWER = 6


class Lane(IntEnum):
    """The most urgent first."""

    BEAT = 0  # what an election hangs on: heartbeats, votes, and every answer of Raft
    WORK = 1  # entries, calls and their answers
    BULK = 2  # snapshots


_KINDS = frozenset(Kind)
_LANES = frozenset(Lane)


class Item(NamedTuple):
    """A message that arrived."""

    kind: int
    body: bytes


class Outbox:
    """Messages that wait to be sent, by lane. Whoever fills it bounds it: `waiting` and `waiting_bytes`."""

    def __init__(self) -> None:
        self._lanes: tuple[deque[tuple[int, bytes, int]], ...] = tuple(deque() for _ in Lane)
        self.waiting = 0
        self.waiting_bytes = 0

    def put(self, lane: int, kind: int, body: bytes) -> None:
        self._lanes[lane].append((kind, body, 0))
        self.waiting += 1
        self.waiting_bytes += len(body)

    def take(self, size_max: int) -> bytes:
        """Frames to send now, the most urgent first: about `size_max` bytes of them, b"" when none wait."""
        parts: list[bytes] = []
        size = 0
        for lane, queue in enumerate(self._lanes):
            while queue and size < size_max:
                kind, body, at = queue.popleft()
                piece = body[at : at + limits.FRAME_BYTES_MAX]
                rest = at + len(piece)
                if rest < len(body):
                    queue.appendleft((kind, body, rest))
                else:
                    self.waiting -= 1
                parts += (_pack(len(piece), kind, lane, rest == len(body)), piece)
                size += len(piece) + HEAD_BYTES
                self.waiting_bytes -= len(piece)
        return b"".join(parts)

    def withdraw(self, lane: int, kind: int) -> int:
        """Drops the messages of a kind that have not begun to leave; answers how many."""
        queue = self._lanes[lane]
        kept = [it for it in queue if it[0] != kind or it[2]]
        dropped = [it for it in queue if it[0] == kind and not it[2]]
        queue.clear()
        queue.extend(kept)
        self.waiting -= len(dropped)
        self.waiting_bytes -= sum(len(it[1]) for it in dropped)
        return len(dropped)

    def clear(self) -> None:
        for queue in self._lanes:
            queue.clear()
        self.waiting = self.waiting_bytes = 0


class Inbox:
    """Bytes in, messages out. `size_max` bounds one message; raise it once the other side is known."""

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self._rest = b""  # the beginning of a frame
        self._parts: list[list[bytes]] = [[] for _ in Lane]
        self._kinds = [0] * len(Lane)
        self._sizes = [0] * len(Lane)

    def receive(self, data: bytes) -> list[Item]:
        """The messages that these bytes complete. Raises PeerRefused; then no more may be received."""
        if self._rest:
            data = self._rest + data
        found: list[Item] = []
        at, end = 0, len(data)
        while end - at >= HEAD_BYTES:
            size, kind, lane, last = _unpack_from(data, at)
            _check_head(size, kind, lane, last)
            start = at + HEAD_BYTES
            if end - start < size:
                break
            at = start + size
            body = data[start:at]
            if not last or self._parts[lane]:
                if not self._collected(lane, kind, body, last):
                    continue
                body = b"".join(self._parts[lane])
                self._parts[lane], self._sizes[lane] = [], 0
            elif size > self.size_max:
                raise PeerRefused(self._too_large(size))
            found.append(Item(kind, body))
        self._rest = data[at:]
        return found

    def _collected(self, lane: int, kind: int, body: bytes, last: int) -> bool:
        """Keeps a piece; whether the message is whole now."""
        parts = self._parts[lane]
        if parts and self._kinds[lane] != kind:
            raise PeerRefused(
                f"a message of kind {self._kinds[lane]} goes on as one of kind {kind}; " + _MEND
            )
        if not body and not last:
            raise PeerRefused("a frame without content that is not the end of a message; " + _MEND)
        self._kinds[lane] = kind
        self._sizes[lane] += len(body)
        if self._sizes[lane] > self.size_max:
            raise PeerRefused(self._too_large(self._sizes[lane]))
        parts.append(body)
        return bool(last)

    def _too_large(self, size: int) -> str:
        return f"a message has {size} bytes or more, at most {self.size_max} are taken; {_MEND}"


_MEND = "run the same version on every server"


def _check_head(size: int, kind: int, lane: int, last: int) -> None:
    if size > limits.FRAME_BYTES_MAX:
        raise PeerRefused(
            f"a frame says that it has {size} bytes, at most {limits.FRAME_BYTES_MAX} are taken; {_MEND}"
        )
    if kind not in _KINDS or lane not in _LANES or last > 1:
        raise PeerRefused(f"a frame of unknown kind ({kind}, {lane}, {last}); {_MEND}")

"""Messages between a supervisor and its workers, over a pair of Unix sockets; some bring descriptors.

Both ends are one program, so there is no version. A message is a head and its content; descriptors come with
the first octet of it.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from weft.limits import CONFIG_MESSAGE_BYTES_MAX

from .errors import WorkerLost

MESSAGE_BYTES_MAX = CONFIG_MESSAGE_BYTES_MAX + 1024 * 1024
DESCRIPTORS_MAX = 64
LOST_BYTES = 8  # of that number
_READ_BYTES = 64 * 1024
_HEAD = struct.Struct(">BBIQ")  # kind, descriptors, which question, octets of content


class Kind(IntEnum):
    # To a worker
    SVID = 1  # PEM: chain and key
    CONFIG = 2  # a Delta with everything
    BOUND = 3  # answers BIND: descriptors, or why not
    STATUS = 4  # asks for what `/config` shows
    COUNTERS = 5  # asks for GAINED now
    TAP = 6  # JSON: query, rate
    UNTAP = 7
    REOPEN = 8  # the access log
    DRAIN = 9  # JSON: seconds
    # To the supervisor
    BIND = 20  # JSON: address
    RELEASE = 21
    APPLIED = 22  # answers CONFIG: "" or why not
    ANSWER = 23  # to STATUS
    GAINED = 24  # counters
    TROUBLE = 25  # why callers should go elsewhere
    LINES = 26  # of a tap, after how many requests were lost
    DRAINED = 27


class Message(NamedTuple):
    kind: Kind
    about: int  # which question it asks or answers; 0: none
    content: bytes
    sockets: list[socket.socket]


class Channel:
    """One end. Every method raises WorkerLost when the other end is gone."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._received = bytearray()  # bytes would be copied whole for each piece that comes
        self._passed: deque[int] = deque()
        self._sending = asyncio.Lock()

    async def send(
        self, kind: Kind, content: bytes = b"", about: int = 0, sockets: Sequence[socket.socket] = ()
    ) -> None:
        async with self._sending:
            left = memoryview(_HEAD.pack(kind, len(sockets), about, len(content)) + content)
            passed = [one.fileno() for one in sockets]
            while left:
                try:
                    sent = socket.send_fds(self._end, [left], passed) if passed else self._end.send(left)
                except BlockingIOError:
                    await self._until(writable=True)
                except OSError as error:
                    raise WorkerLost(f"the other end is gone ({error.strerror})") from error
                else:
                    left, passed = left[sent:], []

    async def receive(self) -> Message:
        while len(self._received) < _HEAD.size:
            await self._more()
        kind, count, about, size = _HEAD.unpack_from(self._received)
        if size > MESSAGE_BYTES_MAX or count > DESCRIPTORS_MAX:
            raise WorkerLost("the other end sends nonsense")
        while len(self._received) < _HEAD.size + size:
            await self._more()
        content = bytes(self._received[_HEAD.size : _HEAD.size + size])
        del self._received[: _HEAD.size + size]
        return Message(Kind(kind), about, content, [self._taken() for _ in range(count)])

    def close(self) -> None:
        _close_all(self._passed)
        self._passed.clear()
        self._end.close()

    async def _more(self) -> None:
        while True:
            try:
                data, passed, _, _ = socket.recv_fds(self._end, _READ_BYTES, DESCRIPTORS_MAX)
            except BlockingIOError:
                await self._until(writable=False)
            except OSError as error:
                raise WorkerLost(f"the other end is gone ({error.strerror})") from error
            else:
                break
        self._passed.extend(passed)
        if not data:
            raise WorkerLost("the other end is gone")
        self._received += data

    def _taken(self) -> socket.socket:
        if not self._passed:
            raise WorkerLost("the other end sends nonsense")
        return socket.socket(fileno=self._passed.popleft())

    async def _until(self, *, writable: bool) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        number = self._end.fileno()
        add, remove = (
            (loop.add_writer, loop.remove_writer) if writable else (loop.add_reader, loop.remove_reader)
        )
        add(number, ready.set)
        try:
            await ready.wait()
        finally:
            remove(number)


def _close_all(descriptors: Iterable[int]) -> None:
    for one in descriptors:
        with contextlib.suppress(OSError):
            socket.socket(fileno=one).close()

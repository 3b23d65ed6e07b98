"""An application that remembers how often it saw each id of `tests.support.soak_load`.

A process of its own: prints one JSON line with its port. For each line on stdin, the name of a file, it
writes there an octet for each id, how often it came, and prints how many calls it served. It ends when stdin
ends.
"""

import asyncio
import json
import sys
from pathlib import Path

import uvloop

from bench import frames
from bench.backend import Backend, Served

from .soak_load import ID

_GRPC_PREFIX_BYTES = 5


class Seen(Served):
    def __init__(self) -> None:
        self.times = bytearray()

    def note(self, number: int) -> None:
        if number >= len(self.times):
            self.times.extend(bytes(number - len(self.times) + 65_536))
        self.times[number] = min(self.times[number] + 1, 255)


class SoakApp(Backend):
    """As `Backend`, which answers; here the messages are read as they come."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen)
        self._seen = seen
        self._unread = b""
        self._preface = len(frames.PREFACE)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._read()
        super().data_received(data)

    def _read(self) -> None:
        at, unread = self._preface, self._unread
        while len(unread) - at >= frames.HEAD_BYTES:
            length, kind, _, _ = frames.head_at(unread, at)
            start = at + frames.HEAD_BYTES
            if len(unread) < start + length:
                break
            if kind == frames.DATA and length:
                assert length > _GRPC_PREFIX_BYTES + ID.size, "a message came in pieces"
                self._seen.note(ID.unpack_from(unread, start + _GRPC_PREFIX_BYTES)[0])
            at = start + length
        self._unread, self._preface = unread[at:], max(0, at - len(unread))


async def serve() -> None:
    loop, seen = asyncio.get_running_loop(), Seen()
    server = await loop.create_server(lambda: SoakApp(seen), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await asyncio.to_thread(Path(line.decode().strip()).write_bytes, bytes(seen.times))
        print(json.dumps({"requests": seen.requests}), flush=True)


if __name__ == "__main__":
    uvloop.run(serve())

# Hot path: bench W1 (it shares two cores with the proxies it serves)
"""The application behind the proxies: answers every unary gRPC call with the same message, or with `--http1`
every POST over HTTP/1.1.

A process of its own: prints one JSON line with its port, and its request count for each line on stdin;
ends when stdin ends, so that it cannot outlive its parent. It does not look into request headers, so it
needs no HPACK decoder; it counts a request when its stream ends.
"""

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

from . import frames
from .workloads import MESSAGE_BYTES

_RESPONSE = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity")]
_TRAILERS = [("grpc-status", "0")]
_MESSAGE = frames.grpc_message(b"r" * MESSAGE_BYTES)
_DATA_HEAD = frames.frame(frames.DATA, 0, 0, _MESSAGE)[:5]
_CREDIT_AT_BYTES = 2**30
_HTTP1_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % MESSAGE_BYTES
    + b"r" * MESSAGE_BYTES
)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE).search


def _heads(blocks: list[bytes]) -> tuple[bytes, bytes, bytes, bytes]:
    """(response head, its block, trailers head, their block), each head without its stream id."""
    response, trailers = blocks
    return (
        frames.frame(frames.HEADERS, frames.END_HEADERS, 0, response)[:5],
        response,
        frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 0, trailers)[:5],
        trailers,
    )


_BLOCKS = frames.Blocks(_RESPONSE, _TRAILERS)
_FIRST, _AGAIN = _heads(_BLOCKS.first), _heads(_BLOCKS.again)


class Served:
    """How many calls were answered, over all connections."""

    requests = 0


class Backend(asyncio.Protocol):
    """One connection."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._rest = b""
        self._greeted = False
        self._heads = _FIRST
        self._window = frames.WINDOW_DEFAULT  # what we may send
        self._received = 0
        self._waiting: list[bytes] = []  # stream ids whose answer did not fit into the window

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            frames.settings(
                {
                    frames.SETTINGS_MAX_CONCURRENT_STREAMS: 1000,
                    frames.SETTINGS_INITIAL_WINDOW_SIZE: frames.WINDOW_MAX,  # streams are never credited
                }
            )
            + frames.window_update(0, frames.WINDOW_MAX - frames.WINDOW_DEFAULT)
        )

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        position = 0
        if not self._greeted:
            if len(data) < len(frames.PREFACE):
                self._rest = data
                return
            position, self._greeted = len(frames.PREFACE), True
        end, out = len(data), list[bytes]()
        while end - position >= frames.HEAD_BYTES:
            length, kind, flags, stream = frames.head_at(data, position)
            after = position + frames.HEAD_BYTES + length
            if after > end:
                break
            if kind == frames.DATA:
                self._received += length
            if kind <= frames.HEADERS:
                if flags & frames.END_STREAM:
                    self._answer(data[position + 5 : position + 9], out)
            else:
                self._control(kind, flags, stream, data[position + frames.HEAD_BYTES : after], out)
            position = after
        self._rest = data[position:]
        if self._received > _CREDIT_AT_BYTES:
            out.append(frames.window_update(0, self._received))
            self._received = 0
        if out:
            self._transport.write(b"".join(out))

    def _answer(self, stream: bytes, out: list[bytes]) -> None:
        if self._window < len(_MESSAGE):
            self._waiting.append(stream)
            return
        self._window -= len(_MESSAGE)
        self._served.requests += 1
        head, block, end_head, end_block = self._heads
        out += (head, stream, block, _DATA_HEAD, stream, _MESSAGE, end_head, stream, end_block)
        self._heads = _AGAIN

    def _control(self, kind: int, flags: int, stream: int, payload: bytes, out: list[bytes]) -> None:
        if kind == frames.SETTINGS and not flags & frames.ACK:
            table_bytes = frames.parse_settings(payload).get(frames.SETTINGS_HEADER_TABLE_SIZE, 4096)
            if table_bytes < frames.TABLE_BYTES_DEFAULT:
                sys.exit(f"the proxy allows an HPACK table of {table_bytes} bytes; this backend needs 4096")
            out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        elif kind == frames.PING and not flags & frames.ACK:
            out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
            waiting, self._waiting = self._waiting, []
            for stream_bytes in waiting:
                self._answer(stream_bytes, out)


class Http1Backend(asyncio.Protocol):
    """One connection of HTTP/1.1. Bodies have a content-length, as they left the callers."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            length = _content_length(self._data[:end])
            if length is None:
                sys.exit("a request came without content-length")
            if len(self._data) < end + 4 + length:
                return
            self._data = self._data[end + 4 + length :]
            self._served.requests += 1
            self._transport.write(_HTTP1_ANSWER)


def _content_length(head: bytes) -> int | None:
    found = _LENGTH(head)
    return int(found[1]) if found else None


async def serve(protocol: type[Backend] | type[Http1Backend]) -> None:
    loop, served = asyncio.get_running_loop(), Served()
    server = await loop.create_server(lambda: protocol(served), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(json.dumps({"requests": served.requests}), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(Http1Backend if "--http1" in sys.argv else Backend))

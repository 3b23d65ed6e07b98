"""HTTP/1.1 callers that keep their connections as long as they may, and an application that answers them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

REQUEST = b"POST /things HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nping"
BODY = b"pong" * 64


@dataclass
class HttpLoad:
    """`failed` says what went wrong, of those that did."""

    answered: int = 0
    connections: int = 0
    failed: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def http_app(port: int) -> AsyncIterator[None]:
    """Answers every request with BODY, on connections that it keeps."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"ontent-" in head:
                    await reader.readexactly(4)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


@contextlib.asynccontextmanager
async def http_calling(port: int, callers: int = 4, pause_s: float = 0.005) -> AsyncIterator[HttpLoad]:
    """Requests go on while the block runs. None is tried again."""
    load = HttpLoad()
    over = asyncio.Event()
    tasks = [asyncio.ensure_future(_caller(load, port, pause_s, over)) for _ in range(callers)]
    try:
        yield load
    finally:
        over.set()
        await asyncio.gather(*tasks)


async def _caller(load: HttpLoad, port: int, pause_s: float, over: asyncio.Event) -> None:
    while not over.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            load.connections += 1
            try:
                await _ask_on(load, reader, writer, pause_s, over)
            finally:
                writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            load.failed.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause_s)


async def _ask_on(
    load: HttpLoad,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    pause_s: float,
    over: asyncio.Event,
) -> None:
    """Until it is over, or the connection may not be used again."""
    keeps = True
    while keeps and not over.is_set():
        keeps = await _ask(load, reader, writer)
        await asyncio.sleep(pause_s)


async def _ask(load: HttpLoad, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection may be used again."""
    writer.write(REQUEST)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    body = await reader.readexactly(length)
    if status == 200 and body == BODY:
        load.answered += 1
    else:
        load.failed.append(f"status {status}: {head!r}")
    return b"connection: close" not in head

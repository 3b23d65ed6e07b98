"""An HTTP application that does what a request's header `x-do` asks, and keeps what it has seen.

It runs on a loop and a thread of its own, so that tests of any kind can ask it.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

HOST = "127.0.0.1"


@dataclass
class RowApp:
    """`status` and `well` may be changed while it runs: what it answers, and what `/health` says."""

    name: str
    port: int = 0
    status: int = 200
    well: bool = True
    seen: list[dict[str, Any]] = field(default_factory=list)
    _tried: Counter[str] = field(default_factory=Counter)

    def count(self, path: str = "/") -> int:
        """How many requests have come, for paths that begin with `path`."""
        return sum(it["path"].startswith(path) for it in list(self.seen))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/health":
            return web.Response(status=200 if self.well else 503)
        if request.path == "/socket":
            return await _socket(request)
        told = {
            "name": self.name,
            "method": request.method,
            "path": request.path,
            "target": request.path_qs,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": len(await request.read()),
        }
        self.seen.append(told)
        return web.json_response(told, status=await self._do(request.headers.get("x-do", "")))

    async def _do(self, wish: str) -> int:
        """`status=503`; `once=503` the first time for a value of `key`; `sleep=2`; several with spaces."""
        status = self.status
        words = dict(word.split("=", 1) for word in wish.split())
        if "sleep" in words:
            await asyncio.sleep(float(words["sleep"]))
        if "once" in words:
            key = words.get("key", "")
            self._tried[key] += 1
            return int(words["once"]) if self._tried[key] == 1 else status
        return int(words.get("status", status))

    def tries(self, key: str) -> int:
        return self._tried[key]


async def _socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data.upper())
    return socket


@contextmanager
def row_app(name: str) -> Iterator[RowApp]:
    """Serves until the context ends."""
    app, ready, over = RowApp(name), threading.Event(), threading.Event()

    async def serve() -> None:
        server = web.Application(client_max_size=16 * 1024 * 1024)
        server.add_routes([web.route("*", "/{rest:.*}", app.handle)])
        runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        app.port = runner.addresses[0][1]
        ready.set()
        await asyncio.to_thread(over.wait)
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(30), "the application listens"
    try:
        yield app
    finally:
        over.set()
        thread.join(10)

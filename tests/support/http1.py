"""HTTP/1.1 by hand: applications and callers of a pair of switches."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from sidecar.proxy.engine import Engine
from sidecar.snapshot import Address, Protocol, Rule
from tests.support.switch import Mesh, outbound_port
from tests.support.waiting import until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PATIENCE_S = 20.0


class Pair:
    """web's switch, orders' switch, mTLS between them, and an application behind the latter."""

    def __init__(self, mesh: Mesh, web: Engine, orders: Engine) -> None:
        self.mesh = mesh
        self.web = web
        self.orders = orders

    @property
    def port(self) -> int:
        """Where web's application reaches orders."""
        return outbound_port(self.web)

    async def ask(self, request: bytes, end: bytes = b"") -> bytes:
        """Sends octets; answers what comes until `end`, or until the end of all."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(PATIENCE_S):
                return await (reader.readuntil(end) if end else reader.read())
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def pair(
    app: Address,
    *,
    protocol: Protocol = Protocol.UNKNOWN,
    app_protocol: Protocol = Protocol.UNKNOWN,
    rules: tuple[Rule, ...] | None = None,
    parsed_only: bool = False,
    featured: bool = False,
) -> AsyncIterator[Pair]:
    """`protocol` is declared for the upstream, `app_protocol` for the application. `featured`: with every
    feature of routes and targets on."""
    mesh = Mesh(featured=featured)
    try:
        behind = mesh.snapshot("orders", app=app, rules=rules)
        inbound = dataclasses.replace(behind.inbound, app_protocol=app_protocol, parsed_only=parsed_only)
        orders = await mesh.engine(dataclasses.replace(behind, inbound=inbound))
        there = mesh.upstream("orders", [orders])
        there = there._replace(upstream=dataclasses.replace(there.upstream, protocol=protocol))
        yield Pair(mesh, await mesh.engine(mesh.snapshot("web", upstreams=[there])), orders)
    finally:
        await mesh.close()


@contextlib.asynccontextmanager
async def raw_app(serve: Serve) -> AsyncIterator[Address]:
    """An application of octets: `serve` is called for each connection."""

    running: set[object] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        running.discard(writer)

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await until(lambda: not running, "the application's connections have ended")


@contextlib.asynccontextmanager
async def aiohttp_app() -> AsyncIterator[Address]:
    """An application on aiohttp: echo, streams, a WebSocket, and what a request looked like."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.add_routes(
        [
            web.route("*", "/echo", _echo),
            web.get("/stream/{pieces}", _stream),
            web.get("/socket", _socket),
            web.route("*", "/seen", _seen),
            web.get("/status/{status}", _status),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Address("127.0.0.1", runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["status"]))


async def _echo(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"x-method": request.method})
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(int(request.match_info["pieces"])):
        await response.write(b"%08d" % number * 1024)
    await response.write_eof()
    return response


async def _socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=("chat",))
    await socket.prepare(request)
    async for message in socket:
        if message.type is web.WSMsgType.TEXT:
            await socket.send_str(message.data.upper())
        elif message.type is web.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def _seen(request: web.Request) -> web.Response:
    body = await request.read()
    fields = [(name.lower(), value) for name, value in request.headers.items()]
    return web.json_response(
        {"method": request.method, "target": request.path_qs, "fields": fields, "body": len(body)}
    )

"""The HTTP listener: bytes in, one route, bytes out.

Every error of a request ends in `respond.refuse`; nothing here writes a query string to a log.
"""

from collections.abc import Mapping
from typing import cast

import structlog
from aiohttp import web

from weft.errors import PortTaken

from ..catalog.state import State
from . import blocking
from .errors import BadRequest, BodyTooLarge
from .guard import check_caller
from .handling import Answer, Call, CallHandler, Parts, ReadHandler, Reading
from .query import Consistency, Query
from .respond import Reply, compressed, json_reply, refuse
from .routes import ROUTES, Needs, Route, Table

log = structlog.get_logger(__name__)

BODY_BYTES_MAX = 512 * 1024  # Consul's bound for values; a definition takes a few KiB
HEADER_BYTES_MAX = 16 * 1024
KEEPALIVE_S = 75.0
SHUTDOWN_S = 2.0  # parked queries are ended, and nothing else takes long


class Api:
    """Serves the route table. `parts` are the rooms that handlers use."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._table = Table(ROUTES)
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listens; port 0 is a free one, see `port`. Raises PortTaken."""
        server = web.Server(
            self.handle,
            handler_cancellation=True,  # a parked query ends when its client has gone
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise PortTaken(
                f"HTTP cannot listen on {host}:{port} ({error.strerror}): choose another with --http-port"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        try:
            reply = await self._serve(request)
        except Exception as error:
            reply = refuse(error)
        reply = compressed(reply, request.headers.get("Accept-Encoding", ""))
        headers = {**reply.headers, "Content-Type": reply.content_type, "Vary": "Accept-Encoding"}
        if request.path.startswith("/v1/"):
            headers["X-Consul-Default-ACL-Policy"] = "allow"
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def _serve(self, request: web.BaseRequest) -> Reply:
        check_caller(request.headers)
        path = request.rel_url.path
        if not path.isprintable():
            raise BadRequest("Invalid URL path: it holds unprintable characters")
        if request.method == "OPTIONS":
            methods, _ = self._table.find(path)
            return Reply(headers={"Allow": ",".join(("OPTIONS", *sorted(methods)))})
        route, name = self._table.route(request.method, path)
        query = Query(request.rel_url.query)
        query.check_scope(self._parts.datacenter)
        if route.needs is Needs.STATE:
            return await self._read(route, name, query, request.headers)
        body = await _body(request) if route.needs is Needs.BODY else b""
        handler = cast(CallHandler, route.handler)
        return await handler(Call(query, name, request.headers, body, self._parts))

    async def _read(self, route: Route, name: str, query: Query, headers: Mapping[str, str]) -> Reply:
        handler = cast(ReadHandler, route.handler)
        consistency = query.consistency(headers)

        def look(state: State) -> Answer:
            return handler(Reading(state, query, name, self._parts))

        found = await blocking.read(
            self._parts.log,
            look,
            consistency=consistency,
            after_index=query.index(),
            wait_s=query.wait_s(),
            draw=self._parts.draw,
            monotonic=self._parts.clock.monotonic,
        )
        return self._reply(found, query, consistency)

    def _reply(self, found: Answer, query: Query, consistency: Consistency) -> Reply:
        status = self._parts.log.status()
        headers = {
            "X-Consul-Index": str(max(found.index, 1)),
            "X-Consul-KnownLeader": "true" if status.leader else "false",
            "X-Consul-LastContact": "0",  # the only server answers itself
            "X-Consul-Effective-Consistency": consistency.value,
            "X-Consul-Query-Backend": "blocking-query",
        }
        if found.missing:
            return Reply(404, found.missing.encode(), headers=headers)
        if found.content_type:
            return Reply(200, found.body, found.content_type, headers)
        return json_reply(found.body, pretty=query.flag("pretty"), headers=headers)


async def _body(request: web.BaseRequest) -> bytes:
    """The body within its bound. Raises BodyTooLarge before it has taken in more."""
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise BodyTooLarge(BODY_BYTES_MAX)
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge(BODY_BYTES_MAX)
    return bytes(body)

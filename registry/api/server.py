"""The HTTP listener: bytes in, one route, bytes out.

Every error of a request ends in `respond.refuse`; nothing here writes a query string to a log.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import IO, NamedTuple, cast

import structlog
from aiohttp import web
from multidict import CIMultiDict

from weft.errors import PortTaken

from ..acl.caller import EVERYBODY, Caller, Sieve
from ..audit.errors import AuditUnavailable
from ..audit.trail import following
from ..catalog.state import State
from ..errors import NotReady
from ..filter.expression import Row, filter_of
from ..identity.admission import caller_of
from ..identity.management import token_of
from ..limits.errors import TooSlow
from ..limits.refusals import Limit
from ..limits.requests import Kind
from ..limits.settings import HEAD_TIMEOUT_S
from ..limits.source import source_of
from ..operator.forward import FORWARDED
from . import blocking
from .audit import Noted
from .body import blocks_of, read_body
from .connection import Connections
from .errors import BadRequest, BodyTooLarge
from .guard import check_caller
from .handling import Answer, Call, CallHandler, Parts, ReadHandler, Reading, keeps_all
from .memo import Memo, key_of
from .permission import How
from .query import Consistency, Query
from .respond import JSON_TYPE, Encoded, Reply, compressed, json_reply, refuse
from .route import Needs, Route
from .routes import ROUTES, Table

log = structlog.get_logger(__name__)

HEADER_BYTES_MAX = 16 * 1024
FILE_BLOCK_BYTES = 256 * 1024
KEEPALIVE_S = 75.0
BACKLOG = 1024  # connections that wait to be taken
SHUTDOWN_S = 2.0  # parked queries are ended, and nothing else takes long


class Asked(NamedTuple):
    """A read, as it came."""

    name: str
    query: Query
    headers: Mapping[str, str]
    keeps: Callable[[Row], bool]
    body: bytes
    secret: str  # of the token
    source: str  # whom limits count it to


Elsewhere = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Who answers for what this process does not know: an agent asks a server."""


class Api:
    """Serves a route table. `parts` are the rooms that handlers use; what it lacks goes `elsewhere`."""

    def __init__(
        self, parts: Parts, routes: tuple[Route, ...] = ROUTES, elsewhere: Elsewhere | None = None
    ) -> None:
        self._parts = parts
        self._table = Table(routes)
        self._elsewhere = elsewhere
        self._memo = Memo()
        self._connections: Connections | None = None
        self._listeners: list[asyncio.Server] = []

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listens, also more than once; answers the port (0 takes a free one). Raises PortTaken."""
        if self._connections is None:
            self._connections = self._accepting()
            self._connections.begin()
        try:
            listener = await asyncio.get_running_loop().create_server(
                self._connections,
                host,
                port,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=HEAD_TIMEOUT_S if tls else None,
            )
        except OSError as error:
            name = "HTTPS" if tls else "HTTP"
            raise PortTaken(
                f"{name} cannot listen on {host}:{port} ({error.strerror}): "
                f"choose another with --{name.lower()}-port"
            ) from error
        self._listeners.append(listener)
        bound: int = listener.sockets[0].getsockname()[1]
        return bound

    def _accepting(self) -> Connections:
        return Connections(
            self.handle,
            self._parts.limits,
            handler_cancellation=True,  # a parked query ends when its client has gone
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )

    async def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        if self._connections:
            await self._connections.end()
            self._connections.pre_shutdown()
            await self._connections.shutdown(SHUTDOWN_S)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._elsewhere and not self._table.knows(request.rel_url.path):
            handed_on = await self._hand_on(request, self._elsewhere)
            if isinstance(handed_on, web.StreamResponse):
                return handed_on
            reply = handed_on
        else:
            reply = await self._audited(request)
        reply = compressed(reply, request.headers.get("Accept-Encoding", ""))
        headers = {**reply.headers, "Content-Type": reply.content_type, "Vary": "Accept-Encoding"}
        if request.path.startswith("/v1/"):
            headers["X-Consul-Default-ACL-Policy"] = self._default_policy
        if reply.file:
            return await _send_file(request, reply.file, headers)
        if reply.stream:
            return await _send_stream(request, reply.stream, headers)
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def _audited(self, request: web.BaseRequest) -> Reply:
        """The answer, once the line that tells of it is safe where one is called for."""
        noted, audit = Noted(), self._parts.audit
        try:
            reply = await self._served(request, noted)
        except asyncio.CancelledError:  # the client has gone; what it asked for may be done
            if noted.is_write:
                audit.record(noted.event(request, None))
            raise
        if not noted.has_line(reply):
            return reply
        audit.record(noted.event(request, reply.status))
        if noted.is_write and reply.status < 400:
            try:
                await audit.written()
            except AuditUnavailable as error:
                return refuse(error)
        return reply

    async def _served(self, request: web.BaseRequest, noted: Noted) -> Reply:
        try:
            return await self._serve(request, noted)
        except Exception as error:
            noted.error = error
            if isinstance(error, TooSlow | BodyTooLarge):
                limit = Limit.SLOW_BODY if isinstance(error, TooSlow) else Limit.BODY
                self._parts.limits.refused(limit, source_of(request.remote or ""))
            return refuse(error)

    async def _hand_on(self, request: web.BaseRequest, to: Elsewhere) -> web.StreamResponse | Reply:
        """Raises ConnectionResetError where an answer that had begun broke off."""
        try:
            _check(request)
            return await to(request)
        except ConnectionResetError:
            raise
        except Exception as error:
            return refuse(error)

    async def _serve(self, request: web.BaseRequest, noted: Noted) -> Reply:
        _check(request)
        path = request.rel_url.path
        if request.method == "OPTIONS":
            methods, _ = self._table.find(path)
            return Reply(headers={"Allow": ",".join(("OPTIONS", *sorted(methods)))})
        route, name = self._table.route(request.method, path)
        noted.route = route
        source = source_of(request.remote or "")
        self._parts.limits.request(Kind.WRITE if route.changes else Kind.READ, source)
        query = Query(request.rel_url.query)
        secret = token_of(query.text("token"), request.headers) or self._parts.tokens.of("default")
        if self._parts.remote:
            await self._parts.remote.ask(secret)
        caller = self._admit(route, name, secret, self._parts.log.view(), noted)
        query.check_scope(self._parts.datacenter)
        keeps = _filter(route, query)
        if self._is_for_leader(route, query):
            return await self._ask_leader(request, secret)
        if route.needs is Needs.STATE:
            body = await read_body(request) if route.method == "POST" else b""
            return await self._read(
                route, Asked(name, query, request.headers, keeps, body, secret, source), noted
            )
        body = await read_body(request, route.too_large) if route.needs is Needs.BODY else b""
        handler = cast(CallHandler, route.handler)
        upload = blocks_of(request) if route.needs is Needs.UPLOAD else None
        sieve = Sieve(caller)
        call = Call(query, name, request.headers, body, self._parts, caller, sieve, upload, keeps, source)
        if not route.is_audited:
            return _sifted(await handler(call), caller, sieve)
        self._parts.audit.check()
        with following(noted.trail):
            return _sifted(await handler(call), caller, sieve)

    @property
    def _default_policy(self) -> str:
        callers = self._parts.callers
        return "deny" if callers and not callers.default_allow else "allow"

    def _admit(self, route: Route, name: str, secret: str, state: State, noted: Noted) -> Caller:
        """Raises TokenUnknown, PermissionDenied. An open route is open to every token, known or not."""
        if route.guard.how is How.OPEN:
            return EVERYBODY
        caller = caller_of(self._parts.callers, state, secret)
        noted.trail.accessor_id = caller.accessor_id
        route.guard.check(caller, name, self._parts.agent.node.name)
        return caller

    def _is_for_leader(self, route: Route, query: Query) -> bool:
        leader = self._parts.to_leader
        return route.at_leader and leader is not None and leader.is_elsewhere and not query.flag("stale")

    async def _ask_leader(self, request: web.BaseRequest, secret: str) -> Reply:
        """Raises NotReady, also when the server that sent this on was wrong about who leads."""
        leader = self._parts.to_leader
        if leader is None or FORWARDED in request.headers:
            raise NotReady("the leader has changed; retry later")
        sent = CIMultiDict(request.headers)
        sent["X-Consul-Token"] = secret  # this agent's own where the client has none
        found = await leader.http(request.method, request.raw_path, sent, await read_body(request))
        headers = dict(found.headers)
        return Reply(found.status, found.body, headers.pop("Content-Type", ""), headers)

    async def _read(self, route: Route, asked: "Asked", noted: Noted) -> Reply:
        """The token is resolved anew for each look: what is parked answers by the rules of its end."""
        handler, query = cast(ReadHandler, route.handler), asked.query
        wish = blocking.Wish(
            query.consistency(asked.headers), query.max_stale_s(), query.index(), query.wait_s()
        )

        caller = EVERYBODY
        sieve = Sieve(caller)

        def look(state: State) -> Answer:
            nonlocal caller, sieve
            caller = self._admit(route, asked.name, asked.secret, state, noted)
            sieve = Sieve(caller)
            reading = Reading(state, query, asked.name, self._parts, caller, sieve, asked.keeps, asked.body)
            return self._kept(route, reading) if route.is_kept else handler(reading)

        parts = self._parts
        found, sure = await blocking.read(
            parts.log,
            look,
            wish,
            draw=parts.draw,
            monotonic=parts.clock.monotonic,
            parked=lambda: parts.limits.watch(caller.accessor_id, asked.source),
        )
        return _sifted(self._reply(found, query, sure), caller, sieve)

    def _kept(self, route: Route, reading: Reading) -> Answer:
        """What was answered before to the same question, if it still holds; else made and kept."""
        key = key_of(route.path, reading.name, reading.query, reading.caller.may)
        if kept := self._memo.find(key, reading.state):
            reading.sieve.left_out = kept.left_out
            return kept.answer
        found = cast(ReadHandler, route.handler)(reading)
        return self._memo.keep(
            key, found, left_out=reading.sieve.left_out, pretty=reading.query.flag("pretty")
        )

    def _reply(self, found: Answer, query: Query, consistency: Consistency) -> Reply:
        status = self._parts.log.status()
        headers = {
            **found.headers,
            "X-Consul-Index": str(max(found.index, 1)),
            "X-Consul-KnownLeader": "true" if status.leader else "false",
            "X-Consul-LastContact": str(int(status.last_contact_s * 1000)),
            "X-Consul-Effective-Consistency": consistency.value,
            "X-Consul-Query-Backend": "blocking-query",
        }
        if found.missing is not None:
            return Reply(404, found.missing.encode(), headers=headers)
        if found.content_type:
            return Reply(200, found.body, found.content_type, headers)
        if isinstance(found.body, Encoded):
            return Reply(200, found.body.plain, JSON_TYPE, headers, encoded=found.body)
        return json_reply(found.body, pretty=query.flag("pretty"), headers=headers)


def _check(request: web.BaseRequest) -> None:
    """Raises Forbidden, BadRequest."""
    if not request.secure:
        check_caller(request.headers)  # plaintext is for programs on this machine
    if not request.rel_url.path.isprintable():
        raise BadRequest("Invalid URL path: it holds unprintable characters")


def _filter(route: Route, query: Query) -> Callable[[Row], bool]:
    """What `?filter=` says. Raises BadRequest where nothing can be filtered, InvalidFilter."""
    text = query.text("filter")
    if not text.strip():
        return keeps_all
    if route.filters is None:
        raise BadRequest("Filter expressions are not supported by this endpoint: leave out ?filter=")
    return filter_of(text, route.filters)


def _sifted(reply: Reply, caller: Caller, sieve: Sieve) -> Reply:
    """Tells that a list is not all there is; the anonymous are not told (Consul's rule)."""
    if not sieve.left_out or caller.is_anonymous:
        return reply
    return replace(reply, headers={**reply.headers, "X-Consul-Results-Filtered-By-ACLs": "true"})


async def _send_stream(
    request: web.BaseRequest, stream: AsyncIterator[bytes], headers: Mapping[str, str]
) -> web.StreamResponse:
    """As it comes; a client that goes away ends it, one that is slow is waited for."""
    response = web.StreamResponse(status=200, headers=headers)
    try:
        await response.prepare(request)
        async for part in stream:
            await response.write(part)
        await response.write_eof()
    finally:
        await cast(AsyncGenerator[bytes, None], stream).aclose()
    return response


async def _send_file(
    request: web.BaseRequest, file: IO[bytes], headers: Mapping[str, str]
) -> web.StreamResponse:
    """In blocks; a client that goes away ends it."""
    with file:
        response = web.StreamResponse(status=200, headers=headers)
        await response.prepare(request)
        while block := await asyncio.to_thread(file.read, FILE_BLOCK_BYTES):
            await response.write(block)
        await response.write_eof()
    return response

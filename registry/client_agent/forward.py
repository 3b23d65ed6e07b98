"""Everything of the API that is not about this node: asked of a server, and answered as it comes.

The answer is passed on in blocks, so neither a large snapshot nor a parked query holds memory here. What is
about one connection only (RFC 9110, 7.6.1) is not passed on, in either direction.
"""

from collections.abc import AsyncIterator, Callable
from urllib.parse import unquote_plus

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict

from weft.errors import UsageError

from ..api.body import read_body
from ..api.errors import NotFound
from ..api.query import Query
from ..api.routes import WITHOUT_V1
from ..identity.management import token_of
from ..operator.forward import FORWARDED
from .cached_reads import CachedReads, wish_of
from .headers import end_to_end
from .servers import CALL_S, Asked, Reached, Servers

log = structlog.get_logger(__name__)

FORWARDS_MAX = 3500  # at once, parked ones included; below what a server takes from one address
PARKED_MARGIN_S = 30.0  # what a blocking query may take beyond its wait and jitter
UPLOAD_PATH = "/v1/snapshot"
UPLOAD_S = 600.0  # a restored snapshot is answered once all of it is in force
_OURS = frozenset(
    ("host", "content-length", "expect", "origin", "x-consul-token", "authorization", FORWARDED.lower())
)
"""Request headers that the agent itself decides about. Who may ask from a web page was decided here."""


class TooManyForwards(UsageError):
    """Expected. This agent has as many requests under way as it takes."""


class Forwarder:
    """`default_token` stands for a request without one; `node` is what `near=_agent` means."""

    def __init__(
        self, servers: Servers, reads: CachedReads, default_token: Callable[[], str], node: str
    ) -> None:
        self._servers = servers
        self._reads = reads
        self._default_token = default_token
        self._node = node
        self._count = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Raises NoServers, OutcomeUnknown, BodyTooLarge, TooManyForwards, and what is wrong with a query."""
        if self._count >= FORWARDS_MAX:
            raise TooManyForwards(f"over {FORWARDS_MAX} requests are under way: retry later")
        self._count += 1
        try:
            return await self._pass_on(request)
        finally:
            self._count -= 1

    async def _pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        streams = request.method == "PUT" and request.rel_url.path == UPLOAD_PATH
        body = _blocks(request) if streams else await read_body(request) or None
        query = Query(request.rel_url.query)
        secret = token_of(query.text("token"), request.headers) or self._default_token()
        asked = Asked(
            request.method,
            target(request.rel_url.raw_path_qs, self._node),
            _headers(request, secret),
            body,
            UPLOAD_S if streams else patience_s(query),
            repeatable=not streams,
        )
        wish = wish_of(request.method, request.rel_url.path, query, request.headers)
        found = await (self._reads.answer(asked, wish, secret) if wish else self._servers.begin(asked))
        if isinstance(found, web.StreamResponse):
            return found
        try:
            return await _streamed(request, found)
        finally:
            found.response.close()


def _headers(request: web.BaseRequest, secret: str) -> CIMultiDict[str]:
    sent = end_to_end(request.headers, without=_OURS)
    if secret:
        sent["X-Consul-Token"] = secret
    return sent


async def _streamed(request: web.BaseRequest, found: Reached) -> web.StreamResponse:
    response = web.StreamResponse(status=found.status, headers=end_to_end(found.headers))
    await response.prepare(request)
    if found.head:
        await response.write(found.head)
    await _copy(found.response.content, response)
    return response


async def _copy(content: aiohttp.StreamReader, response: web.StreamResponse) -> None:
    """To the end. What breaks off ends the client's connection: it must not pass for the whole."""
    try:
        while block := await content.readany():
            await response.write(block)
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("a server's answer broke off", reason=str(error))
        response.force_close()
        raise ConnectionResetError("the server was lost") from error
    await response.write_eof()


async def _blocks(request: web.BaseRequest) -> AsyncIterator[bytes]:
    while block := await request.content.readany():
        yield block


def patience_s(query: Query) -> float:
    """How long the first byte of an answer may take. Raises BadRequest."""
    if not (query.index() or query.text("hash")):
        return CALL_S
    wait_s = query.wait_s()
    return wait_s + wait_s / 16 + PARKED_MARGIN_S


def target(path_and_query: str, node: str) -> str:
    """Path and query as the client wrote them, but for a token, which goes into a header (trap 28), and
    `near=_agent`, which is this node and not the server's."""
    if not path_and_query.startswith("/"):  # as `OPTIONS *`; behind a host it would name another one
        raise NotFound(WITHOUT_V1)
    path, mark, query = path_and_query.partition("?")
    kept = [_meant(part, node) for part in query.split("&") if not _is_token(part)] if query else []
    return path + (mark + "&".join(kept) if kept else "")


def _is_token(part: str) -> bool:
    return unquote_plus(part.partition("=")[0]) == "token"


def _meant(part: str, node: str) -> str:
    return f"near={node}" if part == "near=_agent" else part

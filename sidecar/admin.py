"""The admin port: `/ready`, `/metrics`, `/config`, `/tap` over HTTP/1.1, on loopback.

The parsing is `http.server`'s, over bytes that asyncio read: a whole HTTP framework would cost 10 MB of
resident memory in every sidecar for four GETs.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from weft import __version__
from weft.errors import PortTaken, UsageError, WeftError

from .sockets import Sockets
from .traffic import Address

HEAD_BYTES_MAX = 16 * 1024  # a scraper's request is below 1 KiB
READ_TIMEOUT_S = 5.0  # for a request's head; loopback needs milliseconds
CONNECTIONS_MAX = 32  # at once; a scraper and a person with curl
POLL_S = 0.5  # how late the end of a feed is noticed
CLOSE_S = 2.0  # for answers under way when the process ends


class Page(NamedTuple):
    status: HTTPStatus
    content_type: str
    body: bytes


def json_page(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Page:
    return Page(status, "application/json", json.dumps(content, indent=2, default=str).encode() + b"\n")


class Feed(Protocol):
    """Text without end, for `seconds` at most."""

    content_type: str
    seconds: float

    async def next(self, wait_s: float) -> bytes:
        """What there is to send; b"" where nothing came in `wait_s`."""


Pages = Mapping[str, Callable[[], Page | Awaitable[Page]]]
Feeds = Mapping[str, Callable[[str], AbstractContextManager[Feed]]]
"""By path: opened with the query, closed when the reader has gone. Opening raises a WeftError."""


class Admin:
    """Serves `pages` (path to what makes it) and `feeds` on one address."""

    def __init__(self, pages: Pages, feeds: Feeds = MappingProxyType({})) -> None:
        self._pages = pages
        self._feeds = feeds
        self._server: asyncio.Server | None = None
        self._open = 0
        self._closing = False

    async def start(self, host: str, port: int, sockets: Sockets | None = None) -> str:
        """Binds, and answers the address bound as host:port. Raises PortTaken."""
        own = Sockets()
        try:
            listening = (sockets or own).hold(Address(host, port), copies=1)[0].dup()
        except WeftError as error:
            raise PortTaken(
                f"admin address {host}:{port}: cannot listen ({error}); give another --admin-address"
            ) from error
        own.close()
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=HEAD_BYTES_MAX)
        bound = self._server.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    async def close(self) -> None:
        self._closing = True
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):  # a reader that hangs must not keep us
                async with asyncio.timeout(CLOSE_S):
                    await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    exchange = _Exchange(await reader.readuntil(b"\r\n\r\n"), self._pages, self._feeds)
                    await exchange.made()
                    writer.write(exchange.response())
                    await writer.drain()
                if exchange.feed is not None:
                    await self._feed(exchange, reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # whoever it was, it did not speak HTTP; it is told by the close
        finally:
            self._open -= 1
            writer.close()

    async def _feed(
        self, exchange: "_Exchange", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Sends what comes until its time is over or the reader has gone."""
        assert exchange.feed is not None
        try:
            with exchange.feed(exchange.query) as feed:
                writer.write(exchange.begun(feed.content_type))
                async with asyncio.timeout(feed.seconds):
                    while not (self._closing or reader.at_eof()):
                        await writer.drain()
                        lines = await feed.next(POLL_S)
                        if writer.transport.is_closing():  # meanwhile; uvloop would raise
                            break
                        writer.write(lines)
        except WeftError as error:
            writer.write(exchange.refused(error))


def answer(head: bytes, pages: Pages) -> bytes:
    """The whole response to a request's head, after which the connection closes."""
    return _Exchange(head, pages, {}).response()


class _Exchange(BaseHTTPRequestHandler):
    """One request. The base class parses the head and writes the response's; there is no socket."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # the base class's HTTP/0.9 would answer without a status line
    server_version = f"weft/{__version__}"
    sys_version = ""

    def __init__(self, head: bytes, pages: Pages, feeds: Feeds) -> None:
        self._pages = pages
        self._feeds = feeds
        self._waits: Awaitable[Page] | None = None  # a page that is being made
        self.feed: Callable[[str], AbstractContextManager[Feed]] | None = None  # nothing is answered yet
        self.query = ""
        self.client_address = ("", 0)
        self.rfile = BytesIO(head)
        self.wfile = self._out = BytesIO()
        self.raw_requestline = self.rfile.readline(HEAD_BYTES_MAX)
        if self.parse_request():
            self._dispatch()

    async def made(self) -> None:
        """Waits for a page that takes a while."""
        if self._waits is not None:
            self._send(await self._waits)

    def response(self) -> bytes:
        return self._out.getvalue()

    def begun(self, content_type: str) -> bytes:
        """The head of a feed; it ends with the connection."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        self.end_headers()
        return self._out.getvalue()

    def refused(self, error: WeftError) -> bytes:
        usage = isinstance(error, UsageError)
        self._send(_text(HTTPStatus.BAD_REQUEST if usage else HTTPStatus.SERVICE_UNAVAILABLE, str(error)))
        return self._out.getvalue()

    def log_message(self, *_: Any) -> None:
        """Not logged: scrapes come every few seconds."""

    def _dispatch(self) -> None:
        if self.command not in ("GET", "HEAD"):
            self._send(_text(HTTPStatus.METHOD_NOT_ALLOWED, "use GET"))
        elif not _is_loopback(self.headers.get("Host", "")):
            # A page in a browser that rebinds its own name to 127.0.0.1 comes with that name here.
            self._send(_text(HTTPStatus.MISDIRECTED_REQUEST, "use a loopback address as host"))
        else:
            path, _, self.query = self.path.partition("?")
            self._answer(path)

    def _answer(self, path: str) -> None:
        if make := self._pages.get(path):
            page = make()
            if isinstance(page, Page):
                self._send(page)
            else:
                self._waits = page
        elif path in self._feeds and self.command == "GET":
            self.feed = self._feeds[path]
        else:
            known = ", ".join(sorted((*self._pages, *self._feeds)))
            self._send(_text(HTTPStatus.NOT_FOUND, f"there are {known}"))

    def _send(self, page: Page) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)


def _text(status: HTTPStatus, message: str) -> Page:
    return Page(status, "text/plain; charset=utf-8", message.encode() + b"\n")


def _is_loopback(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False

"""The admin port: `/ready`, `/metrics`, `/config` over HTTP/1.1, on loopback.

The parsing is `http.server`'s, over bytes that asyncio read: a whole HTTP framework would cost 10 MB of
resident memory in every sidecar for three GETs.
"""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from ipaddress import ip_address
from typing import Any, NamedTuple

from weft import __version__
from weft.errors import PortTaken

HEAD_BYTES_MAX = 16 * 1024  # a scraper's request is below 1 KiB
READ_TIMEOUT_S = 5.0  # for a request's head; loopback needs milliseconds
CONNECTIONS_MAX = 32  # at once; a scraper and a person with curl


class Page(NamedTuple):
    status: HTTPStatus
    content_type: str
    body: bytes


def json_page(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Page:
    return Page(status, "application/json", json.dumps(content, indent=2, default=str).encode() + b"\n")


class Admin:
    """Serves `pages` (path to what makes it) on one address."""

    def __init__(self, pages: dict[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self, host: str, port: int) -> str:
        """Binds, and answers the address bound as host:port. Raises PortTaken."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES_MAX)
        except OSError as error:
            raise PortTaken(
                f"admin address {host}:{port}: cannot listen ({error.strerror}); give another --admin-address"
            ) from error
        bound = self._server.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    writer.write(answer(await reader.readuntil(b"\r\n\r\n"), self._pages))
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # whoever it was, it did not speak HTTP; it is told by the close
        finally:
            self._open -= 1
            writer.close()


def answer(head: bytes, pages: dict[str, Callable[[], Page]]) -> bytes:
    """The whole response to a request's head, after which the connection closes."""
    return _Exchange(head, pages).response()


class _Exchange(BaseHTTPRequestHandler):
    """One request. The base class parses the head and writes the response's; there is no socket."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # the base class's HTTP/0.9 would answer without a status line
    server_version = f"weft/{__version__}"
    sys_version = ""

    def __init__(self, head: bytes, pages: dict[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self.client_address = ("", 0)
        self.rfile = BytesIO(head)
        self.wfile = self._out = BytesIO()
        self.raw_requestline = self.rfile.readline(HEAD_BYTES_MAX)
        if self.parse_request():
            self._dispatch()

    def response(self) -> bytes:
        return self._out.getvalue()

    def log_message(self, *_: Any) -> None:
        """Not logged: scrapes come every few seconds."""

    def _dispatch(self) -> None:
        if self.command not in ("GET", "HEAD"):
            self._send(_text(HTTPStatus.METHOD_NOT_ALLOWED, "use GET"))
        elif not _is_loopback(self.headers.get("Host", "")):
            # A page in a browser that rebinds its own name to 127.0.0.1 comes with that name here.
            self._send(_text(HTTPStatus.MISDIRECTED_REQUEST, "use a loopback address as host"))
        elif make := self._pages.get(self.path.partition("?")[0]):
            self._send(make())
        else:
            self._send(_text(HTTPStatus.NOT_FOUND, "there are " + ", ".join(sorted(self._pages))))

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

"""Requests to the servers: over HTTPS, to whichever of them answers.

A request that no server can have taken in is sent to the next one; so is one that only reads. A write whose
answer is lost is not repeated: its caller is told, as by a server.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import structlog
from multidict import MultiMapping
from yarl import URL

from weft.bodies import read_up_to
from weft.errors import ConfigError

from ..errors import NoServers, OutcomeUnknown
from .fleet import Fleet

log = structlog.get_logger(__name__)

CONNECT_S = 3.0  # a handshake across a continent takes a tenth; a dead machine never answers
CALL_S = 10.0  # an answer that waits for nothing; longer means that the server is gone
AWAY_S = 2.0  # after all servers were silent, one request in this time finds out whether they still are
SILENT_S = 0.5  # a refused connection takes a thousandth
ANSWER_BYTES_MAX = 16 * 1024 * 1024  # of answers that the agent itself reads
KEEPALIVE_S, KEEPALIVES = 10, 3  # a parked query learns within 40 s that its server has gone
NO_LEADER = b"No cluster leader"  # nothing was written, nothing was read: another server may know one
_REFUSAL_BYTES_MAX = 64 * 1024
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class Trust:
    """What a server must prove: a chain to a root, and this name. The root is that of the file, or what the
    agent was told when it joined, PEM; without either there are only servers on this machine."""

    ca_file: Path | None
    server_name: str
    told: Callable[[], str] = str

    @property
    def roots_pem(self) -> str:
        """What was told, where that is what counts."""
        return "" if self.ca_file else self.told()

    def context(self) -> ssl.SSLContext:
        """Raises ConfigError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name and the chain
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cafile=self.ca_file, cadata=self.roots_pem or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"--tls-ca {self.ca_file}: cannot be used ({error}); give a PEM file"
            ) from error
        return context


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `target` is the encoded path with its query; `within_s` bounds the time to the first byte.
    `repeatable` False: the body can be sent once only."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Any = None
    within_s: float = CALL_S
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Reached:
    """An answer that has begun. `head` is what was read of the body already."""

    status: int
    headers: MultiMapping[str]
    head: bytes
    response: aiohttp.ClientResponse


class _NotTaken(Exception):
    """No connection: the server cannot know of the request."""


class _Lost(Exception):
    """It was sent, and no answer came."""


class Servers:
    """`fleet` chooses; `now` is a monotonic clock in seconds."""

    def __init__(self, fleet: Fleet, trust: Trust, now: Callable[[], float]) -> None:
        self.fleet = fleet
        self._now = now
        self._trust = trust
        self._away_until = 0.0  # 0: a server answered last, or said at once that it does not
        self._roots_pem = trust.roots_pem
        self._made = trust.context() if trust.ca_file or self._roots_pem else None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_watched_socket),  # callers are bounded
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def close(self) -> None:
        await self._session.close()

    @property
    def _context(self) -> ssl.SSLContext | None:
        """A context cannot forget a root: another one is made where the agent was told of others."""
        if self._trust.roots_pem != self._roots_pem:
            self._made, self._roots_pem = self._trust.context(), self._trust.roots_pem
        return self._made

    @asynccontextmanager
    async def reach(self, asked: Asked) -> AsyncIterator[Reached]:
        """The answer of a server, which has begun.

        Raises NoServers where none takes it, OutcomeUnknown where one may have.
        """
        found = await self.begin(asked)
        try:
            yield found
        finally:
            found.response.close()

    async def begin(self, asked: Asked) -> Reached:
        """As `reach`, for the caller to close. Raises NoServers, OutcomeUnknown."""
        began_at = self._now()
        if began_at < self._away_until:
            raise NoServers("No known Consul servers")
        if self._away_until:
            self._away_until = began_at + AWAY_S  # this one finds out; the others need not wait for it
        try:
            found = await self._first(asked)
        except NoServers:
            # Servers that are silent, and do not refuse at once, cost each who asks seconds.
            is_silent = self._now() - began_at >= SILENT_S
            self._away_until = self._now() + AWAY_S if is_silent else 0.0
            raise
        self._away_until = 0.0
        return found

    async def _first(self, asked: Asked) -> Reached:
        refused: Reached | None = None
        for address in self.fleet.to_try(self._now()):
            try:
                found = await self._ask(address, asked)
            except _NotTaken as error:
                self._failed(address, error)
                continue
            except _Lost as error:
                self._failed(address, error)
                if asked.method in _SAFE and asked.repeatable:
                    continue
                raise OutcomeUnknown(f"the server {address} was lost before it answered") from error
            if refused:
                refused.response.close()
            if not (asked.repeatable and found.status == 500 and NO_LEADER in found.head):
                self.fleet.answered(address)
                return found
            self.fleet.failed(address, self._now())
            refused = found
        if refused is None:
            raise NoServers("No known Consul servers")
        return refused

    def _failed(self, address: str, error: Exception) -> None:
        log.debug("a server does not answer", server=address, reason=str(error))
        self.fleet.failed(address, self._now())

    async def _ask(self, address: str, asked: Asked) -> Reached:
        """Raises _NotTaken, _Lost."""
        url = URL(_base(address) + asked.target, encoded=True)
        by_tls = url.scheme == "https"
        try:
            async with asyncio.timeout(asked.within_s):
                response = await self._session.request(
                    asked.method,
                    url,
                    headers=asked.headers,
                    data=asked.body,
                    allow_redirects=False,
                    ssl=self._context if by_tls and self._context else True,
                    server_hostname=self._trust.server_name if by_tls else None,
                )
                # Refusals are small, and tell whether another server is to be asked.
                refused = response.status == 500
                head = await read_up_to(response.content, _REFUSAL_BYTES_MAX) if refused else b""
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _NotTaken(str(error) or type(error).__name__) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Lost(str(error) or type(error).__name__) from error
        return Reached(response.status, response.headers, head, response)

    async def ask(
        self, method: str, target: str, token: str, body: object = None, *, within_s: float = CALL_S
    ) -> "Told":
        """A call of the agent's own, and its whole answer. Raises NoServers, OutcomeUnknown."""
        headers = {"X-Consul-Token": token} if token else {}
        data = None if body is None else orjson.dumps(body)
        async with self.reach(Asked(method, target, headers, data, within_s)) as found:
            try:
                async with asyncio.timeout(within_s):
                    rest = await _rest(found.response.content)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise OutcomeUnknown(f"a server's answer broke off ({error})") from error
            return Told(found.status, found.headers, found.head + rest)


@dataclass(frozen=True, slots=True)
class Told:
    """A whole answer."""

    status: int
    headers: MultiMapping[str]
    body: bytes

    def json(self) -> Any:
        """None for an empty one. Raises OutcomeUnknown for what is no JSON."""
        try:
            return orjson.loads(self.body) if self.body else None
        except orjson.JSONDecodeError as error:
            raise OutcomeUnknown(f"a server's answer is no JSON ({error})") from None


async def _rest(content: aiohttp.StreamReader) -> bytes:
    """To the end. Raises OutcomeUnknown for more than the agent reads."""
    found = bytearray()
    while chunk := await content.readany():
        found += chunk
        if len(found) > ANSWER_BYTES_MAX:
            raise OutcomeUnknown(f"a server's answer is over {ANSWER_BYTES_MAX} bytes")
    return bytes(found)


def _base(address: str) -> str:
    return address if "://" in address else f"https://{address}"


def _watched_socket(info: Any) -> socket.socket:
    """The kernel ends connections to machines that have gone, also while nothing is sent."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVES)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, KEEPALIVE_S * (KEEPALIVES + 1) * 1000)
    return made

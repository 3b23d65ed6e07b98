"""Listens on UDP and TCP, at one port: bytes in, bytes out (RFC 1035, 4.2; RFC 7766)."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import Protocol, cast

import structlog
from dns.rcode import SERVFAIL

from weft.aio import Tasks
from weft.errors import PortTaken

from ..audit.event import Event, Outcome
from ..audit.log import Audit, Unaudited
from ..limits.errors import OverRate
from ..limits.guard import Limits
from ..limits.rate import RateLimit
from ..limits.refusals import Limit
from ..limits.requests import Kind as RequestKind
from ..limits.settings import LimitSettings
from ..limits.source import source_of
from . import limits
from .desk import Denial, Forward
from .message import HEADER, Transport, bare

log = structlog.get_logger(__name__)

PORT_TRIES = 16  # of a port that is free for TCP, until it is free for UDP too
TCP_SLOWED_S = 0.1  # before each answer to who asks too often
_LENGTH_BYTES = 2


class Takes(Protocol):
    """What a Desk does."""

    def take(self, wire: bytes, transport: Transport) -> bytes | Forward | Denial | None: ...


class Answers(Protocol):
    """What Recursors do."""

    async def answer(self, asked: Forward) -> bytes: ...


class DnsServer:
    """Answers at every address of a host. `monotonic` is a clock in seconds."""

    def __init__(
        self,
        desk: Takes,
        recursors: Answers,
        monotonic: Callable[[], float],
        audit: Audit | None = None,
        guard: Limits | None = None,
    ) -> None:
        self._desk = desk
        self._audit = audit or Unaudited()
        self._limits = guard or Limits(LimitSettings(), monotonic)
        self._recursors = recursors
        self._monotonic = monotonic
        self._rate = RateLimit(limits.QUERIES_PER_S, limits.QUERIES_BURST)
        self._tasks = Tasks()
        self._servers: list[asyncio.Server] = []
        self._sockets: list[asyncio.DatagramTransport] = []
        self._connections: Counter[str] = Counter()  # by source

    async def start(self, host: str, port: int) -> int:
        """Listens; answers the port (0 takes a free one). Raises PortTaken."""
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            for address in dict.fromkeys(str(info[4][0]) for info in found):
                port = await self._bind(address, port)
        except OSError as error:
            raise PortTaken(
                f"DNS cannot listen on {host}:{port} ({error.strerror}): "
                "choose another with --dns-port, or none with --dns-port -1"
            ) from error
        return port

    async def _bind(self, address: str, port: int) -> int:
        """Takes a port for both transports. Raises OSError."""
        loop = asyncio.get_running_loop()
        for left in reversed(range(PORT_TRIES)):
            server = await asyncio.start_server(self._accept, address, port)
            listening = server.sockets[0]
            # Connections inherit it; the kernel would keep up to 4 MiB for each that does not read.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.TCP_BYTES_MAX)
            bound: int = listening.getsockname()[1]
            try:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Udp(self), local_addr=(address, bound)
                )
            except OSError:
                server.close()
                if port or not left:
                    raise
                continue
            self._servers.append(server)
            self._sockets.append(transport)
            return bound
        raise AssertionError("unreachable: the last try raises")

    async def close(self) -> None:
        """Stops listening and ends every connection."""
        for server in self._servers:
            server.close()
        for transport in self._sockets:
            transport.close()
        await self._tasks.close()
        for server in self._servers:
            await server.wait_closed()

    # UDP

    def datagram(self, udp: "_Udp", wire: bytes, source: tuple[str, int]) -> None:
        """Answers one datagram, or leaves it where its source asks too often."""
        if udp.is_paused or not self._may_ask(source_of(source[0])):
            return
        answer = self._take(wire, Transport.UDP, source)
        if isinstance(answer, Forward):
            self._tasks.spawn(self._forward(udp, answer, source), "DNS recursion")
        elif answer:
            udp.send(answer, source)

    def _may_ask(self, source: str) -> bool:
        """Within the rate of DNS, and within that of all reads."""
        if not self._rate.take(source, self._monotonic()):
            self._limits.refused(Limit.DNS_RATE_OF_SOURCE, source)
            return False
        try:
            self._limits.request(RequestKind.READ, source)
        except OverRate:
            return False
        return True

    async def _forward(self, udp: "_Udp", asked: Forward, source: tuple[str, int]) -> None:
        udp.send(await self._recursors.answer(asked), source)

    # TCP

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        if peer is None:  # gone already
            writer.transport.abort()
            return
        source = source_of(peer[0])
        is_full = self._connections.total() >= limits.TCP_CONNECTIONS_MAX
        if is_full or self._connections[source] >= limits.TCP_CONNECTIONS_PER_SOURCE_MAX:
            self._limits.refused(Limit.DNS_CONNECTIONS, source)
            writer.transport.abort()
            return
        writer.transport.set_write_buffer_limits(high=0)  # an answer is taken before the next is made
        self._connections[source] += 1
        self._tasks.spawn(self._converse(peer, reader, writer), "DNS connection")

    async def _converse(
        self, peer: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        source = source_of(peer[0])
        try:
            while wire := await _next(reader):
                if not self._may_ask(source):
                    await asyncio.sleep(TCP_SLOWED_S)
                answer = self._take(wire, Transport.TCP, peer)
                if isinstance(answer, Forward):
                    answer = await self._recursors.answer(answer)
                if not answer:
                    return
                writer.write(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
                async with asyncio.timeout(limits.TCP_IDLE_S):
                    await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass  # gone, idle, or it does not read
        finally:
            writer.transport.abort()
            self._connections[source] -= 1
            if not self._connections[source]:
                del self._connections[source]

    def _take(self, wire: bytes, transport: Transport, source: tuple[str, int]) -> bytes | Forward | None:
        """Whatever bytes come, the process goes on."""
        try:
            answer = self._desk.take(wire, transport)
            if not isinstance(answer, Denial):
                return answer
            self._audit.record(_event(answer, transport, source))
            return answer.answer
        except Exception:
            log.exception("a DNS query failed", bytes=len(wire))
            number, flags, *_ = HEADER.unpack_from(wire)
            return bare(number, flags, SERVFAIL)


async def _next(reader: asyncio.StreamReader) -> bytes:
    """One query; b"" for what is too long to be one. Raises EOFError, TimeoutError."""
    async with asyncio.timeout(limits.TCP_IDLE_S):
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if length > limits.QUESTION_BYTES_MAX:
            return b""
        return await reader.readexactly(length)


def _event(denial: Denial, transport: Transport, source: tuple[str, int]) -> Event:
    """`source` is the word of whoever sent a datagram."""
    host, port = source[:2]
    return Event(
        operation=f"DNS {transport.name}",
        outcome=Outcome.DENIED,
        resource=f"{denial.question.name} {denial.question.kind.name}",
        source=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        reason=denial.reason,
    )


class _Udp(asyncio.DatagramProtocol):
    """Hands datagrams on. `is_paused`: the kernel takes no more just now, and what is said is lost."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport
        self.is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.datagram(self, data, addr)

    def send(self, answer: bytes, to: tuple[str, int]) -> None:
        if not self.is_paused and not self._transport.is_closing():
            self._transport.sendto(answer, to)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

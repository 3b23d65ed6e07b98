"""A TLS stream between two servers with a session on it: reads as bytes come, writes once per turn.

Everything that is said within a turn (`turn.py`) leaves in one write. Of what does not fit into the
socket, only `limits.WRITE_BYTES_MAX` is out of our hands; the rest can be overtaken by what is more urgent.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

from weft.errors import WeftError
from weft.pb.raft.v1 import raft_pb2 as pb

from ..errors import NotReady
from . import limits
from .errors import PeerRefused
from .opening import PROTOCOL
from .peer_tls import Proof, reason_of
from .session import Phase, Said, Session
from .turn import Turn

TLS_SHUTDOWN_S = 1.0
Take = Callable[[Said], None]


class Connection(asyncio.Protocol):
    """`take` is given what arrives; it may raise PeerRefused, which ends the connection.

    `ended` says why it is over: PeerRefused when one side refused the other, else NotReady.
    """

    def __init__(self, session: Session, take: Take, turn: Turn) -> None:
        self.session = session
        self.take = take
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[WeftError] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._posted = self._full = self._choked = False
        self._alarm: asyncio.TimerHandle | None = None

    # Writing

    def post(self) -> None:
        """Something was put into the session: it leaves at the end of this turn."""
        if not self._posted:
            self._posted = True
            self._turn.send(self)

    def flush(self) -> None:
        """Sends what waits, as far as the socket takes it."""
        self._posted = False
        transport, outbox = self._transport, self.session.outbox
        if transport is None or self._full or transport.is_closing():
            return
        if data := outbox.take(limits.WRITE_BYTES_MAX):
            transport.write(data)
        if outbox.waiting and not self._full:
            self.post()
        if self._choked and outbox.waiting_bytes <= limits.ANSWERS_BYTES_MAX // 2:
            self._choked = False
            transport.resume_reading()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.flush()

    def answer(self, answer: pb.Answer) -> None:
        """Sends an answer. A caller that reads none is not read from either."""
        if self.ended.done() or self._transport is None:
            return
        self.session.answer(answer)
        self.post()
        if not self._choked and self.session.outbox.waiting_bytes > limits.ANSWERS_BYTES_MAX:
            self._choked = True
            self._transport.pause_reading()

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # TLS of either event loop derives from less
        self._transport.set_write_buffer_limits(high=limits.WRITE_BYTES_MAX)
        _tune(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self._turn.run(lambda: self._receive(data))

    def _receive(self, data: bytes) -> None:
        try:
            for said in self.session.receive(data):
                if type(said) is pb.Closing:
                    self._end(PeerRefused(" ".join(said.reason.split()) or "the other server closed"))
                    self.abort()
                    return
                self.take(said)
        except PeerRefused as error:
            self.close(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(NotReady(reason_of(exc) if exc else "the connection was closed"))
        if not self._lost.done():
            self._lost.set_result(None)

    # The end

    @property
    def proof(self) -> Proof:
        """What TLS has shown of the other side."""
        found: Any = self._transport.get_extra_info("ssl_object") if self._transport else None
        return Proof(found.getpeercert(True) or b"", found.selected_alpn_protocol() or "")

    def expire_after(self, seconds: float, error: WeftError) -> None:
        """Closes the connection then: it never outlives the certificate that it rests on."""
        self._alarm = self._loop.call_later(seconds, self.close, error)

    def _end(self, error: WeftError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)
        if self._alarm:
            self._alarm.cancel()

    def close(self, error: WeftError) -> None:
        """Tells the other side why, and ends."""
        if not self.ended.done():
            self.session.close(str(error))
            self.finish()
            self._end(error)

    def finish(self) -> None:
        """Sends what waits, and ends."""
        self.flush()
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    async def gone(self) -> None:
        """Returns when the socket is closed; forces it after a while."""
        if self._transport is None:
            return
        await asyncio.wait((self._lost,), timeout=TLS_SHUTDOWN_S)
        if not self._lost.done():
            self._transport.abort()
            await self._lost


async def call(
    address: str,
    context: ssl.SSLContext,
    name: str,
    check: Callable[[Proof], float],
    opening: pb.Opening,
    turn: Turn,
    timeout_s: float = limits.OPENING_TIMEOUT_S,
) -> tuple[Connection, pb.Opened]:
    """Calls the server at `host:port`, which must prove to be `name`; `check` answers for how many seconds
    its proof holds. The connection takes nothing yet: set `take`.

    Raises NotReady when nobody answers, PeerRefused when either side refuses the other.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Any] = loop.create_future()
    connection = Connection(Session(Phase.CALLING), lambda said: _first(opened, said), turn)
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(
                lambda: connection,
                host.strip("[]"),
                int(port),
                ssl=context,
                server_hostname=name,
                ssl_handshake_timeout=limits.OPENING_TIMEOUT_S,
                ssl_shutdown_timeout=TLS_SHUTDOWN_S,
            )
            connection.expire_after(check(connection.proof), PeerRefused("its certificate has expired"))
            connection.session.open(opening)
            connection.post()
            await asyncio.wait((opened, connection.ended), return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            raise connection.ended.result()
        if opened.result().protocol != PROTOCOL:
            raise PeerRefused(f"it speaks protocol {opened.result().protocol}, this server {PROTOCOL}")
    except BaseException as error:
        connection.abort()
        raise _told(address, error) from None
    return connection, opened.result()


def _first(opened: "asyncio.Future[Any]", said: Said) -> None:
    if opened.done():
        raise PeerRefused("it answers more than it was asked; run the same version on every server")
    opened.set_result(said)


def _told(address: str, error: BaseException) -> BaseException:
    if isinstance(error, PeerRefused | NotReady):
        return type(error)(f"the server at {address} answers: {error}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return PeerRefused(f"the server at {address} is no server of ours: {reason_of(error)}")
    if isinstance(error, TimeoutError):
        return NotReady(f"the server at {address} does not answer")
    if isinstance(error, OSError | ValueError):
        return NotReady(f"the server at {address} cannot be reached: {reason_of(error)}")
    return error


def _tune(sock: Any) -> None:
    """Sends at once, queues little in the kernel, and notices soon when the other side is gone."""
    silence_ms = int(limits.PEER_SILENCE_S * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.WRITE_BYTES_MAX)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)

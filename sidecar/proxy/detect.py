"""What a connection speaks, told by its first bytes where nobody has declared it."""

import asyncio
import re
from collections.abc import Callable
from enum import Enum
from typing import cast

from ..h2.frames import PREFACE
from ..http1.strict import LINE_BYTES_MAX

# A client that is silent for so long waits for the server to begin: SMTP, MySQL, SSH.
SILENCE_S = 1.0
# Connections that have said nothing yet, of one listener.
SNIFFING_MAX = 4096

_METHODS = (
    rb"GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PROPFIND|REPORT|SEARCH|QUERY|PURGE|LINK|UNLINK"
)
_is_request_line = re.compile(rb"(?:\r\n)?(?:%b) [^ \r\n]+ HTTP/1\.[01]\r?\n" % _METHODS).match
_may_be_request_line = re.compile(
    rb"(?:\r\n)?(?:CONNECT [^ \r\n]*|(?:%b) (?:[/*hH][^ \r\n]*)?)(?: [HTP/1.0]*)?\r?$" % _METHODS
).match
_begins_like_method = re.compile(rb"(?:\r\n?)?[A-Z]{0,9}$").match


class Spoken(Enum):
    HTTP1 = "http/1.1"
    HTTP2 = "h2"
    OTHER = "tcp"


def spoken(data: bytes) -> Spoken | None:
    """What `data` begins; None as long as more could tell."""
    if data[: len(PREFACE)] == PREFACE[: len(data)]:
        return Spoken.HTTP2 if len(data) >= len(PREFACE) else None
    if _is_request_line(data):
        return Spoken.HTTP1
    if len(data) <= LINE_BYTES_MAX and (_may_be_request_line(data) or _begins_like_method(data)):
        return None
    return Spoken.HTTP1 if _may_be_request_line(data[:LINE_BYTES_MAX]) else Spoken.OTHER


def guess(data: bytes) -> Spoken:
    """What `data` most probably begins, although it is not whole: nothing more came in time."""
    if data and _may_be_request_line(data):
        return Spoken.HTTP1
    return Spoken.HTTP2 if len(data) >= 3 and PREFACE.startswith(data) else Spoken.OTHER


class Sniffer(asyncio.Protocol):
    """The protocol of a connection until `spoken` has told which one it is.

    `choose` makes the one that takes over; None refuses the connection. `sniffing` holds those that wait.
    """

    def __init__(self, choose: Callable[[Spoken], asyncio.Protocol | None], sniffing: "set[Sniffer]") -> None:
        self._choose = choose
        self._sniffing = sniffing
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._sniffing) >= SNIFFING_MAX:
            self._transport.abort()
            return
        self._sniffing.add(self)
        self._timer = asyncio.get_running_loop().call_later(SILENCE_S, self._silent)

    def data_received(self, data: bytes) -> None:
        self._data += data
        found = spoken(self._data)
        if found is not None:
            self._become(found)

    def eof_received(self) -> bool:
        """All that was to be said has been said, and half-closed."""
        if self._data:
            protocol = self._become(guess(self._data))
            return bool(protocol and protocol.eof_received())
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._stop()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _silent(self) -> None:
        self._become(guess(self._data))

    def _stop(self) -> None:
        self._sniffing.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _become(self, found: Spoken) -> asyncio.Protocol | None:
        self._stop()
        transport, self._transport = self._transport, None
        if transport is None or transport.is_closing():
            return None
        protocol = self._choose(found)
        if protocol is None:
            transport.abort()
            return None
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._data and not transport.is_closing():
            protocol.data_received(self._data)
        return protocol

"""HTTP/2 PING checks: a connection is made, and its peer must acknowledge a PING (RFC 9113, 6.7)."""

import asyncio

from ..catalog.model import CRITICAL, PASSING, CheckDefinition
from .sockets import resolve, tls_context
from .status import Outcome

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OPAQUE = b"weftping"
FRAME_BYTES_MAX = 16_384  # SETTINGS_MAX_FRAME_SIZE before anybody raised it (RFC 9113, 6.5.2)
FRAMES_MAX = 64  # before the acknowledgement: SETTINGS, a WINDOW_UPDATE, and what a server may like to say
_SETTINGS, _PING, _GOAWAY = 0x4, 0x6, 0x7
_ACK = 0x1


async def probe_h2ping(definition: CheckDefinition) -> Outcome:
    """Raises OSError, ssl.SSLError, ForbiddenAddress."""
    target = await resolve(definition.h2ping)
    context = None
    if not definition.h2ping_plaintext:
        context = tls_context(definition)
        context.set_alpn_protocols(["h2"])
    name = definition.tls_server_name or target.host
    reader, writer = await asyncio.open_connection(
        target.address, target.port, ssl=context, server_hostname=name if context else None
    )
    try:
        if context and writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            return Outcome(CRITICAL, f"H2PING {definition.h2ping}: the server offers no HTTP/2 (ALPN h2)")
        writer.write(PREFACE + _frame(_SETTINGS) + _frame(_PING, 0, OPAQUE))
        return await _acknowledged(definition.h2ping, reader, writer)
    except asyncio.IncompleteReadError:
        return Outcome(CRITICAL, f"H2PING {definition.h2ping}: the connection was closed before the answer")
    finally:
        writer.transport.abort()  # no close_notify to wait for: a server may never send its own


async def _acknowledged(target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Outcome:
    for _ in range(FRAMES_MAX):
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        if length > FRAME_BYTES_MAX:
            return Outcome(CRITICAL, f"H2PING {target}: what answers does not speak HTTP/2")
        payload = await reader.readexactly(length)
        if kind == _PING and flags & _ACK and payload == OPAQUE:
            return Outcome(PASSING, f"H2PING {target}: HTTP2 ping was successful")
        if kind == _GOAWAY:
            return Outcome(CRITICAL, f"H2PING {target}: the server goes away")
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK))
    return Outcome(CRITICAL, f"H2PING {target}: no acknowledgement within {FRAMES_MAX} frames")


def _frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + bytes(4) + payload

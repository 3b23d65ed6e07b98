"""`/v1/internal/dns`: one DNS query in bytes, as agents pass it on (in the shape of RFC 8484, 4.1: `?dns=`).

The token of the request says what may be told, as in the rest of the API; `?transport=udp` bounds the answer
as a datagram. Recursors are the agent's own matter.
"""

import base64
import binascii

from ..dns.limits import QUESTION_BYTES_MAX
from ..dns.message import Transport
from .errors import BadRequest
from .handling import Call, on_server
from .respond import Reply

MESSAGE_TYPE = "application/dns-message"  # RFC 8484, 6


async def answer(call: Call) -> Reply:
    """The answer in bytes. Raises BadRequest for what is no query."""
    wire = _decoded(call.query.text("dns"))
    transport = Transport.UDP if call.query.text("transport") == "udp" else Transport.TCP
    found = on_server(call.parts.names).take(wire, transport, call.caller)
    if not isinstance(found, bytes):
        raise BadRequest("Invalid dns: not a query")
    return Reply(200, found, MESSAGE_TYPE)


def _decoded(text: str) -> bytes:
    """Base64url without padding, as RFC 8484 has it. Raises BadRequest."""
    if not text or len(text) > QUESTION_BYTES_MAX * 2:
        raise BadRequest("Invalid dns: give one query, in base64url")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("Invalid dns: give one query, in base64url") from None

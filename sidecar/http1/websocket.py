"""The handshake of RFC 6455 section 4, which HTTP/2 (RFC 8441) does without."""

import base64
import hashlib
import re

WEBSOCKET = b"websocket"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z/]{1,48}").fullmatch  # a protocol, "/" and a version


def accept(key: bytes) -> bytes:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def key_of(nonce: bytes) -> bytes:
    """Sec-WebSocket-Key of 16 random octets."""
    return base64.b64encode(nonce)

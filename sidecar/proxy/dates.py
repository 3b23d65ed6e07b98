"""The Date field (RFC 9110 section 6.6.1), formatted once a second."""

import time
from email.utils import formatdate

_second = 0
_text = b""


def http_date() -> bytes:
    """Now."""
    global _second, _text
    now = int(time.time())
    if now != _second:
        _second, _text = now, formatdate(now, usegmt=True).encode()
    return _text

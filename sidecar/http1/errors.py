"""What can be wrong with an HTTP/1.1 message.

WeftError
└── BadMessage           the connection ends; a request is answered with `status` first
"""

from weft.errors import WeftError


class BadMessage(WeftError):
    """Expected. The peer broke RFC 9112 or a limit of ours. `status` answers a request; a response that is
    bad is a 502 to whoever waits for it."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status

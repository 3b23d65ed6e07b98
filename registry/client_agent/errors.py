"""What an agent meets.

ClientAgentError       expected
├── NodeNameTaken      another machine that is alive has this node's name
└── ServerRefused      a server answered, and not with what was asked for
"""

from weft.errors import Unavailable, UsageError, WeftError


class ClientAgentError(WeftError):
    """Root of a client agent's errors."""


class NodeNameTaken(ClientAgentError, UsageError):
    """Expected. Two agents with one name would take away each other's services for ever."""


class ServerRefused(ClientAgentError, Unavailable):
    """Expected. The message is the server's own; it may be mended there."""

    def __init__(self, what: str, status: int, body: bytes) -> None:
        super().__init__(
            f"{what}: {status} {body[:500].decode(errors='replace').strip() or 'no reason given'}"
        )
        self.status = status

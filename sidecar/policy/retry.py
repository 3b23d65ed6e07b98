"""Sans-IO. When a request may be sent once more, to another instance.

Only where the first instance surely did not process it: gRPC calls are not idempotent in general
(gRFC A6 calls these "transparent retries").
"""

from enum import Enum

ATTEMPTS_MAX = 2


class FailureKind(Enum):
    """How an attempt ended. The value says whether the peer surely processed nothing of it."""

    CONNECT_FAILED = ("connect_failed", True)  # no connection, or none that spoke SETTINGS
    REFUSED_STREAM = ("refused_stream", True)  # RFC 9113 section 8.7
    ABOVE_GOAWAY = ("above_goaway", True)  # RFC 9113 section 6.8: above the last stream id
    CONNECTION_LOST = ("connection_lost", False)
    RESET = ("reset", False)  # RST_STREAM with any other code

    def __init__(self, label: str, unprocessed: bool) -> None:
        self.label = label
        self.unprocessed = unprocessed


def may_retry(attempt: int, why: FailureKind, body_whole: bool, answered: bool = False) -> bool:
    """`attempt` counts those made (1 after the first). `body_whole`: every byte received of the request
    body is still held, so that it can be sent again from its start. `answered`: something of a response
    was already passed on."""
    return attempt < ATTEMPTS_MAX and why.unprocessed and body_whole and not answered

"""Answers to requests that never became an exchange."""

from typing import TYPE_CHECKING

from ..errors import HeadersTooLarge
from ..h2 import frames
from ..respond import ANSWERS, Answer

if TYPE_CHECKING:
    from ..h2.connection import Connection

TOO_LARGE = ANSWERS[HeadersTooLarge]


def refuse_unplanned(conn: "Connection", sid: int, how: Answer) -> None:
    """The head could not be read, so whether it is gRPC is unknown: the answer serves both."""
    fields = (
        (b":status", b"%d" % how.http_status),
        (b"content-length", b"0"),
        (b"grpc-status", b"%d" % how.grpc_status),
        (b"grpc-message", how.grpc_message.encode()),
    )
    conn.write_block(sid, conn.encoder.encode(fields), frames.END_STREAM)

"""Builders of commands about sessions."""

from weft.pb.catalog.v1 import session_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command

from .commands import SESSION_LEVEL, Stamp
from .model import Session
from .sessions import session_to_pb


def _base(stamp: Stamp) -> Command:
    return Command(version=SESSION_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)


def create_session(stamp: Stamp, row: Session) -> Command:
    """Value: its id. SessionRefused unless its node and checks are there and well."""
    command = _base(stamp)
    command.create_session.CopyFrom(pb.CreateSession(session=session_to_pb(row)))
    return command


def end_session(stamp: Stamp, session_id: str, *, expected_index: int = 0) -> Command:
    """Frees what it has locked. Value: "ended", or "" when there was none.

    Conflict if `expected_index` is given and the session was created at another index.
    """
    command = _base(stamp)
    command.end_session.CopyFrom(pb.EndSession(id=session_id, expected_index=expected_index))
    return command

"""Sessions: what it takes to have one. `Draft.end_session` says what its end means."""

from weft.durations import InvalidDuration, parse_duration_ns
from weft.pb.catalog.v1 import session_pb2 as pb

from ..errors import Conflict, SessionRefused
from . import limits, rules
from .draft import Draft
from .model import CRITICAL, DELETE, RELEASE, Session

_FIELDS = ("id", "node", "name", "lock_delay_ms", "behavior", "ttl")


def create(draft: Draft, command: pb.CreateSession) -> str:
    """Value: its id."""
    row = session_from_pb(command.session)
    check(row)
    if (row.node,) not in draft.state.nodes:
        raise SessionRefused(f"Missing node registration: {row.node[:128]!r}")
    if (row.id,) in draft.state.sessions:
        raise Conflict(f"ID {row.id}: is another session's")
    for check_id in (*row.node_checks, *row.service_checks):
        found = draft.state.checks.get((row.node, check_id))
        if found is None:
            raise SessionRefused(f"Missing check '{check_id[:128]}' registration")
        if found.status == CRITICAL:
            raise SessionRefused(f"Check '{check_id}' is in {CRITICAL} state")
    draft.put_session(row)
    return row.id


def end(draft: Draft, command: pb.EndSession) -> str:
    """Value: "ended", or "" when there was none. Conflict if it is another one than was expected."""
    row = draft.state.sessions.get((command.id,))
    if row is None:
        return ""
    if command.expected_index and row.indexes.create != command.expected_index:
        raise Conflict(f"session {row.id} is another one")
    draft.end_session(row)
    return "ended"


def check(row: Session) -> None:
    """What can be said without the tables. Raises InvalidCommand."""
    rules.uuid("ID", row.id)
    rules.name("Node", row.node)
    rules.text("Name", row.name, limits.LABEL_BYTES_MAX)
    rules.refuse_unless(
        row.behavior in (RELEASE, DELETE),
        f"Invalid Behavior setting '{row.behavior[:64]}': release or delete",
    )
    rules.refuse_unless(
        0 <= row.lock_delay_ms <= limits.LOCK_DELAY_MS_MAX, "LockDelay: must be between 0s and 60s"
    )
    rules.refuse_unless(
        len(row.node_checks) + len(row.service_checks) <= limits.SESSION_CHECKS_MAX,
        f"Checks: use at most {limits.SESSION_CHECKS_MAX}",
    )
    if row.ttl:
        rules.refuse_unless(
            limits.SESSION_TTL_MS_MIN <= ttl_ms(row) <= limits.SESSION_TTL_MS_MAX,
            f"Invalid Session TTL '{row.ttl[:32]}', must be between [10s=24h0m0s]",
        )


def ttl_ms(row: Session) -> int:
    """0 for one that does not end by itself, and for what is no duration."""
    try:
        return parse_duration_ns(row.ttl) // 10**6 if row.ttl and len(row.ttl) <= 32 else 0
    except InvalidDuration:
        return 0


def session_from_pb(row: pb.Session) -> Session:
    return Session(
        **{name: getattr(row, name) for name in _FIELDS},
        node_checks=tuple(row.node_checks),
        service_checks=tuple(row.service_checks),
    )


def session_to_pb(row: Session) -> pb.Session:
    return pb.Session(
        **{name: getattr(row, name) for name in _FIELDS},
        node_checks=row.node_checks,
        service_checks=row.service_checks,
    )

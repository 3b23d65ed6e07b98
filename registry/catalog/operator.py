"""What who runs the cluster changes: the rules about dead servers, and the whole state."""

import hashlib
import struct
from collections.abc import Generator, Iterable
from dataclasses import replace

from weft.pb.catalog.v1 import command_pb2 as pb

from ..errors import Conflict, InvalidCommand, LogCorrupt
from . import codec, limits, rules
from .draft import Draft
from .model import RestorePart
from .snapshot import decode_steps
from .state import State
from .tree import Tree

RESTORE_ID_BYTES = 16
MEMBERS_MAX = 15
TRAILING_LOGS_MAX = 1_000_000
_LENGTH = struct.Struct(">I")

Steps = Generator[None, None, str]


def configure_autopilot(draft: Draft, command: pb.ConfigureAutopilot) -> str:
    row = codec.autopilot_from_pb(command.settings)
    known = draft.state.autopilot
    _compare(known.indexes.modify, command)
    rules.refuse_unless(row.min_quorum <= MEMBERS_MAX, f"MinQuorum: use 0 to {MEMBERS_MAX}")
    rules.refuse_unless(
        1 <= row.max_trailing_logs <= TRAILING_LOGS_MAX, f"MaxTrailingLogs: use 1 to {TRAILING_LOGS_MAX}"
    )
    for name, value_ms in (
        ("LastContactThreshold", row.last_contact_threshold_ms),
        ("ServerStabilizationTime", row.server_stabilization_ms),
    ):
        rules.refuse_unless(1 <= value_ms <= limits.OPERATOR_DURATION_MS_MAX, f"{name}: use 1ms to 24h")
    if replace(row, indexes=known.indexes) != known or not known.indexes.create:
        draft.put_autopilot(row)
    return ""


def _compare(modified: int, command: pb.ConfigureAutopilot) -> None:
    if command.if_unset and modified:
        raise Conflict(f"was set at index {modified}; read it again")
    if command.expected_index and command.expected_index != modified:
        raise Conflict(f"changed at index {modified}, after {command.expected_index}; read it again")


def restore(draft: Draft, command: pb.Restore) -> Steps:
    """Collects parts; the last one puts what they make in the place of the state, in steps of a millisecond.

    Membership of the cluster is not part of the state, so the servers stay who they are.
    """
    rules.refuse_unless(len(command.id) == RESTORE_ID_BYTES, f"id: must have {RESTORE_ID_BYTES} bytes")
    known = () if command.part == 0 else tuple(draft.state.restoring.values())
    if len(known) != command.part or any(row.id != command.id for row in known):
        raise Conflict("another restore has begun meanwhile; restore again if it is still wanted")
    parts = (*known, RestorePart(command.id, command.part, tuple(command.records)))
    if not command.digest:
        draft.put_parts(parts if parts[-1].records else known)
        return ""
    digest = hashlib.sha256()
    for row in parts:
        _add_to(digest, row.records)
        yield
    rules.refuse_unless(digest.digest() == command.digest, "digest: is not that of the parts")
    try:
        found = yield from decode_steps(record for row in parts for record in row.records)
    except LogCorrupt as error:
        raise InvalidCommand(str(error)) from None
    draft.replace_state(_continued(draft, found))
    return ""


def digest_of(records: Iterable[bytes]) -> bytes:
    """Of all records of a restore."""
    found = hashlib.sha256()
    _add_to(found, records)
    return found.digest()


def _add_to(digest: "hashlib._Hash", records: Iterable[bytes]) -> None:
    for record in records:
        digest.update(_LENGTH.pack(len(record)))
        digest.update(record)


def _continued(draft: Draft, found: State) -> State:
    """The snapshot's rows, in this log: indexes go on, every reader's index is passed, fences are moved."""
    here = draft.state.cluster
    if found.cluster is None or (here and found.cluster.datacenter != here.datacenter):
        theirs = found.cluster.datacenter if found.cluster else "no cluster"
        raise InvalidCommand(
            f"the snapshot is of {theirs}, this cluster of {here.datacenter if here else 'none'}; "
            "give one of this datacenter"
        )
    return replace(
        found,
        index=draft.index,
        time_ms=draft.now_ms,
        floor=draft.index,
        roots_epoch=max(found.roots_epoch, draft.state.roots_epoch) + 1,
        restoring=Tree(),
        moved=Tree(),
        tombstones=Tree(),
        answers=draft.state.answers,  # retries of what was answered in this log
    )

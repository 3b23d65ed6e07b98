"""The whole state as a sequence of records, and back: equal states give equal bytes.

The first record is the head, the others are runs of rows (`columns`), table after table in the order of the
trees, so neither hash seeds nor the history of a tree show. Encoding walks an immutable view and yields one
record at a time: the caller decides how much it does in one go.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from weft.pb.catalog.v1 import state_pb2 as pb

from ..errors import LogCorrupt
from . import codec
from .columns import read_run
from .kinds import KINDS, AclHead, Moving
from .restore import Tables
from .state import State

SNAPSHOT_VERSION = 2


def encode(state: State) -> Iterator[bytes]:
    """The records of a snapshot, the head first. Each takes half a millisecond or so."""
    head = pb.SnapshotHead(
        version=SNAPSHOT_VERSION,
        index=state.index,
        time_ms=state.time_ms,
        floor=state.floor,
        roots_epoch=state.roots_epoch,
        addressing=state.addressing,
        numbers=len(state.addresses) + len(state.free_numbers),
        cluster=codec.cluster_to_pb(state.cluster) if state.cluster else None,
    )
    yield head.SerializeToString(deterministic=True)
    rows: dict[str, Iterable[Any]] = {
        "node": state.nodes.values(),
        "service": state.services.values(),
        "check": state.checks.values(),
        "intention": state.intentions.values(),
        "intention_defaults": state.intention_defaults.values(),
        "config_entry": state.config_entries.values(),
        "kv": state.kv.values(),
        "session": state.sessions.values(),
        "lock_delay": state.lock_delays.values(),
        "event": state.events.values(),
        "coordinate": state.coordinates.values(),
        "query": state.queries.values(),
        "join_token": state.join_tokens.values(),
        "member": state.members.values(),
        "experiment": state.experiments.values(),
        "virtual_address": state.addresses.values(),
        "credential": state.credentials.values(),
        "leaf": state.leaves.values(),
        "revocation": state.revocations.values(),
        "root": state.roots.values(),
        "authority": [state.authority] if state.authority else [],
        "autopilot": [state.autopilot] if state.autopilot.indexes.create else [],
        "restore_part": state.restoring.values(),
        "acl_head": [AclHead(state.acl.bootstrap_index)] if state.acl.bootstrap_index else [],
        "acl_token": state.acl.tokens.values(),
        "acl_policy": state.acl.policies.values(),
        "acl_role": state.acl.roles.values(),
        "acl_auth_method": state.acl.auth_methods.values(),
        "acl_binding_rule": state.acl.binding_rules.values(),
        "watch_index": _moving(state),
        "answered": state.answers.items(),
    }
    for table, kind in KINDS.items():
        yield from kind.runs(rows[table])


def _moving(state: State) -> Iterator[Moving]:
    """Tombstones are keyed by the time of what they are of."""
    gone = state.tombstones
    for key, moved in state.moved.items():
        kind, name = key if len(key) == 2 else (*key, None)
        yield Moving(kind, name, moved.index, moved.time_ms, bool(gone) and (moved.time_ms, *key) in gone)


def slices(records: Iterable[bytes], clock: Callable[[], float], slice_s: float) -> Iterator[list[bytes]]:
    """Runs of records that took `slice_s` to make, by this clock: between two the event loop can run."""
    part: list[bytes] = []
    end = clock() + slice_s
    for record in records:
        part.append(record)
        if clock() >= end:
            yield part
            part, end = [], clock() + slice_s
    if part:
        yield part


def decode(records: Iterable[bytes]) -> State:
    """The state that the records describe. Raises LogCorrupt on what `encode` does not write."""
    steps = decode_steps(records)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            state: State = end.value
            return state


def decode_steps(records: Iterable[bytes]) -> Generator[None, None, State]:
    """As `decode`, but yields after every millisecond or so of work, and returns the state at the end."""
    parts = iter(records)
    head = _head(next(parts, b""))
    tables = Tables()
    for part in parts:
        tables.add(read_run(part))
        yield
    state: State = yield from tables.state(head)
    return state


def _head(record: bytes) -> pb.SnapshotHead:
    try:
        head = pb.SnapshotHead.FromString(record)
    except DecodeError as error:
        raise LogCorrupt(f"the snapshot's head does not decode ({error}); restore a backup") from error
    if head.version != SNAPSHOT_VERSION:
        raise LogCorrupt(f"the snapshot is of version {head.version}; this Weft reads {SNAPSHOT_VERSION}")
    return head

"""The whole state as a sequence of records, and back: equal states give equal bytes.

Rows go out in the order of the trees, so neither hash seeds nor the history of a tree show. Encoding
walks an immutable view and yields small runs of records: the caller decides how much it does at a time.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from weft.pb.catalog.v1 import state_pb2 as pb

from ..errors import LogCorrupt
from . import codec
from .restore import STEP_ROWS, Tables
from .state import Answered, Moved, State
from .tree import Key

SNAPSHOT_VERSION = 1


def encode(state: State) -> Iterator[bytes]:
    """The records of a snapshot, the head first."""
    head = pb.SnapshotHead(
        version=SNAPSHOT_VERSION,
        index=state.index,
        time_ms=state.time_ms,
        floor=state.floor,
        roots_epoch=state.roots_epoch,
        cluster=codec.cluster_to_pb(state.cluster) if state.cluster else None,
    )
    yield _bytes(head)
    tables: tuple[tuple[str, Iterable[Any], Callable[[Any], Any]], ...] = (
        ("node", state.nodes.values(), codec.node_to_pb),
        ("service", state.services.values(), codec.service_to_pb),
        ("check", state.checks.values(), codec.check_to_pb),
        ("intention", state.intentions.values(), codec.intention_to_pb),
        ("credential", state.credentials.values(), codec.credential_to_pb),
        ("leaf", state.leaves.values(), codec.leaf_to_pb),
        ("revocation", state.revocations.values(), codec.revocation_to_pb),
        ("root", state.roots.values(), codec.root_to_pb),
        ("authority", [state.authority] if state.authority else [], codec.authority_to_pb),
        ("autopilot", [state.autopilot] if state.autopilot.indexes.create else [], codec.autopilot_to_pb),
        ("restore_part", state.restoring.values(), codec.part_to_pb),
        ("watch_index", state.moved.items(), _moved_to_pb),
        ("answered", state.answers.items(), _answered_to_pb),
    )
    for name, rows, to_pb in tables:
        for row in rows:
            yield _bytes(pb.SnapshotRow(**{name: to_pb(row)}))


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
    try:
        head = pb.SnapshotHead.FromString(next(parts, b""))
        tables = Tables()
        for count, part in enumerate(parts, 1):
            tables.add(pb.SnapshotRow.FromString(part))
            if not count % STEP_ROWS:
                yield
    except (DecodeError, KeyError, ValueError) as error:
        raise LogCorrupt(f"the snapshot holds a record that does not decode ({error})") from error
    if head.version != SNAPSHOT_VERSION:
        raise LogCorrupt(f"the snapshot is of version {head.version}; this Weft reads {SNAPSHOT_VERSION}")
    state: State = yield from tables.state(head)
    return state


def _bytes(message: pb.SnapshotHead | pb.SnapshotRow) -> bytes:
    return message.SerializeToString(deterministic=True)  # sorts map fields


def _moved_to_pb(item: tuple[Key, Moved]) -> pb.WatchIndex:
    key, moved = item
    return pb.WatchIndex(key=key, index=moved.index, time_ms=moved.time_ms)


def _answered_to_pb(item: tuple[bytes, Answered]) -> pb.Answered:
    request_id, row = item
    return pb.Answered(
        request_id=request_id,
        time_ms=row.time_ms,
        index=row.index,
        code=row.code,
        message=row.message,
        value=row.value,
    )

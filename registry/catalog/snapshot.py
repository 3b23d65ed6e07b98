"""The whole state as a sequence of records, and back: equal states give equal bytes.

Rows go out in the order of the trees, so neither hash seeds nor the history of a tree show. Encoding
walks an immutable view and yields small runs of records: the caller decides how much it does at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError

from weft.pb.catalog.v1 import state_pb2 as pb

from ..errors import LogCorrupt
from . import codec
from .model import AUTOPILOT_DEFAULT
from .state import Answered, Moved, State
from .tombstones import tombstones
from .tree import Key, Tree

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
        ("answered", state.answered.items(), _answered_to_pb),
    )
    for name, rows, to_pb in tables:
        for row in rows:
            yield _bytes(pb.SnapshotRow(**{name: to_pb(row)}))


def decode(records: Iterable[bytes]) -> State:
    """The state that the records describe. Raises LogCorrupt on what `encode` does not write."""
    parts = iter(records)
    try:
        head = pb.SnapshotHead.FromString(next(parts, b""))
        tables = _Tables()
        for part in parts:
            tables.add(pb.SnapshotRow.FromString(part))
    except (DecodeError, KeyError, ValueError) as error:
        raise LogCorrupt(f"the snapshot holds a record that does not decode ({error})") from error
    if head.version != SNAPSHOT_VERSION:
        raise LogCorrupt(f"the snapshot is of version {head.version}; this Weft reads {SNAPSHOT_VERSION}")
    return tables.state(head)


def _bytes(message: pb.SnapshotHead | pb.SnapshotRow) -> bytes:
    return message.SerializeToString(deterministic=True)  # sorts map fields


def _moved_to_pb(item: tuple[Key, Moved]) -> pb.WatchIndex:
    key, moved = item
    return pb.WatchIndex(key=key, index=moved.index, time_ms=moved.time_ms)


def _answered_to_pb(item: tuple[Key, Answered]) -> pb.Answered:
    (request_id,), row = item
    return pb.Answered(
        request_id=request_id,
        time_ms=row.time_ms,
        index=row.index,
        code=row.code,
        message=row.message,
        value=row.value,
    )


def _answered_from_pb(row: pb.Answered) -> Answered:
    return Answered(row.time_ms, row.index, row.code, row.message, row.value)


class _Tables:
    """Rows by table until all are there; each tree is then built once, from sorted rows."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {}
        self._readers: dict[str, Callable[[Any], Any]] = {
            "node": codec.node_from_pb,
            "service": codec.service_from_pb,
            "check": codec.check_from_pb,
            "intention": codec.intention_from_pb,
            "credential": codec.credential_from_pb,
            "leaf": codec.leaf_from_pb,
            "revocation": codec.revocation_from_pb,
            "root": codec.root_from_pb,
            "authority": codec.authority_from_pb,
            "autopilot": codec.autopilot_from_pb,
            "restore_part": codec.part_from_pb,
            "watch_index": lambda row: (tuple(row.key), Moved(row.index, row.time_ms)),
            "answered": lambda row: (row.request_id, _answered_from_pb(row)),
        }

    def add(self, row: pb.SnapshotRow) -> None:
        kind = str(row.WhichOneof("row"))
        self._rows.setdefault(kind, []).append(self._readers[kind](getattr(row, kind)))

    def _tree(
        self, kind: str, key: Callable[[Any], Key], value: Callable[[Any], Any] | None = None
    ) -> Tree[Any]:
        rows = self._rows.get(kind, ())
        return Tree.load(sorted(((key(row), value(row) if value else row) for row in rows), key=_first))

    def state(self, head: pb.SnapshotHead) -> State:
        services = self._rows.get("service", ())
        connected = sorted(
            (((it.connects_to, it.node, it.id), it) for it in services if it.connects_to), key=_first
        )
        state = State(
            index=head.index,
            time_ms=head.time_ms,
            floor=head.floor,
            roots_epoch=head.roots_epoch,
            cluster=codec.cluster_from_pb(head.cluster) if head.HasField("cluster") else None,
            authority=next(iter(self._rows.get("authority", ())), None),
            autopilot=next(iter(self._rows.get("autopilot", ())), AUTOPILOT_DEFAULT),
            nodes=self._tree("node", lambda it: (it.name,)),
            services=self._tree("service", lambda it: (it.node, it.id)),
            services_by_name=self._tree("service", lambda it: (it.name, it.node, it.id)),
            services_by_connect=Tree.load(connected),
            checks=self._tree("check", lambda it: (it.node, it.id)),
            checks_by_service=self._tree("check", lambda it: (it.node, it.service_id, it.id)),
            intentions=self._tree("intention", lambda it: (it.destination, it.source)),
            intentions_by_source=self._tree("intention", lambda it: (it.source, it.destination)),
            credentials=self._tree("credential", lambda it: (it.instance_key,)),
            leaves=self._tree("leaf", lambda it: (it.instance_key, it.serial)),
            leaves_by_expiry=self._tree("leaf", lambda it: (it.not_after_ms, it.instance_key, it.serial)),
            revocations=self._tree("revocation", lambda it: (it.not_after_ms, it.trust_domain, it.serial)),
            roots=self._tree("root", lambda it: (it.id,)),
            restoring=self._tree("restore_part", lambda it: (it.part,)),
            moved=self._tree("watch_index", lambda it: it[0], lambda it: it[1]),
            answered=self._tree("answered", lambda it: (it[0],), lambda it: it[1]),
            answered_by_time=self._tree("answered", lambda it: (it[1].time_ms, it[0]), lambda it: None),
        )
        return _with_tombstones(state)


def _with_tombstones(state: State) -> State:
    return replace(state, tombstones=Tree.load(tombstones(state)))


def _first(item: tuple[Key, Any]) -> Key:
    return item[0]

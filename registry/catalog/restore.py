"""The tables of a snapshot, from its rows: in steps, for a server that restores has an election timer too."""

from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import replace
from operator import attrgetter, itemgetter
from typing import Any

from weft.pb.catalog.v1 import state_pb2 as pb

from ..errors import LogCorrupt
from . import codec
from .answers import Answered, Answers
from .model import AUTOPILOT_DEFAULT, Authority
from .sharing import Sharing
from .state import Moved, State
from .tombstones import is_covering
from .tree import Key, Loader, Tree

STEP_ROWS = 64
"""Rows between two steps: about a millisecond."""

Steps = Generator[None, None, Any]
_KeyOf = Callable[[Any], Key]


class _Second:
    """A further order of a table's rows.

    Rows are collected by the first element of their key, and sorted within these groups: sorting 100,000
    at once would be one call of 150 ms that nothing can interrupt.
    """

    def __init__(self, key: _KeyOf) -> None:
        self._key = key
        self._groups: defaultdict[Any, list[tuple[Key, Any]]] = defaultdict(list)

    def add(self, row: Any) -> None:
        key = self._key(row)
        self._groups[key[0]].append((key, row))

    def tree(self) -> Steps:
        loader = Loader[Any]()
        for count, first in enumerate(sorted(self._groups), 1):
            for within, (key, row) in enumerate(sorted(self._groups.pop(first), key=itemgetter(0)), 1):
                loader.add(key, row)
                if not within % STEP_ROWS:
                    yield
            if not count % STEP_ROWS:
                yield
        return loader.tree()


class _Table:
    """Rows of one kind as they come, which is in the order of their key."""

    def __init__(self, read: Callable[[Any], Any], key: _KeyOf, second: _KeyOf | None = None) -> None:
        self._read = read
        self._key = key
        self._last: Key = ()
        self._loader = Loader[Any]()
        self.second = _Second(second) if second else None

    def add(self, row: Any) -> None:
        value = self._read(row)
        key = self._key(value)
        if key <= self._last:
            raise LogCorrupt(f"the snapshot holds rows out of order, at {str(key)[:200]}")
        self._last = key
        self._loader.add(key, value)
        if self.second:
            self.second.add(value)

    def tree(self) -> Tree[Any]:
        return self._loader.tree()


class Tables:
    """What the records of a snapshot have brought so far."""

    def __init__(self) -> None:
        shared = Sharing(None)
        self._connected = _Second(attrgetter("connects_to", "node", "id"))
        self._moved = Loader[Moved]()
        self._authority: Authority | None = None
        self._autopilot = AUTOPILOT_DEFAULT
        self._answers: list[tuple[bytes, Answered]] = []
        self._tables = {
            "node": _Table(lambda row: codec.node_from_pb(row, shared), lambda it: (it.name,)),
            "service": _Table(
                lambda row: self._read_service(row, shared),
                attrgetter("node", "id"),
                attrgetter("name", "node", "id"),
            ),
            "check": _Table(
                lambda row: codec.check_from_pb(row, shared),
                attrgetter("node", "id"),
                attrgetter("node", "service_id", "id"),
            ),
            "intention": _Table(
                codec.intention_from_pb,
                attrgetter("destination", "source"),
                attrgetter("source", "destination"),
            ),
            "credential": _Table(codec.credential_from_pb, lambda it: (it.instance_key,)),
            "leaf": _Table(
                codec.leaf_from_pb,
                attrgetter("instance_key", "serial"),
                attrgetter("not_after_ms", "instance_key", "serial"),
            ),
            "revocation": _Table(
                codec.revocation_from_pb, attrgetter("not_after_ms", "trust_domain", "serial")
            ),
            "root": _Table(codec.root_from_pb, lambda it: (it.id,)),
            "restore_part": _Table(codec.part_from_pb, lambda it: (it.part,)),
        }
        self._add: dict[str, Callable[[Any], None]] = {kind: it.add for kind, it in self._tables.items()}
        self._add |= {
            "authority": self._add_authority,
            "autopilot": self._add_autopilot,
            "watch_index": self._add_moved,
            "answered": self._add_answered,
        }
        self._moved_at: dict[tuple[int, int], Moved] = {}

    def add(self, row: pb.SnapshotRow) -> None:
        """Raises KeyError for a kind that this version does not know, LogCorrupt, ValueError."""
        kind = str(row.WhichOneof("row"))
        self._add[kind](getattr(row, kind))

    def _read_service(self, row: pb.Service, shared: Sharing) -> Any:
        service = codec.service_from_pb(row, shared)
        if service.connects_to:
            self._connected.add(service)
        return service

    def _add_authority(self, row: pb.Authority) -> None:
        self._authority = codec.authority_from_pb(row)

    def _add_autopilot(self, row: pb.Autopilot) -> None:
        self._autopilot = codec.autopilot_from_pb(row)

    def _add_moved(self, row: pb.WatchIndex) -> None:
        when = row.index, row.time_ms
        self._moved.add(tuple(row.key), self._moved_at.setdefault(when, Moved(*when)))

    def _add_answered(self, row: pb.Answered) -> None:
        answer = Answered(row.time_ms, row.index, row.code, row.message, row.value)
        self._answers.append((row.request_id, answer))

    def _second(self, kind: str) -> Steps:
        second = self._tables[kind].second
        return (yield from second.tree()) if second else Tree[Any]()

    def state(self, head: pb.SnapshotHead) -> Steps:
        """The State, once all rows have been added."""
        state = State(
            index=head.index,
            time_ms=head.time_ms,
            floor=head.floor,
            roots_epoch=head.roots_epoch,
            cluster=codec.cluster_from_pb(head.cluster) if head.HasField("cluster") else None,
            authority=self._authority,
            autopilot=self._autopilot,
            nodes=self._tables["node"].tree(),
            services=self._tables["service"].tree(),
            services_by_name=(yield from self._second("service")),
            services_by_connect=(yield from self._connected.tree()),
            checks=self._tables["check"].tree(),
            checks_by_service=(yield from self._second("check")),
            intentions=self._tables["intention"].tree(),
            intentions_by_source=(yield from self._second("intention")),
            credentials=self._tables["credential"].tree(),
            leaves=self._tables["leaf"].tree(),
            leaves_by_expiry=(yield from self._second("leaf")),
            revocations=self._tables["revocation"].tree(),
            roots=self._tables["root"].tree(),
            restoring=self._tables["restore_part"].tree(),
            moved=self._moved.tree(),
            answers=Answers.load(self._answers),
        )
        return replace(state, tombstones=(yield from _tombstones(state)))


def _tombstones(state: State) -> Steps:
    """`State.tombstones`, which the other tables imply."""
    found: list[tuple[Key, None]] = []
    for count, (key, moved) in enumerate(state.moved.items(), 1):
        if not is_covering(state, key):
            found.append(((moved.time_ms, *key), None))
        if not count % STEP_ROWS:
            yield
    return Tree[None].load(sorted(found))

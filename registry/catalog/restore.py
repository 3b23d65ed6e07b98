"""The tables of a snapshot, from its runs of rows: in steps, for a server that restores has an election
timer too."""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter, lt
from typing import Any

from weft.pb.catalog.v1 import state_pb2 as pb

from ..acl.model import AuthMethod, BindingRule, Policy, Role, Token
from ..acl.tables import AclTables
from ..config_entries.errors import InvalidEntry
from ..config_entries.kinds import decoded
from ..errors import LogCorrupt
from . import codec
from .address_row import NUMBER_MAX, VirtualAddress
from .answers import Answered, Answers
from .columns import Columns, Kind, Run, Shared
from .enrolment_model import JoinToken, Member
from .experiment_row import Experiment
from .kinds import KINDS
from .model import (
    AUTOPILOT_DEFAULT,
    Authority,
    AutopilotConfig,
    CaRoot,
    Check,
    ConfigEntry,
    Coordinate,
    CredentialRecord,
    Event,
    Indexes,
    Intention,
    IntentionDefaults,
    KeyValue,
    LeafRecord,
    LockDelay,
    Node,
    PreparedQuery,
    RestorePart,
    Revocation,
    Service,
    Session,
)
from .state import Moved, State
from .tree import Key, Loader, Tree

STEP_GROUPS = 64
"""Groups of a further order that are sorted between two steps: below a millisecond, for they are small."""

Steps = Generator[None, None, Any]


class _Second:
    """A further order of a table's rows.

    Rows are collected by the first element of their key, and sorted within these groups: sorting 100,000
    at once would be one call of 150 ms that nothing can interrupt.
    """

    def __init__(self) -> None:
        self._groups: defaultdict[Any, tuple[list[Key], list[Any]]] = defaultdict(lambda: ([], []))

    def add(self, keys: Iterable[Key], rows: Iterable[Any]) -> None:
        groups = self._groups
        for key, row in zip(keys, rows, strict=True):
            group_keys, group_rows = groups[key[0]]
            group_keys.append(key)
            group_rows.append(row)

    def tree(self) -> Steps:
        loader = Loader[Any]()
        for count, first in enumerate(sorted(self._groups), 1):
            keys, rows = self._groups.pop(first)
            if not _ascends(keys):
                pairs = sorted(zip(keys, rows, strict=True), key=itemgetter(0))
                keys, rows = [key for key, _ in pairs], [row for _, row in pairs]
            loader.extend(keys, rows)
            if not count % STEP_GROUPS or len(keys) > STEP_GROUPS:
                yield
        return loader.tree()


def _checked(keys: list[Key], last: Key, table: str) -> Key:
    """The last of the keys, which follow `last` in order. Raises LogCorrupt."""
    if keys[0] <= last or not _ascends(keys):
        raise LogCorrupt(f"the snapshot holds rows of {table} out of order, at {str(keys[0])[:200]}")
    return keys[-1]


def _ascends(keys: list[Key]) -> bool:
    return all(map(lt, keys, islice(keys, 1, None)))


@dataclass(slots=True)
class _Table:
    """Rows of one kind as they come, which is in the order of their key.

    `key` and `second` name the fields of the table's key and of that of its further order.
    """

    row: Callable[..., Any]
    key: tuple[str, ...]
    second: tuple[str, ...] = ()
    last: Key = ()
    loader: Loader[Any] = field(default_factory=Loader)
    ordered: _Second = field(default_factory=_Second)

    def add(self, kind: Kind, columns: Columns) -> list[Any]:
        """The rows, once they are in the table."""
        rows = list(map(self.row, *columns))
        keys = _keys(kind, columns, self.key)
        self.last = _checked(keys, self.last, kind.table)
        self.loader.extend(keys, rows)
        if self.second:
            self.ordered.add(_keys(kind, columns, self.second), rows)
        return rows


def _free(last: int, numbers: list[int]) -> Tree[None]:
    """Of the numbers of virtual addresses up to `last` those that are not in use. Raises LogCorrupt."""
    used = set(numbers)
    if len(used) < len(numbers) or last > NUMBER_MAX or not used <= set(range(1, last + 1)):
        raise LogCorrupt("the snapshot holds virtual addresses that cannot be; restore a backup")
    return Tree[None].load(((number,), None) for number in range(1, last + 1) if number not in used)


def _config_entry(kind: str, name: str, body: bytes, indexes: Indexes) -> ConfigEntry:
    try:
        return ConfigEntry(kind, name, body, decoded(body), indexes)
    except InvalidEntry as error:
        raise LogCorrupt(
            f"the snapshot's entry {kind}/{name} does not read ({error}); start a Weft as new as its writer"
        ) from error


def _keys(kind: Kind, columns: Columns, names: tuple[str, ...]) -> list[Key]:
    return list(zip(*(columns[kind.names.index(name)] for name in names), strict=True))


class Tables:
    """What the records of a snapshot have brought so far."""

    def __init__(self) -> None:
        self._shared = Shared()
        self._connected = _Second()
        self._locked = _Second()
        self._named = _Second()  # queries
        self._bound = _Second()
        self._codes = _Second()  # of tokens
        self._expiries = _Second()
        self._acl_bootstrap_index = 0
        self._moved = Loader[Moved]()
        self._moved_last: Key = ()
        self._moved_at: dict[tuple[int, int], Moved] = {}
        self._tombstones: list[Key] = []
        self._authority: Authority | None = None
        self._autopilot = AUTOPILOT_DEFAULT
        self._numbers: list[int] = []  # of virtual addresses
        self._answers: list[tuple[bytes, Answered]] = []
        self._tables = {
            "node": _Table(Node, ("name",)),
            "service": _Table(Service, ("node", "id"), ("name", "node", "id")),
            "check": _Table(Check, ("node", "id"), ("node", "service_id", "id")),
            "intention": _Table(Intention, ("destination", "source"), ("source", "destination")),
            "intention_defaults": _Table(IntentionDefaults, ("destination",)),
            "config_entry": _Table(_config_entry, ("kind", "name")),
            "kv": _Table(KeyValue, ("key",)),
            "session": _Table(Session, ("id",), ("node", "id")),
            "lock_delay": _Table(LockDelay, ("key",), ("until_ms", "key")),
            "event": _Table(Event, ("ltime",)),
            "coordinate": _Table(Coordinate, ("node",)),
            "query": _Table(PreparedQuery, ("id",)),
            "join_token": _Table(JoinToken, ("id",), ("expires_ms", "id")),
            "member": _Table(Member, ("node",)),
            "experiment": _Table(Experiment, ("name",)),
            "virtual_address": _Table(VirtualAddress, ("service",)),
            "credential": _Table(CredentialRecord, ("instance_key",)),
            "leaf": _Table(
                LeafRecord, ("instance_key", "serial"), ("not_after_ms", "instance_key", "serial")
            ),
            "revocation": _Table(Revocation, ("not_after_ms", "trust_domain", "serial")),
            "root": _Table(CaRoot, ("id",)),
            "acl_token": _Table(Token, ("accessor_id",)),
            "acl_policy": _Table(Policy, ("id",), ("name",)),
            "acl_role": _Table(Role, ("id",), ("name",)),
            "acl_auth_method": _Table(AuthMethod, ("name",)),
            "acl_binding_rule": _Table(BindingRule, ("id",)),
            "restore_part": _Table(RestorePart, ("part",)),
        }

    def add(self, run: Run) -> None:
        """Raises LogCorrupt, also for a table that this version does not know."""
        if (kind := KINDS.get(run.table)) is None:
            raise LogCorrupt(
                f"the snapshot holds a table {run.table[:64]!r} that this Weft does not know; "
                "start one at least as new as its writer"
            )
        columns = kind.read(run, self._shared)
        match run.table:
            case "authority":
                *_, self._authority = map(Authority, *columns)
            case "autopilot":
                *_, self._autopilot = map(AutopilotConfig, *columns)
            case "watch_index":
                self._add_moved(*columns)
            case "answered":
                ids, *rest = columns
                self._answers += zip(ids, map(Answered, *rest), strict=True)
            case "acl_head":
                *_, self._acl_bootstrap_index = columns[0]
            case table:
                rows = self._tables[table].add(kind, columns)
                if table == "service":
                    self._connect(rows)
                elif table == "acl_token":
                    self._find(rows)
                elif table == "virtual_address":
                    self._numbers += [row.number for row in rows]
                elif table == "query":
                    self._index_queries(rows)
                elif table == "kv":
                    held = [row for row in rows if row.session]
                    self._locked.add([(row.session, row.key) for row in held], held)

    def _find(self, rows: list[Token]) -> None:
        coded = [row for row in rows if row.secret.code]
        self._codes.add([(row.secret.code,) for row in coded], coded)
        ending = [row for row in rows if row.expires_ms]
        self._expiries.add([(row.expires_ms, row.accessor_id) for row in ending], ending)

    def _index_queries(self, rows: list[PreparedQuery]) -> None:
        named = [row for row in rows if row.is_named]
        self._named.add([(row.template, row.name) for row in named], named)
        bound = [row for row in rows if row.session]
        self._bound.add([(row.session, row.id) for row in bound], bound)

    def _connect(self, rows: list[Service]) -> None:
        meshed = [(row.connects_to, row) for row in rows if row.proxy or row.connect_native]
        found = [((name, row.node, row.id), row) for name, row in meshed if name]
        self._connected.add([key for key, _ in found], [row for _, row in found])

    def _add_moved(
        self, kinds: list[str], names: list[Any], indexes: list[int], times: list[int], gone: list[bool]
    ) -> None:
        if kinds[0] not in ("instance", "credential"):  # their names stand nowhere else
            names = self._shared.of(str, names)
        keys = [(kind,) if name is None else (kind, name) for kind, name in zip(kinds, names, strict=True)]
        self._moved_last = _checked(keys, self._moved_last, "watch_index")
        known = self._moved_at
        when = list(zip(indexes, times, strict=True))
        self._moved.extend(keys, [known.get(it) or known.setdefault(it, Moved(*it)) for it in when])
        if any(gone):
            self._tombstones += [(time, *key) for key, time, it in zip(keys, times, gone, strict=True) if it]

    def state(self, head: pb.SnapshotHead) -> Steps:
        """The State, once all runs have been added."""
        trees: dict[str, Tree[Any]] = {}
        for table, it in self._tables.items():
            trees[table] = it.loader.tree()
            yield
            trees[f"{table} 2"] = yield from it.ordered.tree()
        state = State(
            index=head.index,
            time_ms=head.time_ms,
            floor=head.floor,
            roots_epoch=head.roots_epoch,
            cluster=codec.cluster_from_pb(head.cluster) if head.HasField("cluster") else None,
            authority=self._authority,
            autopilot=self._autopilot,
            nodes=trees["node"],
            services=trees["service"],
            services_by_name=trees["service 2"],
            services_by_connect=(yield from self._connected.tree()),
            checks=trees["check"],
            checks_by_service=trees["check 2"],
            intentions=trees["intention"],
            intentions_by_source=trees["intention 2"],
            intention_defaults=trees["intention_defaults"],
            config_entries=trees["config_entry"],
            kv=trees["kv"],
            queries=trees["query"],
            queries_by_name=(yield from self._named.tree()),
            queries_by_session=(yield from self._bound.tree()),
            events=trees["event"],
            experiments=trees["experiment"],
            addressing=head.addressing,
            addresses=trees["virtual_address"],
            free_numbers=_free(head.numbers, self._numbers),
            coordinates=trees["coordinate"],
            kv_locked=(yield from self._locked.tree()),
            sessions=trees["session"],
            sessions_by_node=trees["session 2"],
            lock_delays=trees["lock_delay"],
            lock_delays_by_end=trees["lock_delay 2"],
            join_tokens=trees["join_token"],
            join_tokens_by_end=trees["join_token 2"],
            members=trees["member"],
            credentials=trees["credential"],
            leaves=trees["leaf"],
            leaves_by_expiry=trees["leaf 2"],
            revocations=trees["revocation"],
            roots=trees["root"],
            acl=AclTables(
                bootstrap_index=self._acl_bootstrap_index,
                tokens=trees["acl_token"],
                tokens_by_code=(yield from self._codes.tree()),
                tokens_by_expiry=(yield from self._expiries.tree()),
                policies=trees["acl_policy"],
                policies_by_name=trees["acl_policy 2"],
                roles=trees["acl_role"],
                roles_by_name=trees["acl_role 2"],
                auth_methods=trees["acl_auth_method"],
                binding_rules=trees["acl_binding_rule"],
            ),
            restoring=trees["restore_part"],
            moved=self._moved.tree(),
        )
        yield
        answers = yield from Answers.load(self._answers)
        tombstones = Tree[None].load((key, None) for key in sorted(self._tombstones))
        return replace(state, answers=answers, tombstones=tombstones)

"""Transactions: operations on keys and on the catalog, all of them or none."""

import base64
from collections.abc import Callable, Generator
from typing import TypeVar

import orjson

from weft.pb.catalog.v1 import kv_pb2, state_pb2
from weft.pb.catalog.v1 import txn_pb2 as pb

from ..errors import CommandRefused, Conflict, InvalidCommand, NotFound, TransactionRefused
from . import codec, kv, limits, registrations
from .draft import Draft
from .model import Check, Indexes, KeyValue, Node, Service
from .rules import refuse_unless

R = TypeVar("R", Node, Service, Check)
_Verb = kv_pb2.KvOp
_Results = Generator[None, None, list[pb.TxnResult]]
Failures = list[tuple[int, str]]
"""Index of the operation, and what is wrong with it."""

READS = frozenset(
    (
        *(_Verb.GET, _Verb.GET_OR_EMPTY, _Verb.GET_TREE),
        *(_Verb.CHECK_INDEX, _Verb.CHECK_SESSION, _Verb.CHECK_NOT_EXISTS),
    )
)
_LOST = {
    _Verb.CAS: 'failed to set key "{}", index is stale',
    _Verb.DELETE_CAS: 'failed to delete key "{}", index is stale',
    _Verb.LOCK: 'failed to lock key "{}", lock is already held',
    _Verb.UNLOCK: 'failed to unlock key "{}", lock isn\'t held, or is held by another session',
}
_SILENT = (_Verb.DELETE, _Verb.DELETE_CAS)


def is_read(op: pb.TxnOp) -> bool:
    """Whether it changes nothing."""
    return op.kv.verb in READS if op.HasField("kv") else op.verb == pb.ROW_VERB_GET


def carry_out(draft: Draft, command: pb.Txn) -> Generator[None, None, str]:
    """Value: the results. Raises TransactionRefused, whose text is read by `failures_of`."""
    results, failures = yield from run(draft, command)
    if failures:
        raise TransactionRefused(orjson.dumps(failures).decode())
    encoded = pb.TxnResults(results=results).SerializeToString(deterministic=True)
    refuse_unless(
        len(encoded) <= limits.TXN_RESULT_BYTES_MAX,
        f"the results have {len(encoded)} bytes; read at most {limits.TXN_RESULT_BYTES_MAX} at once",
    )
    return base64.b64encode(encoded).decode()


def run(draft: Draft, command: pb.Txn) -> Generator[None, None, tuple[list[pb.TxnResult], Failures]]:
    """Each operation sees what those before it did. Raises InvalidCommand for too many of them."""
    refuse_unless(
        len(command.ops) <= limits.TXN_OPS_MAX,
        f"Transaction contains too many operations ({len(command.ops)} > {limits.TXN_OPS_MAX})",
    )
    results: list[pb.TxnResult] = []
    failures: Failures = []
    for number, op in enumerate(command.ops):
        try:
            results += yield from _operate(draft, op)
        except CommandRefused as refusal:
            failures.append((number, str(refusal)))
    return results, failures


def failures_of(refusal: TransactionRefused) -> Failures:
    found: Failures = [(number, what) for number, what in orjson.loads(str(refusal))]
    return found


def results_of(value: str) -> list[pb.TxnResult]:
    """What the value of an applied transaction says."""
    return list(pb.TxnResults.FromString(base64.b64decode(value)).results)


def _operate(draft: Draft, op: pb.TxnOp) -> _Results:
    match op.WhichOneof("row"):
        case "kv":
            return (yield from _key(draft, op.kv))
        case "node":
            return _node(draft, op)
        case "service":
            return _service(draft, op)
        case "check":
            return _check(draft, op)
    raise InvalidCommand("unknown operation: use KV, Node, Service or Check")


# Keys


def _key(draft: Draft, op: kv_pb2.KvOp) -> _Results:
    kv.check(op)
    if op.verb == _Verb.DELETE_TREE:
        yield from kv.delete_tree(draft, op.key)
        return []
    if op.verb == _Verb.GET_TREE:
        return [_shown(row) for row in draft.state.kv_under(op.key)]
    old = draft.state.kv.get((op.key,))
    if op.verb in READS:
        return _read_key(op, old)
    if not kv.carry_out(draft, op):
        raise Conflict(_LOST[op.verb].format(op.key))
    row = draft.state.kv.get((op.key,))
    return [_shown(row, with_value=False)] if row and op.verb not in _SILENT else []


def _read_key(op: kv_pb2.KvOp, old: KeyValue | None) -> list[pb.TxnResult]:
    if op.verb == _Verb.CHECK_NOT_EXISTS:
        if old:
            raise Conflict(f'key "{op.key}" exists')
        return []
    if op.verb == _Verb.GET_OR_EMPTY:
        return [_shown(old or KeyValue(op.key))]
    if old is None:
        what = {
            _Verb.CHECK_INDEX: "failed to check index, ",
            _Verb.CHECK_SESSION: "failed to check session, ",
        }
        raise NotFound(f'{what.get(op.verb, "")}key "{op.key}" doesn\'t exist')
    if op.verb == _Verb.CHECK_INDEX and old.indexes.modify != op.index:
        raise Conflict(
            f'failed index check for key "{op.key}", current modify index {old.indexes.modify} != {op.index}'
        )
    if op.verb == _Verb.CHECK_SESSION and old.session != op.session:
        raise Conflict(
            f'failed session check for key "{op.key}", current session "{old.session}" != "{op.session}"'
        )
    return [_shown(old, with_value=op.verb == _Verb.GET)]


def _shown(row: KeyValue, *, with_value: bool = True) -> pb.TxnResult:
    return pb.TxnResult(
        kv=kv_pb2.KeyValue(
            key=row.key,
            value=row.value if with_value else b"",
            flags=row.flags,
            session=row.session,
            lock_index=row.lock_index,
            indexes=state_pb2.Indexes(create=row.indexes.create, modify=row.indexes.modify),
        )
    )


# The catalog


def _node(draft: Draft, op: pb.TxnOp) -> list[pb.TxnResult]:
    row = codec.node_from_pb(op.node)
    found = _row(
        op,
        f'node "{row.name[:128]}"',
        lambda: draft.state.nodes.get((row.name,)),
        lambda: registrations.register_node(draft, row),
        lambda _: draft.drop_node(row.name),
    )
    return [pb.TxnResult(node=codec.node_to_pb(found))] if found else []


def _service(draft: Draft, op: pb.TxnOp) -> list[pb.TxnResult]:
    row = codec.service_from_pb(op.service)

    def put() -> None:
        registrations.register_service(draft, _node_of(draft, row.node), row)

    found = _row(
        op,
        f'service "{row.id[:256]}" on node "{row.node[:128]}"',
        lambda: draft.state.services.get((row.node, row.id)),
        put,
        draft.drop_service,
    )
    return [pb.TxnResult(service=codec.service_to_pb(found))] if found else []


def _check(draft: Draft, op: pb.TxnOp) -> list[pb.TxnResult]:
    row = codec.check_from_pb(op.check)

    def put() -> None:
        registrations.register_check(draft, _node_of(draft, row.node), row)

    found = _row(
        op,
        f'check "{row.id[:256]}" on node "{row.node[:128]}"',
        lambda: draft.state.checks.get((row.node, row.id)),
        put,
        draft.drop_check,
    )
    return [pb.TxnResult(check=codec.check_to_pb(found))] if found else []


def _node_of(draft: Draft, name: str) -> Node:
    found = draft.state.nodes.get((name,))
    if found is None:
        raise NotFound(f'node "{name[:128]}" doesn\'t exist')
    return found


def _row(
    op: pb.TxnOp, what: str, get: Callable[[], R | None], put: Callable[[], None], drop: Callable[[R], None]
) -> R | None:
    """The row as it then is; None where it is gone."""
    old = get()
    indexes = old.indexes if old else Indexes()
    match op.verb:
        case pb.ROW_VERB_SET:
            put()
        case pb.ROW_VERB_CAS:
            if indexes.modify != op.index:
                raise Conflict(f"failed to set {what}, index is stale")
            put()
        case pb.ROW_VERB_GET:
            if old is None:
                raise NotFound(f"{what} doesn't exist")
        case pb.ROW_VERB_DELETE | pb.ROW_VERB_DELETE_CAS:
            if op.verb == pb.ROW_VERB_DELETE_CAS and (old is None or indexes.modify != op.index):
                raise Conflict(f"failed to delete {what}, index is stale")
            if old:
                drop(old)
            return None
        case _:
            raise InvalidCommand(f"unknown verb {op.verb} of {what}")
    return get()

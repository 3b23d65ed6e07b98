"""`/v1/txn`: operations on keys and on the catalog, all of them or none."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson

from weft.pb.catalog.v1 import kv_pb2
from weft.pb.catalog.v1 import txn_pb2 as pb

from ..acl.access import Access
from ..agent.errors import InvalidDefinition, Undecodable
from ..agent.fields import Fields, read_whole
from ..agent.service_definition import Home
from ..catalog import codec, limits, txn
from ..catalog.draft import Draft
from ..catalog.model import Indexes, KeyValue
from ..catalog.state import State
from ..catalog.txn_commands import txn as txn_command
from ..errors import TransactionRefused
from . import catalog_bodies, catalog_permission, kv, reads, views
from .blocking import gate
from .errors import BadRequest, TooMuch
from .handling import Call
from .respond import JSON_TYPE, Reply
from .views import Json

_Verb = kv_pb2.KvOp
_KV_VERBS = {name.lower().replace("_", "-"): number for name, number in _Verb.Verb.items() if number}
_ROW_VERBS = {
    name.removeprefix("ROW_VERB_").lower().replace("_", "-"): number
    for name, number in pb.RowVerb.items()
    if number
}
_TREE_WRITES = (_Verb.DELETE_TREE,)


async def put(call: Call) -> Reply:
    """What only reads is answered as surely as it asks for, and writes nothing."""
    transaction = _parsed(call.body, call.parts.datacenter)
    if all(map(txn.is_read, transaction.ops)):
        return await _read(call, transaction)
    await call.parts.log.read_index()
    state = call.parts.log.view()
    _permit_all(call, state, transaction)
    try:
        result = await call.parts.writer.propose(lambda stamp: txn_command(stamp, transaction))
    except TransactionRefused as refusal:
        return _refused(txn.failures_of(refusal))
    return call.json(_answer(call, txn.results_of(result.value)))


async def _read(call: Call, transaction: pb.Txn) -> Reply:
    query, log = call.query, call.parts.log
    sure = await gate(log, query.consistency(call.headers), query.max_stale_s())
    state, status = log.view(), log.status()
    _permit_all(call, state, transaction)
    steps = txn.run(Draft.of(state, state.index, state.time_ms), transaction)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            results, failures = end.value
            break
    if failures:
        return _refused(failures)
    headers = {
        "X-Consul-KnownLeader": "true" if status.leader else "false",
        "X-Consul-LastContact": str(int(status.last_contact_s * 1000)),
        "X-Consul-Effective-Consistency": sure.value,
    }
    return call.json(_answer(call, results), headers)


def _refused(failures: txn.Failures) -> Reply:
    errors = [{"OpIndex": number, "What": what} for number, what in failures]
    return Reply(409, orjson.dumps({"Results": None, "Errors": errors}), JSON_TYPE)


def _answer(call: Call, results: list[pb.TxnResult]) -> Json:
    """What the caller may not read is left out, as in lists."""
    shown = (_shown(call, result) for result in results)
    return {"Results": [each for each in shown if each is not None], "Errors": None}


def _shown(call: Call, result: pb.TxnResult) -> Json | None:
    match result.WhichOneof("row"):
        case "kv":
            row = _key_value(result.kv)
            return {"KV": kv.shown(row)} if call.sieve.keep([row], kv.readable) else None
        case "node":
            node = codec.node_from_pb(result.node)
            return {"Node": views.node(node)} if call.sieve.keep([node], reads.node) else None
        case "service":
            service = codec.service_from_pb(result.service)
            return (
                {"Service": views.health_service(service)}
                if call.sieve.keep([service], reads.service)
                else None
            )
        case _:
            check = codec.check_from_pb(result.check)
            return {"Check": views.check(check)} if call.sieve.keep([check], reads.check) else None


def _key_value(row: kv_pb2.KeyValue) -> KeyValue:
    indexes = Indexes(row.indexes.create, row.indexes.modify)
    return KeyValue(row.key, row.value, row.flags, row.session, row.lock_index, indexes)


# Permission


def _permit_all(call: Call, state: State, transaction: pb.Txn) -> None:
    """Raises PermissionDenied."""
    services = [op.service for op in transaction.ops if op.HasField("service")]
    for op in transaction.ops:
        _permit(call, state, op, {it.id: it.name for it in services if it.node == op.check.node})


def _permit(call: Call, state: State, op: pb.TxnOp, names: dict[str, str]) -> None:
    caller = call.caller
    if op.HasField("kv"):
        if op.kv.verb in _TREE_WRITES:
            caller.require_all("key", op.kv.key, Access.WRITE)
        elif op.kv.verb != _Verb.GET_TREE:  # of a tree, what may be read is shown
            caller.require("key", op.kv.key, Access.READ if op.kv.verb in txn.READS else Access.WRITE)
    elif op.verb == pb.ROW_VERB_GET:
        _permit_read(call, state, op)
    elif op.verb in (pb.ROW_VERB_DELETE, pb.ROW_VERB_DELETE_CAS):
        catalog_permission.delete(caller, state, *_named(op))
    elif op.HasField("node"):
        caller.require("node", op.node.name, Access.WRITE)
    elif op.HasField("service"):
        catalog_permission.write_service(caller, state, codec.service_from_pb(op.service))
    else:
        catalog_permission.write_check(caller, state, codec.check_from_pb(op.check), names)


def _permit_read(call: Call, state: State, op: pb.TxnOp) -> None:
    node, service_id, check_id = _named(op)
    service = state.services.get((node, service_id)) if service_id else None
    check = state.checks.get((node, check_id)) if check_id else None
    name = service.name if service else check.service_name if check else ""
    if name:
        call.caller.require("service", name, Access.READ)
    else:
        call.caller.require("node", node, Access.READ)


def _named(op: pb.TxnOp) -> tuple[str, str, str]:
    """Node, service id and check id."""
    if op.HasField("node"):
        return op.node.name, "", ""
    if op.HasField("service"):
        return op.service.node, op.service.id, ""
    return op.check.node, "", op.check.id


# The body


def _parsed(body: bytes, datacenter: str) -> pb.Txn:
    """Raises BadRequest, TooMuch."""
    try:
        items = orjson.loads(body)
        if not isinstance(items, list):
            raise Undecodable("the body must be a list of operations")
        if len(items) > limits.TXN_OPS_MAX:
            raise TooMuch(f"Transaction contains too many operations ({len(items)} > {limits.TXN_OPS_MAX})")
        ops = [
            read_whole(item, f"[{number}]", lambda fields: _op(fields, datacenter))
            for number, item in enumerate(items)
        ]
    except (orjson.JSONDecodeError, Undecodable, InvalidDefinition) as error:
        raise BadRequest(f"Failed to parse body: {error}") from None
    return pb.Txn(ops=ops)


def _op(fields: Fields, datacenter: str) -> pb.TxnOp:
    given = [name for name in ("KV", "Node", "Service", "Check") if fields.has(name)]
    if len(given) != 1:
        raise Undecodable(f"{fields.path('KV')}: give one of KV, Node, Service and Check")
    readers = {
        "KV": _key,
        "Node": lambda it: _node(it, datacenter),
        "Service": lambda it: _service(it, datacenter),
        "Check": _check,
    }
    op = fields.child(given[0], readers[given[0]])
    assert op is not None  # `has` said so
    return op


def _key(fields: Fields) -> pb.TxnOp:
    for echoed in ("Namespace", "Partition", "LockIndex", "CreateIndex", "ModifyIndex"):
        fields.raw(echoed)
    key, value = fields.text("Key"), _value(fields)
    if len(value) > limits.KV_VALUE_BYTES_MAX:
        raise TooMuch(
            f'Value for key "{key[:256]}" is too large ({len(value)} > {limits.KV_VALUE_BYTES_MAX} bytes)'
        )
    op = _Verb(
        verb=_verb(fields, _KV_VERBS, "KV"),
        key=key,
        value=value,
        flags=_unsigned(fields, "Flags"),
        index=_unsigned(fields, "Index"),
        session=fields.text("Session"),
    )
    return pb.TxnOp(kv=op)


def _value(fields: Fields) -> bytes:
    raw = fields.raw("Value")
    if not isinstance(raw, str | None):
        raise Undecodable(f"{fields.path('Value')} must be base64")
    try:
        return base64.b64decode(raw or "", validate=True)
    except (binascii.Error, ValueError):
        raise Undecodable(f"{fields.path('Value')} must be base64") from None


def _unsigned(fields: Fields, name: str) -> int:
    value = fields.raw(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**64:
        raise Undecodable(f"{fields.path(name)} must be a number of 64 bits")
    return value


def _verb(fields: Fields, verbs: Mapping[str, Any], kind: str) -> Any:
    """The number of a verb, of whichever of the two enumerations."""
    text = fields.text("Verb")
    if text not in verbs:
        raise Undecodable(f"{fields.path('Verb')}: unknown {kind} verb {text[:40]!r}; use {', '.join(verbs)}")
    return verbs[text]


def _node(fields: Fields, datacenter: str) -> pb.TxnOp:
    verb = _verb(fields, _ROW_VERBS, "Node")
    found = fields.child(
        "Node", lambda it: (_unsigned(it, "ModifyIndex"), catalog_bodies.node(it, datacenter))
    )
    index, row = found or _nothing(fields, "Node")
    return pb.TxnOp(node=codec.node_to_pb(row), verb=verb, index=index)


def _service(fields: Fields, datacenter: str) -> pb.TxnOp:
    verb, home = _verb(fields, _ROW_VERBS, "Service"), Home(fields.text("Node"), datacenter)
    found = fields.child(
        "Service", lambda it: (_unsigned(it, "ModifyIndex"), catalog_bodies.service(it, home))
    )
    index, row = found or _nothing(fields, "Service")
    return pb.TxnOp(service=codec.service_to_pb(row), verb=verb, index=index)


def _check(fields: Fields) -> pb.TxnOp:
    verb = _verb(fields, _ROW_VERBS, "Check")
    found = fields.child("Check", lambda it: (_unsigned(it, "ModifyIndex"), catalog_bodies.check(it, "")))
    index, row = found or _nothing(fields, "Check")
    return pb.TxnOp(check=codec.check_to_pb(row), verb=verb, index=index)


def _nothing(fields: Fields, name: str) -> NoReturn:
    raise Undecodable(f"{fields.path(name)} is missing")

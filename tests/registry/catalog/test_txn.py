"""Transactions, against a dictionary that either takes all operations or none."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import codec, kv_commands, limits, session_commands, txn
from registry.catalog.model import Session
from registry.catalog.txn_commands import txn as command
from registry.errors import InvalidCommand, TransactionRefused
from tests.support.acl import acl_id
from tests.support.catalog import World, check, node, service, stamp
from weft.pb.catalog.v1 import txn_pb2 as pb
from weft.pb.catalog.v1.kv_pb2 import KvOp


def kv(verb: str, key: str, value: bytes = b"", **fields: Any) -> pb.TxnOp:
    return pb.TxnOp(kv=KvOp(verb=KvOp.Verb.Value(verb), key=key, value=value, **fields))


def row(verb: str, what: Any, index: int = 0) -> pb.TxnOp:
    number = pb.RowVerb.Value(f"ROW_VERB_{verb}")
    match type(what).__name__:
        case "Node":
            return pb.TxnOp(node=codec.node_to_pb(what), verb=number, index=index)
        case "Service":
            return pb.TxnOp(service=codec.service_to_pb(what), verb=number, index=index)
    return pb.TxnOp(check=codec.check_to_pb(what), verb=number, index=index)


def do(world: World, *ops: pb.TxnOp) -> list[pb.TxnResult]:
    done = world.attempt(command(stamp(), pb.Txn(ops=ops)))
    assert not done.answer.code, done.answer.message
    return txn.results_of(done.answer.value)


def failures(world: World, *ops: pb.TxnOp) -> txn.Failures:
    before = world.state
    done = world.attempt(command(stamp(), pb.Txn(ops=ops)))
    assert done.answer.code, done.answer
    assert not done.touched
    assert world.state.kv is before.kv
    assert world.state.services is before.services
    return txn.failures_of(TransactionRefused(done.answer.message))


Step = tuple[str, str, Any]
KEYS = ("a", "a/b", "a/c", "b")
_ops = st.one_of(
    st.tuples(st.just("SET"), st.sampled_from(KEYS), st.binary(max_size=2)),
    st.tuples(st.just("CAS"), st.sampled_from(KEYS), st.sampled_from([0, 3, 4, 5])),
    st.tuples(
        st.sampled_from(["GET", "GET_OR_EMPTY", "CHECK_NOT_EXISTS", "DELETE"]),
        st.sampled_from(KEYS),
        st.none(),
    ),
    st.tuples(st.sampled_from(["GET_TREE", "DELETE_TREE"]), st.sampled_from(["", "a/", "x"]), st.none()),
    st.tuples(
        st.sampled_from(["CHECK_INDEX", "DELETE_CAS"]), st.sampled_from(KEYS), st.sampled_from([0, 3, 4, 5])
    ),
)


class Oracle:
    """key -> value and modify index."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[bytes, int]] = {}

    def apply(
        self, steps: list[tuple[str, str, Any]], index: int
    ) -> tuple[list[int], list[tuple[str, bytes]]]:
        """Which operations failed; and what was answered: keys with their values."""
        rows = dict(self.rows)
        failed, shown = [], []
        for number, (verb, key, what) in enumerate(steps):
            old = rows.get(key)
            at = old[1] if old else 0
            match verb:
                case "SET":
                    rows[key] = old if old and old[0] == what else (what, index)
                    shown.append((key, b""))
                case "CAS" if what == at:
                    rows[key] = old if old and old[0] == b"" else (b"", index)
                    shown.append((key, b""))
                case "GET" if old:
                    shown.append((key, old[0]))
                case "GET_OR_EMPTY":
                    shown.append((key, old[0] if old else b""))
                case "GET_TREE":
                    shown += [(it, rows[it][0]) for it in sorted(rows) if it.startswith(key)]
                case "CHECK_NOT_EXISTS" if not old:
                    pass
                case "CHECK_INDEX" if old and what == at:
                    shown.append((key, b""))
                case "DELETE":
                    rows.pop(key, None)
                case "DELETE_TREE":
                    rows = {it: value for it, value in rows.items() if not it.startswith(key)}
                case "DELETE_CAS" if not old or what == at:
                    rows.pop(key, None)
                case _:
                    failed.append(number)
        if not failed:
            self.rows = rows
        return failed, shown


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(_ops, max_size=6), max_size=6))
def test_all_or_nothing(transactions: list[list[tuple[str, str, Any]]]) -> None:
    world, oracle = World.set_up(), Oracle()
    for steps in transactions:
        ops = [
            kv(verb, key, what) if isinstance(what, bytes) else kv(verb, key, index=what or 0)
            for verb, key, what in steps
        ]
        failed, shown = oracle.apply(steps, world.state.index + 1)
        if failed:
            assert [number for number, _ in failures(world, *ops)] == failed
        else:
            assert [(it.kv.key, it.kv.value) for it in do(world, *ops)] == shown
        found = {it.key: (it.value, it.indexes.modify) for it in world.state.kv.values()}
        assert found == oracle.rows


def test_the_catalog_changes_with_the_keys() -> None:
    world = World.set_up()
    results = do(
        world,
        row("SET", node("n2")),
        row("SET", service("web", on="n2")),
        row("SET", check("c", "web", on="n2")),
        kv("SET", "web", b"v"),
    )
    assert [it.WhichOneof("row") for it in results] == ["node", "service", "check", "kv"]
    assert results[2].check.service_name == "web"
    assert results[1].service.indexes.modify == world.state.index
    index = world.state.index
    assert failures(world, row("CAS", service("web", on="n2"), index - 1)) == [
        (0, 'failed to set service "web" on node "n2", index is stale')
    ]
    do(world, row("CAS", service("web", on="n2", tags=("a",)), index), row("GET", node("n2")))
    assert failures(world, row("DELETE_CAS", node("n3"), 1), row("GET", check("gone"))) == [
        (0, 'failed to delete node "n3", index is stale'),
        (1, 'check "gone" on node "n1" doesn\'t exist'),
    ]
    assert do(world, row("DELETE", check("c", on="n2")), row("DELETE", node("n2"))) == []
    assert ("n2",) not in world.state.nodes
    assert ("n2", "web") not in world.state.services


def test_locks_in_a_transaction() -> None:
    world = World.set_up()
    session, other = acl_id(1), acl_id(2)
    for each in (session, other):
        world.do(session_commands.create_session(stamp(), Session(each, "n1")))
    (taken,) = do(world, kv("LOCK", "a", b"v", session=session))
    assert (taken.kv.session, taken.kv.lock_index, taken.kv.value) == (session, 1, b"")
    (checked,) = do(world, kv("CHECK_SESSION", "a", session=session))
    assert checked.kv.session == session
    assert failures(
        world,
        kv("LOCK", "a", session=other),
        kv("UNLOCK", "a", session=other),
        kv("CHECK_SESSION", "a", session=other),
        kv("CHECK_SESSION", "b", session=other),
        kv("LOCK", "b", session=acl_id(3)),
    ) == [
        (0, 'failed to lock key "a", lock is already held'),
        (1, 'failed to unlock key "a", lock isn\'t held, or is held by another session'),
        (2, f'failed session check for key "a", current session "{session}" != "{other}"'),
        (3, 'failed to check session, key "b" doesn\'t exist'),
        (4, f'invalid session "{acl_id(3)}"'),
    ]


def test_there_is_a_bound_of_operations_and_of_what_is_read() -> None:
    world = World.set_up()
    done = world.attempt(command(stamp(), pb.Txn(ops=[kv("GET_TREE", "")] * 65)))
    with pytest.raises(InvalidCommand, match=r"too many operations \(65 > 64\)"):
        world.do(command(stamp(), pb.Txn(ops=[kv("GET_TREE", "")] * 65)))
    assert done.answer.code
    for n in range(5):
        world.do(kv_commands.set_kv(stamp(), f"k{n}", b"x" * limits.KV_VALUE_BYTES_MAX))
    with pytest.raises(InvalidCommand, match="read at most"):
        world.do(command(stamp(), pb.Txn(ops=[kv("GET_TREE", ""), kv("SET", "a")])))
    assert world.state.key("a").rows is None


def test_large_results_are_not_kept_for_a_retry() -> None:
    world = World.set_up()
    world.do(kv_commands.set_kv(stamp(), "big", b"x" * limits.ANSWER_VALUE_CHARS_MAX))
    write = command(stamp(), pb.Txn(ops=[kv("GET", "big"), kv("SET", "a", b"1")]))
    assert len(world.attempt(write).answer.value) > limits.ANSWER_VALUE_CHARS_MAX
    again = world.attempt(write)
    assert "results are not kept" in again.answer.message
    assert not again.touched
    small = command(stamp(), pb.Txn(ops=[kv("SET", "b", b"1")]))
    assert world.attempt(small).answer == world.attempt(small).answer

"""The state machine as a whole: deterministic, total, and answering a retry once."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.acl.tables import AclTables
from registry.catalog import (
    acl_commands,
    addresses,
    commands,
    events,
    experiments,
    kv_commands,
    queries,
    session_commands,
    snapshot,
    watches,
)
from registry.catalog.answers import Answers
from registry.catalog.apply import apply, ensure_known
from registry.catalog.experiment_row import Experiment
from registry.catalog.model import Coordinate, Event, PreparedQuery, Session, Upstream
from registry.catalog.state import State
from registry.catalog.tree import Tree
from registry.catalog.txn_commands import txn
from registry.config_entries.schema import canonical_json
from registry.errors import LogCorrupt, UnknownCommand
from registry.intentions.entry import entries_of, entry_of
from tests.support.acl import acl_bootstrap, acl_id, acl_rows
from tests.support.catalog import World, check, digest, intention, node, proxy, root, service, stamp
from weft.pb.catalog.v1 import command_pb2 as pb
from weft.pb.catalog.v1 import txn_pb2

ROOT = Path(__file__).resolve().parents[3]
_RESET = b'{"EndsAt":"1970-01-01T01:00:00Z","Name":"%s","Reset":true}'
_names = st.sampled_from(["a", "b", "c", "*", "", "no name"])
_statuses = st.sampled_from(["passing", "warning", "critical", "odd"])
_times = st.integers(-5, 10**8)
_cas = st.sampled_from([None, 0, 3])
_entries: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(
        lambda it, to: {"Kind": "service-resolver", "Name": it, "Redirect": {"Service": to}}, _names, _names
    ),
    st.builds(
        lambda it, to: {
            "Kind": "service-splitter",
            "Name": it,
            "Splits": [{"Service": to, "Weight": 40}, {"ServiceSubset": "v1", "Weight": 60}],
        },
        _names, _names,
    ),
    st.builds(
        lambda it, sources, jwt: {
            "Kind": "service-intentions",
            "Name": it,
            "Meta": {"k": it},
            "Sources": [{"Name": source, "Action": "allow"} for source in sources],
            **({"JWT": {"Providers": [{"Name": "a"}]}} if jwt else {}),
        },
        _names, st.lists(_names, max_size=3, unique=True), st.booleans(),
    ),
    st.builds(
        lambda it: {
            "Kind": "jwt-provider", "Name": it, "JSONWebKeySet": {"Remote": {"URI": "https://a.b/c"}}
        },
        _names,
    ),
    st.builds(
        lambda it, said: {"Kind": "service-defaults", "Name": it, "MeshGateway": {}, "Protocol": said},
        _names, st.sampled_from(["tcp", "http"]),
    ),
)  # fmt: skip
_keys = st.sampled_from(["", "a", "a/", "a/b", "a/b/c", "ab", "b/ç d", " a", "a/../b"])
_sessions = st.integers(1, 4)
_values = st.sampled_from([b"", b"1", b"\xff" * 99])
_kv_commands = st.one_of(
    st.builds(
        lambda key, value, flags, index: kv_commands.set_kv(
            stamp(), key, value, flags, expected_index=index
        ),
        _keys, _values, st.sampled_from([0, 1, 2**64 - 1]), _cas,
    ),
    st.builds(lambda key, index: kv_commands.delete_kv(stamp(), key, expected_index=index), _keys, _cas),
    st.builds(lambda key: kv_commands.delete_kv_tree(stamp(), key), _keys),
    st.builds(
        lambda time, key, it, value: kv_commands.lock_kv(stamp(time), key, acl_id(it), value),
        _times, _keys, _sessions, _values,
    ),
    st.builds(lambda key, it: kv_commands.unlock_kv(stamp(), key, acl_id(it)), _keys, _sessions),
    st.builds(
        lambda it, on, checks, behavior, delay: session_commands.create_session(
            stamp(), Session(acl_id(it), on, "s", delay, behavior, "10s", checks)
        ),
        _sessions, st.sampled_from(["n1", "a"]), st.sampled_from([(), ("n",), ("ca",)]),
        st.sampled_from(["release", "delete"]), st.sampled_from([0, 15_000, 60_000]),
    ),
    st.builds(lambda it: session_commands.end_session(stamp(), acl_id(it)), _sessions),
)  # fmt: skip
_transactions = st.lists(_kv_commands.filter(lambda it: it.HasField("change_kv")), max_size=4).map(
    lambda steps: txn(stamp(), txn_pb2.Txn(ops=[txn_pb2.TxnOp(kv=it.change_kv.op) for it in steps]))
)
_other_commands = st.one_of(
    st.builds(
        lambda n, name, on: events.fire_event(stamp(), Event(0, acl_id(n), name, b"p", on)),
        st.integers(1, 9), _names, st.sampled_from(["", "n1", "("]),
    ),
    st.builds(
        lambda on, error: events.set_coordinate(stamp(), Coordinate(on, "", (0.5,) * 8, error)),
        st.sampled_from(["n1", "a", "b"]), st.sampled_from([0.0, 1.5, float("nan")]),
    ),
    st.builds(
        lambda n, name, it, is_template, update: queries.set_query(
            stamp(),
            PreparedQuery(
                acl_id(n), name, it and acl_id(it), "", is_template, "", b'{"Service":{"Service":"a"}}'
            ),
            update=update,
        ),
        st.integers(1, 4), _names, st.sampled_from(["", 1, 2]), st.booleans(), st.booleans(),
    ),
    st.builds(lambda n: queries.delete_query(stamp(), acl_id(n)), st.integers(1, 4)),
    st.builds(
        lambda name, on: experiments.start_experiment(
            stamp(),
            Experiment(name, on, _RESET % name.encode(), 0),
        ),
        _names, _names,
    ),
    st.builds(lambda: addresses.give_addresses(stamp())),
    st.builds(lambda name: experiments.end_experiments(stamp(), [(name, 0)], "stopped"), _names),
)  # fmt: skip
_commands = st.one_of(
    _other_commands,
    _kv_commands,
    _transactions,
    st.builds(
        lambda time, on, it, name, status: commands.register(
            stamp(time),
            node(on),
            [service(it, name, on, tags=(name,)), proxy(it, name, on, upstreams=(Upstream("a", 1),))],
            [check("c" + it, it, status, on), check("n", "", status, on)],
        ),
        _times, _names, _names, _names, _statuses,
    ),
    st.builds(
        lambda time, on, it: commands.deregister_services(stamp(time), on, [it]), _times, _names, _names
    ),
    st.builds(lambda on: commands.deregister_node(stamp(), on), _names),
    st.builds(lambda on, it: commands.deregister_check(stamp(), on, "c" + it), _names, _names),
    st.builds(
        lambda on, it, to: commands.update_check(stamp(), on, "c" + it, to, "o"), _names, _names, _statuses
    ),
    st.builds(
        lambda a, b, yes: commands.set_intention(stamp(), intention(a, b, yes)),
        _names, _names, st.booleans(),
    ),
    st.builds(lambda a, b: commands.delete_intention(stamp(), a, b), _names, _names),
    st.builds(lambda on, it: commands.mint_credential(stamp(), f"dc1/{on}/{it}", digest(it)), _names, _names),
    st.builds(lambda on, it: commands.revoke_credential(stamp(), f"dc1/{on}/{it}"), _names, _names),
    st.builds(
        lambda on, it, serial, end: commands.record_leaf(stamp(), f"dc1/{on}/{it}", digest(it), serial, end),
        _names, _names, st.integers(0, 2**160), _times,
    ),
    st.builds(lambda it, epoch: commands.set_roots(stamp(), [root(it)], epoch), _names, st.integers(0, 3)),
    st.builds(lambda time: commands.expire(stamp(time)), _times),
    st.builds(
        lambda n, time, end: acl_commands.set_acl(stamp(time), acl_rows(n, time + end)),
        st.integers(1, 9), _times, st.sampled_from([0, 60_000, 10**7]),
    ),
    st.builds(lambda n: acl_commands.delete_acl(stamp(), token=acl_id(n)), st.integers(1, 9)),
    st.builds(lambda n: acl_commands.delete_acl(stamp(), policy=acl_id(n)), st.integers(1, 9)),
    st.builds(lambda n: acl_commands.delete_acl(stamp(), auth_method=f"m{n}"), st.integers(1, 9)),
    st.builds(lambda n: acl_commands.bootstrap_acl(stamp(), acl_bootstrap(n)), st.integers(1, 9)),
    st.builds(
        lambda entry, index: commands.set_config_entry(stamp(), canonical_json(entry), index), _entries, _cas
    ),
    st.builds(
        lambda entry, index: commands.delete_config_entry(stamp(), entry["Kind"], entry["Name"], index),
        _entries, _cas,
    ),
)  # fmt: skip


def _content(state: State) -> dict[str, object]:
    """Every field, trees as the lists of what they hold."""
    fields = {name: getattr(state, name) for name in State.__dataclass_fields__}
    fields |= {f"acl.{name}": getattr(state.acl, name) for name in AclTables.__dataclass_fields__}
    del fields["acl"]
    return {name: list(it.items()) if isinstance(it, Tree | Answers) else it for name, it in fields.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(_commands, max_size=40))
def test_every_state_survives_a_snapshot_whole(steps: list[pb.Command]) -> None:
    """Also the secondary indexes, tombstones and answers: the restored server goes on identically."""
    world = World.set_up()
    for step in steps:
        world.attempt(step)
    restored = snapshot.decode(snapshot.encode(world.state))
    assert _content(restored) == _content(world.state)
    assert list(snapshot.encode(restored)) == list(snapshot.encode(world.state))


@settings(max_examples=60, deadline=None)
@given(st.lists(_commands, max_size=30))
def test_indexes_move_exactly_when_rows_change(steps: list[pb.Command]) -> None:
    """What a query answers may change only if its index moved, and one of its keys was touched."""
    world = World.set_up()
    queries = [
        lambda state: state.service_nodes("a"),
        lambda state: state.connect_nodes("a"),
        lambda state: state.node("a"),
        lambda state: state.list_nodes(),
        lambda state: state.service_names(),
        lambda state: state.checks_in(),
        lambda state: state.instance("dc1/a/a"),
        lambda state: state.credential("dc1/a/a"),
        lambda state: state.revoked(),
        lambda state: state.ca_roots(),
        lambda state: state.intention("a", "b"),
        lambda state: state.config_entry("service-splitter", "a"),
        lambda state: state.config_entries_of("service-resolver"),
        lambda state: state.key("a/b"),
        lambda state: state.session(acl_id(1)),
        lambda state: state.list_sessions(),
        lambda state: state.read(list(state.events.values()), watches.EVENTS),
        lambda state: state.read(list(state.coordinates.values()), watches.COORDINATES),
        lambda state: state.read(list(state.queries.values()), watches.QUERIES),
        lambda state: state.read(list(state.experiments.values()), watches.EXPERIMENTS),
        lambda state: state.read(experiments.running(state, "a"), watches.experiments_on("a")),
        lambda state: state.sessions_on("a"),
        lambda state: state.keys_under(""),
        lambda state: state.keys_under("a"),
        lambda state: state.keys_under("a/b"),
        lambda state: state.keys_under("a/b/"),
        lambda state: entry_of(state, "a"),
        lambda state: entries_of(state),
    ]
    for step in steps:
        before = [query(world.state) for query in queries]
        done = world.attempt(step)
        for query, old in zip(queries, before, strict=True):
            new = query(world.state)
            assert new.index >= old.index
            if new.rows != old.rows:
                assert new.index == world.state.index
                assert done.touched & set(new.keys)


def test_what_comes_back_is_no_tombstone_any_more() -> None:
    """Else it would be dropped by age while it is read, and a restored server would disagree."""
    world = World.set_up()
    for time_ms in (2_000, 3_000):
        world.register(service("web-1", "web"))
        world.do(commands.deregister_services(stamp(time_ms), "n1", ["web-1"]))
    assert {key[0] for key, _ in world.state.tombstones.items()} == {3_000}
    world.register(service("web-1", "web"))
    assert len(world.state.tombstones) == 0
    assert _content(snapshot.decode(snapshot.encode(world.state))) == _content(world.state)


_wild = st.builds(
    lambda kind, data: (kind, data),
    st.sampled_from([*range(10, 30), *range(40, 80)]),
    st.binary(max_size=200),
)


@settings(max_examples=400, deadline=None)
@given(_wild)
def test_trap_21_a_known_command_never_raises(wild: tuple[int, bytes]) -> None:
    """Any bytes that parse as a known command have an outcome, or are unknown and say so."""
    kind, data = wild
    head = commands.expire(stamp())
    head.ClearField("expire")
    length = bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
    tag = (kind << 3) | 2
    encoded = head.SerializeToString() + bytes([tag & 0x7F | 0x80, tag >> 7]) + length + data
    try:
        command = pb.Command.FromString(encoded)
        ensure_known(command)
    except (DecodeError, UnknownCommand):
        return
    assert apply(World.set_up().state, command, 3).state.index == 3


@pytest.mark.parametrize(
    "encoded",
    [
        pb.Command(version=commands.COMMAND_VERSION + 1, expire=pb.Expire()).SerializeToString(),
        pb.Command(version=1).SerializeToString(),
        pb.Command(version=1).SerializeToString() + b"\xfa\x06\x00",  # body of number 111
        pb.Command(version=1, expire=pb.Expire()).SerializeToString() + b"\xf8\x06\x01",
    ],
)
def test_trap_21_an_unknown_command_halts(encoded: bytes) -> None:
    with pytest.raises(UnknownCommand):
        apply(State(), pb.Command.FromString(encoded), 1)


def test_a_retry_is_answered_and_not_applied_again() -> None:
    world = World.set_up()
    write = commands.set_intention(stamp(), intention("a", "b"))
    first = world.attempt(write)
    world.do(commands.delete_intention(stamp(), "a", "b"))
    again = world.attempt(write)
    assert again.answer == first.answer
    assert again.touched == frozenset()
    assert world.state.intention("a", "b").rows is None


def test_a_retry_of_a_refused_write_is_refused_again() -> None:
    world = World.set_up()
    write = commands.update_check(stamp(), "n1", "c", "passing", "")
    first = world.attempt(write)
    world.register(check("c"))
    assert world.attempt(write).answer == first.answer
    assert first.answer.code


def test_answers_are_forgotten_by_age_and_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.catalog.limits.ANSWERS_PER_GENERATION", 4)
    monkeypatch.setattr("registry.catalog.limits.ANSWER_GENERATIONS_MAX", 2)
    world = World()
    writes = [commands.expire(stamp()) for _ in range(20)]
    for write in writes:  # at the indexes 1 to 20, so the newest generation is index 20 alone
        world.do(write)
    known = [world.state.answers.get(write.request_id) is not None for write in writes]
    assert known == [False] * 11 + [True] * 9
    assert len(world.state.answers) == 9
    for _ in range(4):
        world.do(commands.expire(stamp(time_ms=10**9)))
    assert len(world.state.answers) == 5


def test_a_restored_server_forgets_answers_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.catalog.limits.ANSWERS_PER_GENERATION", 4)
    monkeypatch.setattr("registry.catalog.limits.ANSWER_GENERATIONS_MAX", 2)
    world = World()
    for _ in range(30):
        world.do(commands.expire(stamp()))
        restored = snapshot.decode(snapshot.encode(world.state))
        assert restored.answers.older == world.state.answers.older
        step = commands.expire(stamp())
        assert list(snapshot.encode(apply(restored, step, restored.index + 1).state)) == list(
            snapshot.encode(apply(world.state, step, restored.index + 1).state)
        )


def test_a_write_without_a_request_id_is_refused() -> None:
    done = World().attempt(commands.expire(commands.Stamp(1, b"short")))
    assert "request_id" in done.answer.message


def test_old_views_do_not_change() -> None:
    world = World.set_up()
    old, content = world.state, _content(world.state)
    world.register(service("web-1", "web"), check("c", "web-1"))
    assert _content(old) == content


@pytest.mark.parametrize("damage", [b"", b"\xff", b"\x08\x63"])
def test_a_snapshot_that_does_not_decode_is_corrupt(damage: bytes) -> None:
    with pytest.raises(LogCorrupt):
        snapshot.decode([damage])
    with pytest.raises(LogCorrupt):
        snapshot.decode([next(snapshot.encode(State())), b"\x00"])


def _replay() -> str:
    """Digest of a snapshot after a fixed log that uses many sets and mappings."""
    world = World.set_up()
    for number in range(60):
        name = f"s{number % 7}"
        meta = {f"k{it}": str(number) for it in range(5)}
        world.register(service(f"i{number}", name, meta=meta, tags=(f"t{number % 3}",)), check(f"c{number}"))
        world.do(commands.set_intention(stamp(), intention(name, f"s{number % 5}")))
        world.do(commands.mint_credential(stamp(), f"dc1/n1/i{number}", digest(name)))
        world.do(commands.record_leaf(stamp(), f"dc1/n1/i{number}", digest(name), number + 1, 10**6 + number))
        if number % 3 == 0:
            world.do(commands.deregister_services(stamp(), "n1", [f"i{number}"]))
    return hashlib.sha256(b"".join(snapshot.encode(world.state))).hexdigest()


def test_trap_22_two_hash_seeds_give_the_same_snapshot() -> None:
    script = "from tests.registry.catalog.test_apply import _replay; print(_replay())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for seed in ("1", "4242")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64

"""Sessions and the locks that they hold, against a model that knows who may hold what."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import commands, kv_commands, limits, session_commands
from registry.catalog.model import DELETE, KeyValue, Session
from registry.errors import Conflict, InvalidCommand, InvalidSession, SessionRefused
from tests.support.acl import acl_id as uuid
from tests.support.catalog import World, check, node, service, stamp


def create(world: World, n: int = 1, on: str = "n1", **fields: Any) -> str:
    world.do(session_commands.create_session(stamp(), Session(uuid(n), on, **fields)))
    return uuid(n)


def lock(world: World, key: str, session: str, time_ms: int = 1_000) -> bool:
    return world.attempt(kv_commands.lock_kv(stamp(time_ms), key, session, b"v")).answer.value == "true"


def unlock(world: World, key: str, session: str) -> bool:
    return world.attempt(kv_commands.unlock_kv(stamp(), key, session, b"w")).answer.value == "true"


def row(world: World, key: str) -> KeyValue:
    found = world.state.key(key).rows
    assert found is not None
    return found


def test_a_lock_is_held_by_one_session_and_taken_once() -> None:
    world = World.set_up()
    first, second = create(world, 1), create(world, 2)
    assert lock(world, "a", first)
    assert (row(world, "a").session, row(world, "a").lock_index) == (first, 1)
    assert not lock(world, "a", second)
    assert lock(world, "a", first), "who holds it may write by it again"
    assert row(world, "a").lock_index == 1
    world.do(kv_commands.set_kv(stamp(), "a", b"by anyone"))
    assert row(world, "a").session == first, "locks are advisory: a write leaves them"
    assert not unlock(world, "a", second)
    assert unlock(world, "a", first)
    assert not unlock(world, "a", first)
    assert (row(world, "a").session, row(world, "a").value) == ("", b"w")
    assert lock(world, "a", second), "a lock that was given back knows no delay"
    assert row(world, "a").lock_index == 2


def test_the_end_of_a_session_frees_its_locks_after_the_delay() -> None:
    world = World.set_up()
    first, second = create(world, 1, lock_delay_ms=15_000), create(world, 2)
    lock(world, "a", first)
    touched = world.do(session_commands.end_session(stamp(1_000), first))
    assert ("kv", "a") in touched
    assert row(world, "a").session == ""
    assert not lock(world, "a", second, 15_999)
    assert lock(world, "a", second, 16_000)
    assert len(world.state.lock_delays) == 1
    world.do(commands.expire(stamp(20_000)))
    assert not world.state.lock_delays
    assert not world.state.lock_delays_by_end


def test_keys_of_a_session_that_deletes_go_with_it() -> None:
    world = World.set_up()
    session = create(world, 1, behavior=DELETE, lock_delay_ms=0)
    lock(world, "a", session)
    lock(world, "b", session)
    unlock(world, "b", session)
    world.do(session_commands.end_session(stamp(), session))
    assert world.state.key("a").rows is None
    assert world.state.key("b").rows is not None
    assert not world.state.lock_delays
    assert not world.state.kv_locked


@pytest.mark.parametrize("how", ["critical", "check gone", "service gone", "node gone"])
def test_a_session_ends_with_what_it_depends_on(how: str) -> None:
    world = World.set_up()
    world.register(service("web"), check("alive"), check("up", "web"), check("other", status="critical"))
    session = create(world, 1, node_checks=("alive",), service_checks=("up",))
    bystander = create(world, 2)
    lock(world, "a", session)
    match how:
        case "critical":
            world.do(commands.update_check(stamp(), "n1", "up", "warning", ""))
            assert world.state.session(session).rows
            world.do(commands.update_check(stamp(), "n1", "up", "critical", ""))
        case "check gone":
            world.do(commands.deregister_check(stamp(), "n1", "alive"))
        case "service gone":
            world.do(commands.deregister_services(stamp(), "n1", ["web"]))
        case "node gone":
            world.do(commands.deregister_node(stamp(), "n1"))
    assert world.state.session(session).rows is None
    assert row(world, "a").session == ""
    assert (world.state.session(bystander).rows is None) == (how == "node gone")


def test_trap_23_the_end_compares() -> None:
    world = World.set_up()
    session = create(world)
    created = world.state.index
    with pytest.raises(Conflict):
        world.do(session_commands.end_session(stamp(), session, expected_index=created + 1))
    world.do(session_commands.end_session(stamp(), session, expected_index=created))
    assert world.attempt(session_commands.end_session(stamp(), session)).answer.value == ""


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"on": "n9"}, SessionRefused, "Missing node registration"),
        ({"node_checks": ("gone",)}, SessionRefused, "Missing check 'gone' registration"),
        ({"node_checks": ("bad",)}, SessionRefused, "Check 'bad' is in critical state"),
        ({"ttl": "9s"}, InvalidCommand, r"Invalid Session TTL '9s', must be between \[10s=24h0m0s\]"),
        ({"ttl": "25h"}, InvalidCommand, "Invalid Session TTL"),
        ({"ttl": "soon"}, InvalidCommand, "Invalid Session TTL"),
        ({"behavior": "keep"}, InvalidCommand, "Invalid Behavior setting 'keep'"),
        ({"lock_delay_ms": 60_001}, InvalidCommand, "LockDelay"),
        ({"node_checks": ("c",) * 65}, InvalidCommand, "Checks: use at most 64"),
    ],
)
def test_what_is_no_session_is_refused(fields: dict[str, Any], error: type[Exception], says: str) -> None:
    world = World.set_up()
    world.register(check("bad", status="critical"))
    with pytest.raises(error, match=says):
        create(world, 1, **fields)


def test_locks_of_one_session_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOCKS_PER_SESSION_MAX", 3)
    world = World.set_up()
    session = create(world)
    assert all(lock(world, key, session) for key in "abc")
    with pytest.raises(InvalidCommand, match="holds 3 locks already"):
        world.do(kv_commands.lock_kv(stamp(), "d", session))
    assert lock(world, "a", session)


@dataclass
class Model:
    """Who holds what: session -> behavior, key -> holder ("" is nobody)."""

    sessions: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def end(self, session: str) -> None:
        behavior = self.sessions.pop(session, "")
        for key in [key for key, holder in self.keys.items() if holder == session]:
            if behavior == DELETE:
                del self.keys[key]
            else:
                self.keys[key] = ""


_ids = st.integers(1, 3).map(uuid)
_held = st.sampled_from("abc")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("create"), _ids, st.sampled_from(["release", DELETE])),
            st.tuples(st.just("end"), _ids, st.just("")),
            st.tuples(st.just("lock"), _ids, _held),
            st.tuples(st.just("unlock"), _ids, _held),
            st.tuples(st.just("delete"), _ids, _held),
        ),
        max_size=30,
    )
)
def test_nobody_holds_a_lock_without_a_session(steps: list[tuple[str, str, str]]) -> None:
    world, model = World.set_up(), Model()
    world.do(commands.register(stamp(), node("n2")))
    for verb, session, what in steps:
        match verb:
            case "create" if session not in model.sessions:
                create_ = Session(session, "n2", lock_delay_ms=0, behavior=what)
                world.do(session_commands.create_session(stamp(), create_))
                model.sessions[session] = what
            case "end":
                world.do(session_commands.end_session(stamp(), session))
                model.end(session)
            case "lock" if session not in model.sessions:
                with pytest.raises(InvalidSession):
                    world.do(kv_commands.lock_kv(stamp(), what, session))
            case "lock":
                free = model.keys.get(what, "") in ("", session)
                assert lock(world, what, session) is free
                if free:
                    model.keys[what] = session
            case "unlock":
                held = model.keys.get(what) == session
                assert unlock(world, what, session) is held
                if held:
                    model.keys[what] = ""
            case "delete":
                world.do(kv_commands.delete_kv(stamp(), what))
                model.keys.pop(what, None)
        assert {it.key: it.session for it in world.state.kv.values()} == model.keys
        assert {it.id for it in world.state.sessions.values()} == set(model.sessions)
        held_now = {(holder, key) for key, holder in model.keys.items() if holder}
        assert {key for key, _ in world.state.kv_locked.items()} == held_now

"""What a call may meet, what decides, and which watch keys say so."""

import pytest

from registry.catalog import commands, watches
from registry.errors import InvalidCommand
from registry.intentions.match import check, list_all, match_destination, match_source
from registry.intentions.precedence import precedence
from tests.support.catalog import World, intention, stamp

ALL = [("web", "db", True), ("*", "db", False), ("web", "*", False), ("*", "*", True), ("db", "web", True)]


@pytest.fixture
def world() -> World:
    world = World.set_up()
    for row in ALL:
        world.do(commands.set_intention(stamp(), intention(*row)))
    return world


def _pairs(read: object) -> list[str]:
    return [f"{row.source}-{row.destination}" for row in read.rows]  # type: ignore[attr-defined]


def test_match_lists_what_a_call_may_meet_best_first(world: World) -> None:
    assert _pairs(match_destination(world.state, "db")) == ["web-db", "*-db", "web-*", "*-*"]
    assert _pairs(match_destination(world.state, "other")) == ["web-*", "*-*"]
    assert _pairs(match_destination(world.state, "*")) == ["web-*", "*-*"]
    assert _pairs(match_source(world.state, "web")) == ["web-db", "*-db", "web-*", "*-*"]
    assert _pairs(match_source(world.state, "db")) == ["db-web", "*-db", "*-*"]
    assert _pairs(list_all(world.state)) == ["web-db", "db-web", "*-db", "web-*", "*-*"]


@pytest.mark.parametrize(
    ("source", "destination", "allowed", "decider"),
    [
        ("web", "db", True, 9),
        ("api", "db", False, 8),
        ("web", "api", False, 6),
        ("api", "cache", True, 5),
    ],
)
def test_the_highest_precedence_that_matches_decides(
    world: World, source: str, destination: str, allowed: bool, decider: int
) -> None:
    decision = check(world.state, source, destination, default_allow=not allowed).rows
    assert decision.allowed is allowed
    assert decision.intention
    assert precedence(decision.intention) == decider


def test_without_a_match_the_default_decides() -> None:
    state = World.set_up().state
    for default in (True, False):
        assert check(state, "a", "b", default_allow=default).rows == (default, None)


def test_a_change_moves_those_it_concerns(world: World) -> None:
    before = {name: match_destination(world.state, name) for name in ("db", "web")}
    touched = world.do(commands.set_intention(stamp(), intention("api", "db")))
    assert touched & set(before["db"].keys)
    assert not touched & set(before["web"].keys)
    assert match_destination(world.state, "web").index == before["web"].index
    assert match_destination(world.state, "db").index == world.state.index
    assert watches.INTENTIONS in touched
    wildcard = world.do(commands.set_intention(stamp(), intention("api", "*")))
    assert wildcard & set(before["web"].keys)


def test_a_replaced_intention_keeps_its_id_and_creation(world: World) -> None:
    old = world.state.intention("web", "db").rows
    done = world.attempt(commands.set_intention(stamp(time_ms=5_000), intention("web", "db", allow=False)))
    new = world.state.intention("web", "db").rows
    assert old and new
    assert (new.id, new.created_ms, new.indexes.create) == (old.id, old.created_ms, old.indexes.create)
    assert (new.allow, new.action, new.updated_ms) == (False, "deny", 5_000)
    assert done.answer.value == old.id


def test_a_deletion_moves_the_index_and_is_no_error_twice(world: World) -> None:
    delete = world.attempt(commands.delete_intention(stamp(), "web", "db"))
    assert delete.answer.value == "deleted"
    assert world.state.intention("web", "db").index == world.state.index
    again = world.attempt(commands.delete_intention(stamp(), "web", "db"))
    assert (again.answer.code, again.answer.value, again.touched) == (0, "", frozenset())


def test_names_that_no_identity_can_have_are_refused(world: World) -> None:
    for source, destination in (("", "db"), ("web", "a/b"), ("w*", "db"), ("web", "x" * 129)):
        with pytest.raises(InvalidCommand):
            world.do(commands.set_intention(stamp(), intention(source, destination)))

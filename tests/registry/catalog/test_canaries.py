"""Canaries in the log: how they begin, that a move is both entries or neither, and who may end one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.canary import move as moves
from registry.canary.decide import Act, Decision
from registry.canary.move import Move
from registry.catalog import canaries, commands, snapshot
from registry.catalog.commands import CANARY_LEVEL, ENTRIES_LEVEL
from registry.catalog.model import ConfigEntry
from registry.config_entries.canary import ServiceCanary
from registry.config_entries.kinds import encoded, entry_of
from registry.errors import Conflict, ImpossibleChain, InvalidCommand
from tests.support.catalog import World, stamp

KIND = ServiceCanary.KIND
NOW = 1_800_000_000_000
RESOLVER = {"Kind": "service-resolver", "Name": "a", "DefaultSubset": "v1", "Subsets": {"v1": {}, "v2": {}}}
CANARY: dict[str, Any] = {
    "Kind": KIND,
    "Name": "a",
    "ServiceSubset": "v2",
    "Steps": [5, 100],
    "Interval": "1m",
}
V1 = {"Kind": "service-splitter", "Name": "a", "Splits": [{"Weight": 100, "ServiceSubset": "v1"}]}
ADVANCE, ROLL_BACK = Decision(Act.ADVANCE, "good"), Decision(Act.ROLL_BACK, "bad")


def put(world: World, entry: dict[str, Any], time_ms: int = NOW) -> None:
    world.do(commands.set_config_entry(stamp(time_ms), encoded(entry_of(entry))))


def started(*entries: dict[str, Any], **fields: Any) -> World:
    world = World.set_up()
    for entry in (RESOLVER, *entries, CANARY | fields):
        put(world, entry)
    return world


def row(world: World) -> ConfigEntry:
    found = world.state.config_entry(KIND, "a").rows
    assert found is not None
    return found


def canary(world: World) -> ServiceCanary:
    found = row(world).entry
    assert isinstance(found, ServiceCanary)
    return found


def step(world: World, decision: Decision) -> None:
    splitter, resolver = canaries.routing_of(world.state, "a")
    move = moves.carried_out(canary(world), decision, NOW, splitter, resolver)
    assert move is not None
    do(world, move)


def do(world: World, move: Move, index: int | None = None, splitter_index: int | None = None) -> None:
    known = canary(world).state.splitter_index
    world.do(
        commands.move_canary(
            stamp(NOW),
            encoded(move.canary),
            row(world).indexes.modify if index is None else index,
            splitter=move.splitter,
            drop_splitter=move.drops,
            expected_splitter_index=known if splitter_index is None else splitter_index,
        )
    )


def weights(world: World) -> dict[str, float] | None:
    splitter, _ = canaries.routing_of(world.state, "a")
    return {split.subset: split.weight for split in splitter.splits} if splitter else None


def test_one_begins_with_its_entry_and_moves_nothing_yet() -> None:
    world = started()
    state = canary(world).state
    assert (state.phase, state.step, state.splitter_index, state.before) == ("running", 0, 0, {})
    assert (state.since, state.history[0].event) == ("2027-01-15T08:00:00.000Z", "start")
    assert weights(world) is None


def test_what_a_writer_says_of_its_status_is_passed_over() -> None:
    world = started(Status={"Phase": "promoted", "Step": 2})
    assert (canary(world).state.phase, canary(world).state.step) == ("running", 0)
    step(world, ADVANCE)
    put(world, CANARY | {"MaxErrorPercent": 3, "Status": {"Phase": "promoted"}})
    assert (canary(world).state.step, canary(world).max_error_percent) == (1, 3.0)


def test_one_cannot_begin_where_the_splitter_is_not_for_it() -> None:
    divided = {**V1, "Splits": [{"Weight": 60, "ServiceSubset": "v1"}, {"Weight": 40}]}
    with pytest.raises(InvalidCommand, match="divides calls among v1, a"):
        started(divided)


def test_steps_move_the_splitter_and_the_end_brings_it_back() -> None:
    world = started(V1)
    before = world.state.config_entry("service-splitter", "a").rows
    step(world, ADVANCE)
    assert weights(world) == {"v1": 95.0, "v2": 5.0}
    step(world, ADVANCE)
    assert weights(world) == {"v1": 0.0, "v2": 100.0}
    step(world, ROLL_BACK)
    after = world.state.config_entry("service-splitter", "a").rows
    assert before and after and (after.body, after.entry) == (before.body, before.entry)
    state = canary(world).state
    assert (state.phase, state.history[-1].weight) == ("rolled-back", 0.0)
    assert [it.event for it in state.history] == ["start", "step", "step", "rolled-back"]


def test_where_there_was_no_splitter_there_is_none_after_the_end() -> None:
    world = started()
    step(world, ADVANCE)
    assert weights(world) == {"v1": 95.0, "v2": 5.0}
    do(world, moves.aborted(canary(world), "not today", NOW))
    assert weights(world) is None
    assert canary(world).state.history[-1].reason == "not today"


def test_a_promoted_one_leaves_the_splitter_at_its_last_step() -> None:
    world = started(V1)
    splitter, resolver = canaries.routing_of(world.state, "a")
    do(world, moves.promoted(canary(world), "now", NOW, splitter, resolver))
    assert weights(world) == {"v1": 0.0, "v2": 100.0}
    assert canary(world).state.phase == "promoted"
    assert not canary(world).is_active


def test_whoever_changed_something_first_wins_and_nothing_else_changes() -> None:
    world = started(V1)
    step(world, ADVANCE)
    decided = moves.carried_out(canary(world), ADVANCE, NOW, *canaries.routing_of(world.state, "a"))
    assert decided is not None
    put(world, CANARY | {"MinRequests": 7})
    before = world.state.config_entries
    with pytest.raises(Conflict, match="service-canary/a was changed"):
        do(world, decided, index=1)
    put(world, V1)
    entries = world.state.config_entries
    with pytest.raises(Conflict, match="service-splitter/a was changed"):
        do(world, decided)
    assert world.state.config_entries is entries is not before


def test_a_step_into_an_impossible_chain_changes_nothing() -> None:
    """The resolver's subset may go while nothing leads to it yet."""
    world = started(V1)
    put(world, {**RESOLVER, "Subsets": {"v1": {}}})
    entries = world.state.config_entries
    with pytest.raises(ImpossibleChain):
        step(world, ADVANCE)
    assert world.state.config_entries is entries


def test_one_that_is_under_way_is_neither_deleted_nor_sent_another_way() -> None:
    world = started(V1)
    with pytest.raises(InvalidCommand, match="weft canary abort a"):
        world.do(commands.delete_config_entry(stamp(), KIND, "a"))
    for other in ({"ServiceSubset": "v1"}, {"Steps": [1, 2]}, {"StableSubset": "v1"}):
        with pytest.raises(InvalidCommand, match="weft canary abort a"):
            put(world, CANARY | other)
    do(world, moves.aborted(canary(world), "", NOW))
    put(world, CANARY | {"Steps": [1, 2]})
    assert canary(world).state.phase == "running"
    do(world, moves.aborted(canary(world), "", NOW))
    world.do(commands.delete_config_entry(stamp(), KIND, "a"))


def test_an_operator_may_not_say_what_does_not_fit() -> None:
    world = started()
    with pytest.raises(Conflict, match="running, not paused"):
        moves.resumed(canary(world), "", NOW)
    do(world, moves.paused(canary(world), "lunch", NOW))
    with pytest.raises(Conflict, match="paused, not running"):
        moves.paused(canary(world), "", NOW)
    do(world, moves.resumed(canary(world), "", NOW))
    do(world, moves.aborted(canary(world), "", NOW))
    for late in (moves.aborted, moves.paused, moves.resumed):
        with pytest.raises(Conflict):
            late(canary(world), "", NOW)
    with pytest.raises(Conflict, match="has ended: aborted"):
        moves.promoted(canary(world), "", NOW, None, None)


def test_a_history_keeps_its_newest_lines() -> None:
    world = started()
    for _ in range(40):
        do(world, moves.paused(canary(world), "", NOW))
        do(world, moves.resumed(canary(world), "", NOW))
    assert len(canary(world).state.history) == 64
    assert canary(world).state.history[-1].event == "resume"


@pytest.mark.parametrize(
    "wrong",
    [
        {"body": b"{}"},
        {"body": encoded(entry_of(RESOLVER))},
        {"expected_index": 0},
        {"splitter": encoded(entry_of(V1 | {"Name": "b"}))},
        {"splitter": encoded(entry_of(RESOLVER))},
        {"splitter": b"["},
    ],
)
def test_trap_21_a_move_with_bad_content_is_a_result(wrong: dict[str, Any]) -> None:
    world = started()
    good: dict[str, Any] = {"body": row(world).body, "expected_index": row(world).indexes.modify}
    entries = world.state.config_entries
    with pytest.raises(InvalidCommand):
        world.do(commands.move_canary(stamp(), **(good | wrong)))
    assert world.state.config_entries is entries


def test_trap_21_servers_that_do_not_know_canaries_meet_none() -> None:
    assert commands.set_config_entry(stamp(), encoded(entry_of(CANARY))).version == CANARY_LEVEL
    assert commands.set_config_entry(stamp(), encoded(entry_of(V1))).version == ENTRIES_LEVEL
    assert commands.move_canary(stamp(), b"", 1).version == CANARY_LEVEL


def test_a_snapshot_holds_it_whole() -> None:
    world = started(V1)
    step(world, ADVANCE)
    restored = snapshot.decode(snapshot.encode(world.state))
    assert restored.config_entry(KIND, "a").rows == row(world)


OPERATIONS = (
    "advance",
    "finish",
    "roll back",
    "abort",
    "pause",
    "resume",
    "promote",
    "edit",
    "limits",
    "start",
)


class Story:
    """What a leader, operators and somebody who edits do to one canary, as far as each may."""

    def __init__(self) -> None:
        self.world = started(V1)
        self.written = dict(V1)  # the splitter as the last person wrote it

    def do(self, operation: str) -> None:
        try:
            self._do(operation)
        except InvalidCommand:  # not from where it stands now
            pass
        except Conflict:
            pass

    def _do(self, operation: str) -> None:
        world = self.world
        now, routing = canary(world), canaries.routing_of(world.state, "a")
        if operation == "edit":
            side = "v2" if self.written["Splits"] == V1["Splits"] else "v1"
            self.written = {**V1, "Splits": [{"Weight": 100, "ServiceSubset": side}]}
            put(world, self.written)
        elif operation in ("limits", "start"):
            put(world, CANARY | {"MinRequests": 7})
        elif operation == "promote":
            do(world, moves.promoted(now, "", NOW, *routing))
        elif operation in ("abort", "pause", "resume"):
            act = {"abort": moves.aborted, "pause": moves.paused, "resume": moves.resumed}[operation]
            do(world, act(now, "", NOW))
        elif now.state.phase == "running":
            self._as_the_leader(operation, now)

    def _as_the_leader(self, operation: str, now: ServiceCanary) -> None:
        """Never past the last step, and to the end only from there."""
        left = len(now.steps) - now.state.step
        if (operation == "advance" and left) or (operation == "finish" and not left):
            step(self.world, Decision(Act.ADVANCE if left else Act.FINISH, "good"))
        elif operation == "roll back":
            step(self.world, ROLL_BACK)


@given(st.lists(st.sampled_from(OPERATIONS), max_size=30))
def test_whatever_happens_the_splitter_is_a_person_s_or_the_canary_s(operations: list[str]) -> None:
    """Between edits it is what the canary says, and as it was written once a canary was taken back."""
    story = Story()
    for operation in operations:
        story.do(operation)
        state, found = canary(story.world).state, weights(story.world)
        row_now = story.world.state.config_entry("service-splitter", "a").rows
        assert row_now is not None and found is not None
        ours = row_now.indexes.modify == state.splitter_index
        by_person = row_now.body == encoded(entry_of(story.written))
        assert ours or by_person, (operation, found)
        if ours and not by_person:
            assert found["v2"] == canary(story.world).weight
        if ours and state.phase in ("rolled-back", "aborted"):
            assert by_person, "it is as it was"
    restored = snapshot.decode(snapshot.encode(story.world.state))
    assert restored.config_entry(KIND, "a").rows == row(story.world)

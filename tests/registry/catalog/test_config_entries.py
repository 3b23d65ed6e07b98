"""Config entries in the log: compared, judged again when they are applied, watched narrowly."""

from typing import Any

import pytest

from registry.catalog import commands, snapshot, watches
from registry.catalog.commands import ENTRIES_LEVEL
from registry.config_entries.kinds import encoded, entry_of
from registry.errors import Conflict, ImpossibleChain, InvalidCommand
from registry.intentions.entry import entry_of as intentions_of
from registry.intentions.match import match_destination
from tests.support.catalog import World, intention, stamp


def _put(world: World, cas: int | None = None, **entry: Any) -> frozenset[Any]:
    return world.do(commands.set_config_entry(stamp(), encoded(entry_of(entry)), cas))


def _resolver(world: World, *subsets: str) -> frozenset[Any]:
    return _put(world, Kind="service-resolver", Name="a", Subsets={it: {} for it in subsets})


ONLY_V1 = [{"Weight": 100, "ServiceSubset": "v1"}]
SPLIT: dict[str, Any] = {"Kind": "service-splitter", "Name": "a", "Splits": ONLY_V1}


def test_a_race_into_an_impossible_chain_is_decided_by_the_log() -> None:
    """Both commands were fine when they were proposed."""
    world = World.set_up()
    _resolver(world, "v1")
    _put(world, **SPLIT)
    before = world.state.config_entries
    with pytest.raises(ImpossibleChain, match='does not have a subset named "v1"'):
        _resolver(world, "v2")
    with pytest.raises(ImpossibleChain):
        world.do(commands.delete_config_entry(stamp(), "service-resolver", "a"))
    assert world.state.config_entries is before


def test_a_change_wakes_who_reads_the_entry_or_its_kind() -> None:
    world = World.set_up()
    touched = _resolver(world, "v1")
    assert touched == {watches.config_kind("service-resolver"), watches.config_entry("service-resolver", "a")}
    assert _resolver(world, "v1") == frozenset()  # says the same
    done = world.do(commands.delete_config_entry(stamp(), "service-resolver", "a"))
    assert done == touched
    assert world.do(commands.delete_config_entry(stamp(), "service-resolver", "a")) == frozenset()


def test_cas_is_compared_in_the_log() -> None:
    world = World.set_up()
    _put(world, 0, Kind="mesh")
    with pytest.raises(Conflict):
        _put(world, 0, Kind="mesh")
    index = world.state.config_entry("mesh", "mesh").index
    with pytest.raises(Conflict):
        world.do(commands.delete_config_entry(stamp(), "mesh", "mesh", index + 1))
    world.do(commands.delete_config_entry(stamp(), "mesh", "mesh", index))


def test_intentions_that_say_the_same_keep_their_rows() -> None:
    world = World.set_up()
    world.do(commands.set_intention(stamp(), intention("web", "a")))
    row = world.state.intention("web", "a").rows
    entry: dict[str, Any] = {"Kind": "service-intentions", "Name": "a", "Meta": {"k": "v"}}
    _put(world, **entry, Sources=[{"Name": "web", "Action": "allow"}, {"Name": "*", "Action": "deny"}])
    assert world.state.intention("web", "a").rows is row
    assert [it.source for it in match_destination(world.state, "a").rows] == ["web", "*"]
    seen = intentions_of(world.state, "a").rows
    assert seen and seen.entry.meta == {"k": "v"}
    for source in ("web", "*"):
        world.do(commands.delete_intention(stamp(), source, "a"))
    assert intentions_of(world.state, "a").rows is None
    assert len(world.state.intention_defaults) == 0


def test_equal_logs_give_equal_ids() -> None:
    logs = []
    source = {"Name": "web", "Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/"}}]}
    for _ in range(2):
        world = World.set_up()
        _put(world, Kind="service-intentions", Name="a", Sources=[source])
        logs.append(world.state.intention("web", "a").rows)
    assert logs[0] == logs[1]


def test_the_level_of_new_commands_is_that_of_entries() -> None:
    assert commands.set_config_entry(stamp(), b"{}").version == ENTRIES_LEVEL
    assert commands.delete_config_entry(stamp(), "mesh", "mesh").version == ENTRIES_LEVEL
    assert commands.set_intention(stamp(), intention("a", "b")).version == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"Name":"mesh","Kind":"mesh"}', b'{"Kind":"mesh","Name":"x"}']
)
def test_what_is_not_canonical_is_refused_alike_everywhere(body: bytes) -> None:
    with pytest.raises(InvalidCommand):
        World.set_up().do(commands.set_config_entry(stamp(), body))


def test_entries_survive_a_snapshot() -> None:
    world = World.set_up()
    _resolver(world, "v1")
    _put(world, **SPLIT)
    restored = snapshot.decode(snapshot.encode(world.state))
    assert list(restored.config_entries.items()) == list(world.state.config_entries.items())

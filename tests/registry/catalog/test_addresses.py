"""Virtual addresses: who has one, and that nobody else has the same."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import addresses, commands, snapshot
from registry.catalog.state import State
from registry.catalog.watches import connect
from registry.config_entries.kinds import encoded, entry_of
from registry.errors import LogCorrupt
from tests.support.catalog import World, proxy, service, stamp

RESOLVER = {"Kind": "service-resolver", "Name": "old"}


@pytest.fixture
def world() -> World:
    """Services of the mesh have addresses, and there is none yet."""
    found = World.set_up()
    found.do(addresses.give_addresses(stamp()))
    return found


def told(state: State) -> dict[str, str]:
    return {row.service: row.address for row in state.addresses.values()}


def test_none_before_every_server_knows_of_them() -> None:
    world = World.set_up()
    world.register(service("web-1", "web"), proxy("web-1", "web"))
    assert (told(world.state), world.state.virtual_address("web")) == ({}, "")
    assert addresses.give_addresses(stamp()).version == commands.ADDRESSES_LEVEL


def test_who_was_there_before_gets_one_and_its_readers_are_woken() -> None:
    world = World.set_up()
    world.register(proxy("web-1", "web"), proxy("web-2", "web"), proxy("api-1", "api"), service("db"))
    world.do(commands.set_config_entry(stamp(), encoded(entry_of(RESOLVER))))
    touched = world.do(addresses.give_addresses(stamp()))
    assert told(world.state) == {"api": "240.0.0.1", "web": "240.0.0.2", "old": "240.0.0.3"}
    assert {connect("web"), connect("api")} <= touched
    assert world.do(addresses.give_addresses(stamp())) == frozenset()


def test_it_stays_until_the_last_endpoint_is_gone_and_is_then_anothers(world: World) -> None:
    world.register(proxy("web-1", "web"), proxy("web-2", "web"))
    world.register(proxy("api-1", "api"))
    assert told(world.state) == {"web": "240.0.0.1", "api": "240.0.0.2"}
    world.do(commands.deregister_services(stamp(), "n1", ["web-1-sidecar-proxy"]))
    assert world.state.virtual_address("web") == "240.0.0.1"
    world.do(commands.deregister_services(stamp(), "n1", ["web-2-sidecar-proxy"]))
    assert told(world.state) == {"api": "240.0.0.2"}
    world.register(proxy("db-1", "db"))
    assert world.state.virtual_address("db") == "240.0.0.1"
    world.do(commands.deregister_node(stamp(), "n1"))
    assert told(world.state) == {}


def test_native_services_and_names_that_are_only_routed_have_one(world: World) -> None:
    world.register(service("native", connect_native=True))
    world.do(commands.set_config_entry(stamp(), encoded(entry_of(RESOLVER))))
    assert set(told(world.state)) == {"native", "old"}
    world.register(proxy("old-1", "old"))
    world.do(commands.delete_config_entry(stamp(), "service-resolver", "old"))
    assert set(told(world.state)) == {"native", "old"}, "it has an endpoint still"


def test_a_proxy_that_comes_to_stand_for_another_hands_over(world: World) -> None:
    world.register(proxy("it", "web"))
    world.register(proxy("it", "api"))
    assert told(world.state) == {"api": "240.0.0.1"}


def test_a_snapshot_with_one_address_twice_is_refused(world: World) -> None:
    world.register(proxy("web-1", "web"), proxy("api-1", "api"))
    rows = world.state.addresses
    for key, row in rows.items():
        rows = rows.put(key, type(row)(row.service, 1))
    object.__setattr__(world.state, "addresses", rows)
    with pytest.raises(LogCorrupt, match="virtual addresses"):
        snapshot.decode(snapshot.encode(world.state))


_steps = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from("abcdef")), max_size=60)


@settings(max_examples=200)
@given(_steps, st.integers(0, 20))
def test_everybody_in_the_mesh_has_one_and_keeps_it(steps: list[tuple[bool, int, str]], began: int) -> None:
    """Against sets: whatever comes and goes, and whenever it began."""
    world, meshed, held = World.set_up(), set[tuple[int, str]](), dict[str, str]()
    for count, (comes, number, name) in enumerate(itertools.chain(steps, [(True, 0, "a")] * (began + 1))):
        if count == began:
            world.do(addresses.give_addresses(stamp()))
        key = f"{name}{number}"
        if comes:
            world.register(proxy(key, name))
            meshed.add((number, name))
        elif (number, name) in meshed:
            world.do(commands.deregister_services(stamp(), "n1", [f"{key}-sidecar-proxy"]))
            meshed.discard((number, name))
        now = told(world.state)
        if count >= began:
            assert set(now) == {name for _, name in meshed}
            assert len(set(now.values())) == len(now)
            assert all(now[it] == held[it] for it in now.keys() & held.keys())
            held = now
    assert len(world.state.addresses) + len(world.state.free_numbers) <= 6

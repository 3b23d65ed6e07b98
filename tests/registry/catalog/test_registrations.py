"""Nodes, services and checks: what is stored, and whose index moves."""

from dataclasses import replace
from typing import TypeVar

import pytest

from registry.catalog import commands, watches
from registry.catalog.model import TaggedAddress
from registry.catalog.state import Read
from registry.errors import Conflict, InvalidCommand, NotFound
from tests.support.catalog import World, check, node, proxy, service, stamp

T = TypeVar("T")


def there(found: Read[T | None]) -> T:
    assert found.rows is not None
    return found.rows


@pytest.fixture
def world() -> World:
    return World.set_up()


def test_a_row_comes_back_as_it_was_registered(world: World) -> None:
    row = service(
        "web-1",
        "web",
        tags=("v2", "v1"),
        address="10.0.0.9",
        tagged_addresses={"lan": TaggedAddress("10.0.0.9", 80)},
        meta={"b": "2", "a": "1"},
        weight_warning=0,
        enable_tag_override=True,
        locality_json=b'{"Region":"r"}',
    )
    world.register(row, check("service:web-1", "web-1", "warning", notes="n", output="o", type="ttl"))
    [entry] = world.state.service_nodes("web").rows
    assert replace(entry.service, indexes=row.indexes) == row
    assert entry.node.name == "n1"
    assert [(it.id, it.service_name, it.service_tags) for it in entry.checks] == [
        ("service:web-1", "web", ("v2", "v1"))
    ]
    assert entry.status == "warning"
    assert world.state.service_names().rows == {"web": ("v1", "v2")}


def test_a_deletion_moves_the_index_of_its_readers(world: World) -> None:
    world.register(service("web-1", "web"), check("c", "web-1"))
    before = world.state.service_nodes("web")
    world.do(commands.deregister_services(stamp(), "n1", ["web-1"]))
    after = world.state.service_nodes("web")
    assert (after.rows, after.index) == ((), world.state.index)
    assert after.index > before.index
    assert world.state.checks_in().rows == ()


def test_indexes_are_scoped_to_the_service(world: World) -> None:
    world.register(service("web-1", "web"), service("db-1", "db"))
    before = world.state.service_nodes("web").index
    touched = world.register(service("db-2", "db"), check("c", "db-1"))
    assert world.state.service_nodes("web").index == before
    assert watches.service("db") in touched
    assert watches.service("web") not in touched


def test_an_index_is_never_zero() -> None:
    empty = World().state
    assert empty.service_nodes("web").index >= 1
    assert empty.list_nodes().index >= 1
    assert empty.ca_roots().index >= 1


def test_an_equal_registration_moves_nothing(world: World) -> None:
    rows = (service("web-1", "web", tags=("a",)), check("c", "web-1"))
    world.register(*rows)
    before = world.state.service_nodes("web")
    assert world.register(*rows) == frozenset()
    assert world.state.service_nodes("web") == before


def test_a_check_wakes_its_service_and_its_mesh_readers_only(world: World) -> None:
    world.register(service("web-1", "web"), proxy("web-1", "web"), check("p", "web-1-sidecar-proxy"))
    touched = world.do(commands.update_check(stamp(), "n1", "p", "critical", "refused"))
    assert touched == {
        watches.CHECKS,
        watches.node("n1"),
        watches.service("web-sidecar-proxy"),
        watches.connect("web"),
    }


def test_a_node_check_counts_for_everything_on_the_node(world: World) -> None:
    world.register(service("web-1", "web"), service("db-1", "db"))
    touched = world.register(check("disk", status="critical"))
    assert {watches.service("web"), watches.service("db")} <= touched
    assert [entry.status for entry in world.state.service_nodes("db").rows] == ["critical"]


def test_renaming_an_instance_leaves_the_old_name(world: World) -> None:
    world.register(service("x", "web"), check("c", "x"))
    touched = world.register(service("x", "api", tags=("new",)))
    assert {watches.service("web"), watches.service("api"), watches.SERVICES} <= touched
    assert world.state.service_nodes("web").rows == ()
    assert there(world.state.check("n1", "c")).service_name == "api"


def test_create_index_stays_and_modify_index_moves(world: World) -> None:
    world.register(service("web-1", "web"))
    first = there(world.state.service("n1", "web-1")).service.indexes
    world.register(service("web-1", "web", tags=("t",)))
    second = there(world.state.service("n1", "web-1")).service.indexes
    assert second == (first.create, world.state.index)


def test_replace_checks_drops_what_is_not_named(world: World) -> None:
    world.register(service("web-1", "web"), check("a", "web-1"), check("b", "web-1"), check("disk"))
    world.do(
        commands.register(
            stamp(), node(), [service("web-1", "web")], [check("b", "web-1")], replace_checks_of=["web-1"]
        )
    )
    assert [it.id for it in world.state.node_checks("n1").rows] == ["b", "disk"]


def test_a_check_that_changes_its_service_leaves_the_old_one(world: World) -> None:
    world.register(service("a"), service("b"), check("c", "a", "critical"))
    world.register(check("c", "b", "critical"))
    assert [entry.status for entry in world.state.service_nodes("a").rows] == ["passing"]
    assert [entry.status for entry in world.state.service_nodes("b").rows] == ["critical"]


def test_deregistering_a_node_takes_all_with_it(world: World) -> None:
    world.register(service("web-1", "web"), check("c", "web-1"), check("disk"))
    touched = world.do(commands.deregister_node(stamp(), "n1"))
    assert {watches.NODES, watches.SERVICES, watches.service("web"), watches.CHECKS} <= touched
    assert world.state.node("n1").rows is None
    assert not (*world.state.services.values(), *world.state.checks.values())


def test_registration_is_all_or_nothing(world: World) -> None:
    before = world.state
    done = world.attempt(
        commands.register(stamp(), node("n2"), [service("ok", on="n2"), service("", on="n2")])
    )
    assert done.answer.code
    assert done.touched == frozenset()
    assert list(world.state.nodes.items()) == list(before.nodes.items())
    assert world.state.list_nodes().index == before.list_nodes().index


def test_compare_and_set(world: World) -> None:
    world.register(service("web-1", "web"), check("ttl", "web-1"))
    seen = there(world.state.check("n1", "ttl")).indexes.modify
    world.do(commands.update_check(stamp(), "n1", "ttl", "warning", ""))
    stale = commands.update_check(stamp(), "n1", "ttl", "critical", "expired", expected_modify_index=seen)
    with pytest.raises(Conflict):
        world.do(stale)
    gone = commands.deregister_services(stamp(), "n1", ["web-1"], expected_modify_index=10**9)
    with pytest.raises(Conflict):
        world.do(gone)
    assert there(world.state.check("n1", "ttl")).status == "warning"


@pytest.mark.parametrize(
    "command",
    [
        commands.deregister_services(stamp(), "n1", ["nope"]),
        commands.deregister_services(stamp(), "nope", ["web-1"]),
        commands.deregister_check(stamp(), "n1", "nope"),
        commands.deregister_node(stamp(), "nope"),
        commands.update_check(stamp(), "n1", "nope", "passing", ""),
        commands.register(stamp(), node(), [], [check("c", "nope")]),
    ],
)
def test_what_is_not_there_is_not_found(world: World, command: object) -> None:
    with pytest.raises(NotFound):
        world.do(command)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (service("web-1", "web", tags=("x",) * 65), "Tags"),
        (service("web-1", "web", address="0.0.0.0"), "Address"),
        (service("web-1", "web", address="not a host"), "Address"),
        (service("web-1", "a/b"), "Service Name"),
        (service("web\n1", "web"), "Service ID"),
        (service("web-1", "web", weight_passing=0), "Weights"),
        (service("web-1", "web", meta={"a b": ""}), "Meta"),
        (service("web-1", "web", meta={"a": "x" * 513}), "Meta.a"),
        (service("web-1", "web", kind="mesh-gateway"), "Kind"),
        (service("web-1", "web", kind="connect-proxy"), "Proxy"),
        (service("web-1", "näme", connect_native=True), "Service Name"),
        (service("web-1", "web", locality_json=b"["), "Locality"),
        (replace(service("web-1", "web"), port=70_000), "Port"),
        (proxy("web-1", "we b"), "Proxy.DestinationServiceName"),
        (proxy("web-1", "web", config_json=b'{"protocol":"udp"}'), "Proxy.Config.protocol"),
        (check("c", status="fine"), "check status"),
        (check("c", output="x" * 5000), "Output"),
    ],
)
def test_bad_fields_are_refused_by_name(world: World, row: object, field: str) -> None:
    with pytest.raises(InvalidCommand, match=field):
        world.register(row)  # type: ignore[arg-type]

"""What who runs the cluster changes: autopilot's rules, and the whole state."""

from dataclasses import replace

import pytest

from registry.catalog import commands, snapshot, watches
from registry.catalog.apply import apply_steps, raise_refusal
from registry.catalog.census import count
from registry.catalog.feature_level import refuse_too_new
from registry.catalog.model import AutopilotConfig, Cluster
from registry.catalog.operator import digest_of
from registry.errors import Conflict, InvalidCommand
from tests.support.catalog import CLUSTER, World, node, root, server, service, stamp
from weft.pb.catalog.v1.command_pb2 import Command

ID, OTHER_ID = b"a" * 16, b"b" * 16


def restore(world: World, records: list[bytes], parts: int = 3) -> frozenset[watches.WatchKey]:
    size = -(-len(records) // parts)
    runs = [records[at : at + size] for at in range(0, len(records), size)]
    for number, run in enumerate(runs[:-1]):
        world.do(commands.restore(stamp(), ID, number, run))
    return world.do(commands.restore(stamp(), ID, len(runs) - 1, runs[-1], digest_of(records)))


def refused(world: World, command: Command, kind: type[Exception], text: str) -> None:
    done = world.attempt(command)
    with pytest.raises(kind, match=text):
        raise_refusal(done.answer)


def saved() -> tuple[World, list[bytes]]:
    """A cluster with a service, and its snapshot."""
    world = World.set_up()
    world.register(service("web"))
    world.do(commands.set_roots(stamp(), [root()], 0))
    return world, list(snapshot.encode(world.state))


def test_a_restore_brings_the_rows_and_drops_what_came_later() -> None:
    world, records = saved()
    world.register(service("later"))
    restore(world, records)
    assert [row.id for row in world.state.services.values()] == ["web"]
    assert not len(world.state.restoring)


def test_a_server_that_may_not_know_all_rows_of_a_snapshot_gets_no_part_of_it() -> None:
    world, records = saved()
    known = commands.COMMAND_VERSION - 1
    world.register(server("an-older-one", known))
    with pytest.raises(InvalidCommand, match=f"one of them knows level {known}: upgrade all servers"):
        refuse_too_new(world.state, ("an-older-one",), commands.restore(stamp(), ID, 0, records))


def test_every_reader_has_to_look_again_and_the_index_goes_on() -> None:
    world, records = saved()
    before = world.state.index
    assert restore(world, records) == {watches.EVERYTHING}
    assert world.state.index > before
    for key in (watches.SERVICES, watches.service("web"), watches.service("absent"), watches.NODES):
        assert world.state.index_of(key) == world.state.index


def test_a_certificate_that_is_being_signed_meanwhile_is_refused() -> None:
    """The roots' epoch is never one that was seen before, whatever the snapshot says (trap 25)."""
    world, records = saved()
    world.do(commands.set_roots(stamp(), [root("r2")], 1))
    before = world.state.roots_epoch
    restore(world, records)
    assert world.state.roots_epoch > before


def test_a_new_cluster_becomes_the_one_that_was_saved() -> None:
    _, records = saved()
    world = World()
    world.do(
        commands.init_cluster(
            stamp(), replace(CLUSTER, id="2" * 8 + CLUSTER.id[8:], trust_domain="other.weft")
        )
    )
    restore(world, records)
    assert world.state.cluster == CLUSTER


def test_a_restore_under_way_survives_a_snapshot_of_the_log() -> None:
    world, records = saved()
    world.do(commands.restore(stamp(), ID, 0, records[:2]))
    world.state = snapshot.decode(snapshot.encode(world.state))
    world.do(commands.restore(stamp(), ID, 1, records[2:], digest_of(records)))
    assert [row.id for row in world.state.services.values()] == ["web"]


def test_what_is_not_one_whole_snapshot_changes_nothing() -> None:
    world, records = saved()
    world.do(commands.restore(stamp(), ID, 0, records[:2]))
    wrong = commands.restore(stamp(), ID, 1, records[3:], digest_of(records))
    refused(world, wrong, InvalidCommand, "digest")
    refused(
        world, commands.restore(stamp(), ID, 2, records[2:], digest_of(records)), Conflict, "another restore"
    )
    refused(world, commands.restore(stamp(), OTHER_ID, 1, records[2:]), Conflict, "another restore")
    refused(world, commands.restore(stamp(), b"short", 0, records), InvalidCommand, "id: must have")
    nonsense = [b"\xff\xff nonsense"]
    refused(world, commands.restore(stamp(), ID, 0, nonsense, digest_of(nonsense)), InvalidCommand, "decode")
    assert [row.id for row in world.state.services.values()] == ["web"]
    world.do(commands.restore(stamp(), ID, 0, []))
    assert not len(world.state.restoring)


def test_a_snapshot_of_another_datacenter_is_refused() -> None:
    other = World()
    other.do(commands.init_cluster(stamp(), Cluster(CLUSTER.id, "east", "east.weft")))
    records = list(snapshot.encode(other.state))
    refused(
        World.set_up(),
        commands.restore(stamp(), ID, 0, records, digest_of(records)),
        InvalidCommand,
        "is of east",
    )


def test_autopilot_is_compared_and_set() -> None:
    world = World.set_up()
    world.do(commands.configure_autopilot(stamp(), AutopilotConfig(min_quorum=5)))
    row = world.state.autopilot
    assert (row.min_quorum, row.indexes.modify) == (5, world.state.index)
    refused(world, commands.configure_autopilot(stamp(), AutopilotConfig(), 1), Conflict, "changed at index")
    assert world.do(commands.configure_autopilot(stamp(), AutopilotConfig(), row.indexes.modify)) == {
        watches.AUTOPILOT
    }
    assert snapshot.decode(snapshot.encode(world.state)).autopilot == world.state.autopilot


def test_autopilot_that_nobody_has_set_is_set_once() -> None:
    world = World.set_up()
    first = commands.configure_autopilot(stamp(), AutopilotConfig(min_quorum=5), 0)
    assert first.version == commands.UNSET_LEVEL
    world.do(first)
    second = commands.configure_autopilot(stamp(), AutopilotConfig(min_quorum=1), 0)
    refused(world, second, Conflict, "was set at index")
    assert world.state.autopilot.min_quorum == 5


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (AutopilotConfig(min_quorum=16), "MinQuorum"),
        (AutopilotConfig(max_trailing_logs=0), "MaxTrailingLogs"),
        (AutopilotConfig(last_contact_threshold_ms=0), "LastContactThreshold"),
        (AutopilotConfig(server_stabilization_ms=10**9), "ServerStabilizationTime"),
    ],
)
def test_autopilot_has_bounds(settings: AutopilotConfig, name: str) -> None:
    refused(World.set_up(), commands.configure_autopilot(stamp(), settings), InvalidCommand, name)


def test_a_census_counts_rows_by_table() -> None:
    world, records = saved()
    world.do(commands.register(stamp(), node("n2")))
    found = count(records)
    assert (found["node"], found["service"], found["root"]) == (1, 1, 1)


def test_trap_24_a_restore_is_applied_in_steps() -> None:
    """Each of them is a run of rows or so: servers have an election timer meanwhile."""
    world, _ = saved()
    for number in range(40):
        world.register(*(service(f"s{number}-{it}", "web") for it in range(20)))
    records = list(snapshot.encode(world.state))
    command = commands.restore(stamp(), ID, 0, records, digest_of(records))
    steps = apply_steps(world.state, command, world.state.index + 1)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            applied = end.value
            break
        count += 1
    assert count > len(records)
    assert list(applied.state.services.items()) == list(world.state.services.items())

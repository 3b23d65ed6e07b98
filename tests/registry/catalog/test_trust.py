"""Credentials, leaves, revocations, roots: identity only with proof, and what its end brings."""

import pytest

from registry.catalog import commands, watches
from registry.catalog.expiry import MORE, due
from registry.catalog.limits import EXPIRED_PER_COMMAND_MAX, TOMBSTONE_KEPT_MS
from registry.catalog.model import Cluster
from registry.errors import Conflict, CredentialRefused, InvalidCommand, NotFound
from tests.support.catalog import CLUSTER, World, digest, root, service, stamp

KEY = "dc1/n1/web-1"
OLD, NEW = digest("old"), digest("new")


@pytest.fixture
def world() -> World:
    world = World.set_up()
    world.register(service("web-1", "web"))
    world.do(commands.mint_credential(stamp(), KEY, OLD))
    return world


def _leaf(world: World, serial: int, not_after_ms: int = 100_000, proof: bytes = OLD) -> None:
    world.do(commands.record_leaf(stamp(), KEY, proof, serial, not_after_ms))


def _revoked(world: World) -> list[tuple[str, int]]:
    return [(row.trust_domain, row.serial) for row in world.state.revoked().rows]


def test_trap_1_a_credential_is_bound_to_a_registered_instance(world: World) -> None:
    with pytest.raises(NotFound):
        world.do(commands.mint_credential(stamp(), "dc1/n1/other", NEW))
    with pytest.raises(NotFound):
        world.do(commands.mint_credential(stamp(), "dc2/n1/web-1", NEW))
    with pytest.raises(InvalidCommand):
        world.do(commands.mint_credential(stamp(), KEY, b"short"))
    assert repr(NEW) not in repr(world.state.credential(KEY).rows)


def test_trap_1_a_leaf_needs_the_credential_in_force(world: World) -> None:
    with pytest.raises(CredentialRefused):
        _leaf(world, 7, proof=NEW)
    world.do(commands.revoke_credential(stamp(), KEY))
    with pytest.raises(CredentialRefused):
        _leaf(world, 7)
    assert world.state.leaves_of(KEY) == ()


def test_trap_4_deregistration_revokes_credential_and_unexpired_leaves(world: World) -> None:
    _leaf(world, 7, not_after_ms=2_000)
    _leaf(world, 2**159, not_after_ms=500_000)
    touched = world.do(commands.deregister_services(stamp(time_ms=3_000), "n1", ["web-1"]))
    assert {watches.credential(KEY), watches.REVOCATIONS, watches.instance(KEY)} <= touched
    assert world.state.credential(KEY).rows is None
    assert _revoked(world) == [(CLUSTER.trust_domain, 2**159)]  # 7 had expired: nobody would take it


def test_trap_4_a_withdrawn_credential_revokes_its_leaves_at_once(world: World) -> None:
    _leaf(world, 7)
    assert watches.REVOCATIONS in world.do(commands.revoke_credential(stamp(), KEY))
    assert _revoked(world) == [(CLUSTER.trust_domain, 7)]
    with pytest.raises(NotFound):
        world.do(commands.revoke_credential(stamp(), KEY))


def test_a_new_credential_ends_the_old_one_and_its_leaves(world: World) -> None:
    _leaf(world, 7)
    assert watches.credential(KEY) in world.do(commands.mint_credential(stamp(), KEY, NEW))
    assert _revoked(world) == [(CLUSTER.trust_domain, 7)]
    _leaf(world, 8, proof=NEW)
    assert [leaf.serial for leaf in world.state.leaves_of(KEY)] == [8]


def test_an_instance_that_becomes_another_service_loses_its_credential(world: World) -> None:
    world.register(service("web-1", "admin"))
    assert world.state.credential(KEY).rows is None


def test_a_re_registration_keeps_the_credential(world: World) -> None:
    world.register(service("web-1", "web", tags=("new",)))
    assert world.state.credential(KEY).rows is not None


def test_a_leaf_that_has_expired_is_not_recorded(world: World) -> None:
    with pytest.raises(InvalidCommand, match="not_after"):
        _leaf(world, 7, not_after_ms=1_000)


def test_trap_25_roots_are_fenced_by_their_epoch(world: World) -> None:
    world.do(commands.set_roots(stamp(), [root("r1")], 0))
    assert world.state.roots_epoch == 1
    with pytest.raises(Conflict):
        world.do(commands.set_roots(stamp(), [root("r2")], 0))
    with pytest.raises(Conflict):
        world.do(commands.record_leaf(stamp(), KEY, OLD, 7, 100_000, roots_epoch=2))
    world.do(commands.record_leaf(stamp(), KEY, OLD, 7, 100_000, roots_epoch=1))


def test_exactly_one_root_is_active(world: World) -> None:
    for rows in ([], [root("a"), root("b")], [root("a", active=False)], [root("a"), root("a", active=False)]):
        with pytest.raises(InvalidCommand):
            world.do(commands.set_roots(stamp(), rows, 0))
    world.do(commands.set_roots(stamp(), [root("b"), root("a", active=False)], 0))
    assert [(row.id, row.active) for row in world.state.ca_roots().rows] == [("a", False), ("b", True)]


def test_a_cluster_never_becomes_another(world: World) -> None:
    world.do(commands.init_cluster(stamp(), CLUSTER))
    with pytest.raises(Conflict):
        world.do(commands.init_cluster(stamp(), Cluster(CLUSTER.id, "dc2", CLUSTER.trust_domain)))


def test_trap_23_nothing_expires_without_a_command_and_its_time(world: World) -> None:
    _leaf(world, 7, not_after_ms=5_000)
    world.do(commands.revoke_credential(stamp(), KEY))
    assert not due(world.state, 4_999)
    assert due(world.state, 5_000)
    assert world.do(commands.expire(stamp(time_ms=4_999))) == frozenset()
    assert world.do(commands.expire(stamp(time_ms=5_000))) == {watches.REVOCATIONS}
    assert _revoked(world) == []
    assert not due(world.state, 5_000)


def test_trap_23_time_never_goes_back(world: World) -> None:
    world.do(commands.expire(stamp(time_ms=9_000)))
    world.do(commands.expire(stamp(time_ms=2_000)))
    assert world.state.time_ms == 9_000


def test_expiry_is_cut_into_bounded_steps(world: World) -> None:
    for number in range(EXPIRED_PER_COMMAND_MAX + 1):
        _leaf(world, number + 1, not_after_ms=2_000)
    assert world.attempt(commands.expire(stamp(time_ms=3_000))).answer.value == MORE
    assert world.attempt(commands.expire(stamp(time_ms=3_000))).answer.value == ""
    assert world.state.leaves_of(KEY) == ()
    assert len(world.state.leaves_by_expiry) == 0


def test_an_old_tombstone_goes_without_its_index_going_back(world: World) -> None:
    world.do(commands.deregister_services(stamp(), "n1", ["web-1"]))
    before = world.state.service_nodes("web").index
    entries = len(world.state.moved)
    world.do(commands.expire(stamp(time_ms=1_000 + TOMBSTONE_KEPT_MS)))
    assert len(world.state.moved) < entries
    assert len(world.state.tombstones) == 0
    assert world.state.service_nodes("web").index >= before
    assert world.state.node("n1").index == before  # what exists keeps its own index

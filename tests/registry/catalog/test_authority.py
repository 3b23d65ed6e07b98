"""The CA in the replicated state: every step a compare-and-set, and none out of turn."""

from dataclasses import replace

import pytest

from ca.rotation import SKEW_MS, Phase
from ca.sealing import SealedKey
from registry.catalog import commands, snapshot, watches
from registry.catalog.model import Authority, CaSettings, service_leaf_key
from registry.errors import Conflict, InvalidCommand
from tests.support.catalog import CLUSTER, World, root, service, stamp

HOUR_MS = 3_600_000
SETTINGS = CaSettings(leaf_ttl_ms=HOUR_MS, root_ttl_ms=100 * HOUR_MS)


def sealed(key_id: str = "aa") -> SealedKey:
    return SealedKey(key_id, "op", b"n" * 12, b"secret")


@pytest.fixture
def world() -> World:
    """With a root that signs."""
    world = World.set_up()
    world.do(commands.configure_ca(stamp(), SETTINGS))
    activate(world, "r1", "aa")
    return world


def authority(world: World) -> Authority:
    return world.state.ca().rows


def index(world: World) -> int:
    return authority(world).indexes.modify


def activate(world: World, name: str, key_id: str, time_ms: int = 1_000) -> None:
    row = root(name, signing_key_id=key_id, intermediates_der=(b"cross",) if name != "r1" else ())
    world.do(commands.activate_root(stamp(time_ms), row, sealed(key_id), index(world)))


def ask(world: World) -> None:
    world.do(commands.configure_ca(stamp(), authority(world).settings, rotate=True))


def active(world: World) -> dict[str, bool]:
    return {row.id: row.active for row in world.state.ca_roots().rows}


def test_the_first_root_is_installed_once(world: World) -> None:
    assert (active(world), authority(world).phase) == ({"r1": True}, Phase.STEADY)
    with pytest.raises(Conflict, match="not the next step"):
        activate(world, "r2", "bb")


def test_trap_25_a_rotation_keeps_both_roots_until_the_last_leaf_has_ended(world: World) -> None:
    epoch = world.state.roots_epoch
    ask(world)
    assert world.state.roots_epoch == epoch
    activate(world, "r2", "bb", time_ms=5_000)
    assert active(world) == {"r1": False, "r2": True}
    assert world.state.roots_epoch == epoch + 1
    at = authority(world).retire_at_ms
    assert at == 5_000 + HOUR_MS + SKEW_MS
    with pytest.raises(Conflict, match="may be in use until"):
        world.do(commands.retire_roots(stamp(at - 1), index(world)))
    touched = world.do(commands.retire_roots(stamp(at), index(world)))
    assert {watches.ROOTS, watches.AUTHORITY} <= touched
    assert (active(world), authority(world).phase) == ({"r2": True}, Phase.STEADY)
    assert world.state.ca_roots().rows[0].intermediates_der == ()


def test_trap_25_leaves_with_a_longer_life_than_now_set_the_old_roots_end(world: World) -> None:
    world.do(commands.record_service_leaf(stamp(), "web", 7, 50 * HOUR_MS, world.state.roots_epoch))
    ask(world)
    activate(world, "r2", "bb")
    assert authority(world).retire_at_ms == 50 * HOUR_MS + SKEW_MS


def test_trap_25_a_step_decided_by_an_old_state_is_refused(world: World) -> None:
    old = index(world)
    ask(world)
    with pytest.raises(Conflict, match="read it again"):
        world.do(commands.activate_root(stamp(), root("r2", signing_key_id="bb"), sealed("bb"), old))
    with pytest.raises(Conflict, match="read it again"):
        world.do(commands.configure_ca(stamp(), SETTINGS, expected_index=old))
    with pytest.raises(Conflict, match="read it again"):
        world.do(commands.reseal_key(stamp(), sealed(), old))


def test_asking_twice_asks_once_and_not_during_a_rotation(world: World) -> None:
    ask(world)
    moved = index(world)
    ask(world)
    assert index(world) == moved
    activate(world, "r2", "bb")
    with pytest.raises(Conflict, match=r"a rotation is under way: the old root goes at 1970-01-01T01:01:01Z"):
        ask(world)


def test_a_rotation_needs_a_root() -> None:
    world = World.set_up()
    with pytest.raises(Conflict, match="no root yet"):
        ask(world)


def test_a_key_that_is_not_the_roots_is_refused(world: World) -> None:
    ask(world)
    with pytest.raises(InvalidCommand, match="not the key of the root"):
        world.do(commands.activate_root(stamp(), root("r2", signing_key_id="bb"), sealed("aa"), index(world)))
    with pytest.raises(Conflict, match="not the key in force"):
        world.do(commands.reseal_key(stamp(), sealed("bb"), index(world)))
    with pytest.raises(InvalidCommand, match="not this cluster's"):
        other = root("r2", signing_key_id="bb", trust_domain="elsewhere.weft")
        world.do(commands.activate_root(stamp(), other, sealed("bb"), index(world)))


def test_a_resealed_key_moves_no_root(world: World) -> None:
    epoch = world.state.roots_epoch
    anew = replace(sealed(), sealed_by="op2", ciphertext=b"anew")
    world.do(commands.reseal_key(stamp(), anew, index(world)))
    assert authority(world).key == anew
    assert world.state.roots_epoch == epoch


def test_old_commands_for_roots_are_over_once_the_key_is_in_the_log(world: World) -> None:
    with pytest.raises(Conflict, match="belong to the CA's rotation"):
        world.do(commands.set_roots(stamp(), [root("r9")], world.state.roots_epoch))


def test_a_root_from_before_gets_its_key() -> None:
    world = World.set_up()
    world.do(commands.set_roots(stamp(), [root("r1", signing_key_id="aa")], 0))
    with pytest.raises(Conflict, match="another root already"):
        world.do(commands.activate_root(stamp(), root("r2", signing_key_id="bb"), sealed("bb"), 0))
    activate(world, "r1", "aa")
    assert (active(world), world.state.roots_epoch) == ({"r1": True}, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"leaf_ttl_ms": 9_000}, "LeafCertTTL 9s: use 10s to"),
        ({"leaf_ttl_ms": 400 * 24 * HOUR_MS, "root_ttl_ms": 10**12}, "LeafCertTTL"),
        ({"root_ttl_ms": 4 * HOUR_MS - 1}, "RootCertTTL .* 4 times LeafCertTTL"),
        ({"root_ttl_ms": 10**12}, "RootCertTTL"),
        ({"csr_per_s_max": 10_001}, "CSRMaxPerSecond"),
    ],
)
def test_settings_out_of_bounds_are_refused(world: World, changes: dict[str, int], said: str) -> None:
    with pytest.raises(InvalidCommand, match=said):
        world.do(commands.configure_ca(stamp(), replace(SETTINGS, **changes)))


def test_snapshots_hold_the_authority(world: World) -> None:
    ask(world)
    activate(world, "r2", "bb")
    records = list(snapshot.encode(world.state))
    again = snapshot.decode(records)
    assert again.authority == world.state.authority
    assert list(snapshot.encode(again)) == records


def test_trap_21_new_commands_carry_a_level_that_old_servers_do_not_know() -> None:
    assert commands.configure_ca(stamp(), SETTINGS).version == 2
    assert commands.expire(stamp()).version == 1


def test_trap_4_a_services_own_leaf_is_revoked_with_its_last_instance(world: World) -> None:
    world.register(service("web-1", "web"), service("web-2", "web"))
    world.do(commands.record_service_leaf(stamp(), "web", 7, 100_000, world.state.roots_epoch))
    world.do(commands.deregister_services(stamp(), "n1", ["web-1"]))
    assert world.state.revoked().rows == ()
    touched = world.do(commands.deregister_services(stamp(), "n1", ["web-2"]))
    assert watches.REVOCATIONS in touched
    assert [(row.trust_domain, row.serial) for row in world.state.revoked().rows] == [
        (CLUSTER.trust_domain, 7)
    ]
    assert world.state.leaves_of(service_leaf_key("web")) == ()


def test_trap_25_a_services_leaf_is_fenced_by_the_roots(world: World) -> None:
    with pytest.raises(Conflict, match="sign again"):
        world.do(commands.record_service_leaf(stamp(), "web", 7, 100_000, world.state.roots_epoch + 1))

"""Keys and values in the log, against a dictionary that knows what each verb means."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import commands, kv_commands, limits, snapshot, watches
from registry.catalog.apply import apply_steps
from registry.errors import InvalidCommand, InvalidSession
from tests.support.catalog import World, stamp
from weft.pb.catalog.v1.command_pb2 import Command

KEYS = ("a", "a/", "a/b", "a/b/c", "a/bc", "b", "b/ç d", "%2F", "x.json")
PREFIXES = ("", "a", "a/", "a/b", "b/", "nothing")


@dataclass
class Oracle:
    """A dictionary: key -> value, flags, modify index."""

    rows: dict[str, tuple[bytes, int, int]] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)  # when each key last changed, deleted ones too

    def put(self, key: str, value: bytes, flags: int, cas: int | None, index: int) -> str:
        old = self.rows.get(key)
        if cas is not None and cas != (old[2] if old else 0):
            return "false"
        if not old or old[:2] != (value, flags):
            self.rows[key] = (value, flags, index)
            self.changed[key] = index
        return "true"

    def delete(self, key: str, cas: int | None, index: int) -> str:
        old = self.rows.get(key)
        if old and cas is not None and cas != old[2]:
            return "false"
        if self.rows.pop(key, None):
            self.changed[key] = index
        return "true"

    def delete_tree(self, prefix: str, index: int) -> str:
        for key in [key for key in self.rows if key.startswith(prefix)]:
            self.delete(key, None, index)
        return "true"


_cas = st.sampled_from([None, 0, 3, 4, 5])
_steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.sampled_from(KEYS), st.binary(max_size=3), st.sampled_from([0, 7]), _cas
        ),
        st.tuples(st.just("delete"), st.sampled_from(KEYS), _cas),
        st.tuples(st.just("delete_tree"), st.sampled_from(PREFIXES)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(_steps)
def test_the_table_is_a_dictionary(steps: list[tuple[object, ...]]) -> None:
    world, oracle = World.set_up(), Oracle()
    for verb, *arguments in steps:
        index = world.state.index + 1
        expected = getattr(oracle, str(verb))(*arguments, index)
        assert world.attempt(_command(str(verb), *arguments)).answer.value == expected
        found = {row.key: (row.value, row.flags, row.indexes.modify) for row in world.state.kv.values()}
        assert found == oracle.rows
        for prefix in PREFIXES:
            read = world.state.keys_under(prefix)
            assert [row.key for row in read.rows] == sorted(
                key for key in oracle.rows if key.startswith(prefix)
            )
            moved = [at for key, at in oracle.changed.items() if key.startswith(prefix)]
            assert read.index == max(moved, default=1)


def _command(verb: str, key: object, *rest: object) -> Command:
    match verb, rest:
        case "put", (bytes(value), int(flags), cas):
            return kv_commands.set_kv(stamp(), str(key), value, flags, expected_index=cas)  # type: ignore[arg-type]
        case "delete", (cas,):
            return kv_commands.delete_kv(stamp(), str(key), expected_index=cas)  # type: ignore[arg-type]
    return kv_commands.delete_kv_tree(stamp(), str(key))


def put(world: World, *keys: str) -> None:
    for key in keys:
        world.do(kv_commands.set_kv(stamp(), key, b"v"))


def test_a_deletion_moves_the_index_of_its_prefix_and_of_no_other() -> None:
    world = World.set_up()
    put(world, "a/1", "a/2", "b/1")
    before_b = world.state.keys_under("b/").index
    world.do(kv_commands.delete_kv(stamp(), "a/1"))
    assert world.state.keys_under("a/").index == world.state.index
    world.do(kv_commands.delete_kv_tree(stamp(), "a/"))
    assert world.state.keys_under("a/").index == world.state.index
    assert world.state.keys_under("b/").index == before_b


def test_what_is_waited_for_is_the_narrowest_directory() -> None:
    world = World.set_up()
    put(world, "a/b/c")
    touched = world.do(kv_commands.set_kv(stamp(), "a/bc", b"v"))
    assert watches.kv_directory("a/b") in touched
    assert watches.kv_directory("a/b/") not in touched
    assert watches.kv_directory("a/b") == watches.kv_directory("a/")
    deep = "/".join("x" * 30)
    assert watches.kv_directory(deep) in watches.kv_directories(deep + "y/z")
    assert len(watches.kv_directories(deep)) == limits.KV_WATCHED_DEPTH_MAX + 1


def test_tombstones_go_with_age_and_no_index_comes_back_lower() -> None:
    world = World.set_up()
    put(world, "a/1", "a/2")
    world.do(kv_commands.delete_kv(stamp(), "a/2"))
    before = world.state.keys_under("a/").index
    assert len(world.state.tombstones) == 1
    world.do(commands.expire(stamp(2_000 + limits.TOMBSTONE_KEPT_MS)))
    assert len(world.state.tombstones) == 0
    assert world.state.keys_under("a/").index >= before


def test_a_large_tree_is_deleted_in_steps() -> None:
    world = World.set_up()
    put(world, *(f"a/{n:04}" for n in range(300)))
    steps = apply_steps(world.state, kv_commands.delete_kv_tree(stamp(), "a/"), world.state.index + 1)
    count = sum(1 for _ in steps)
    assert count >= 8
    world.do(kv_commands.delete_kv_tree(stamp(), "a/"))
    assert not world.state.kv


def test_large_values_are_written_one_by_one_into_a_snapshot() -> None:
    world = World.set_up()
    for n in range(4):
        world.do(kv_commands.set_kv(stamp(), f"k{n}", bytes([n]) * limits.KV_VALUE_BYTES_MAX))
    records = list(snapshot.encode(world.state))
    assert max(map(len, records)) < limits.KV_VALUE_BYTES_MAX + 1024
    assert list(snapshot.decode(records).kv.items()) == list(world.state.kv.items())


@pytest.mark.parametrize("key", ["", "a/../b", "../a", " a", "a ", "x" * 2049])
def test_keys_that_could_be_mistaken_are_refused(key: str) -> None:
    with pytest.raises(InvalidCommand, match=r"[Kk]ey"):
        World.set_up().do(kv_commands.set_kv(stamp(), key))


def test_a_value_has_a_bound() -> None:
    with pytest.raises(InvalidCommand, match="is too large"):
        World.set_up().do(kv_commands.set_kv(stamp(), "a", b"x" * (limits.KV_VALUE_BYTES_MAX + 1)))


def test_a_lock_needs_a_session() -> None:
    with pytest.raises(InvalidSession, match="invalid session"):
        World.set_up().do(kv_commands.lock_kv(stamp(), "a", "11111111-2222-4333-8444-555555555555"))

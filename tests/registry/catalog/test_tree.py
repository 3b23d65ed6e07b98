"""The persistent tree against a dict and sorted()."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog.tree import WIDTH, Tree

Key = tuple[int, str]
_keys = st.tuples(st.integers(0, 60), st.sampled_from("abcdefgh"))
_steps = st.lists(st.tuples(st.booleans(), _keys, st.integers()), max_size=400)


def _check_shape(tree: Tree[int]) -> None:
    """Every node within its widths, every bound true, all leaves at the tree's height."""

    def walk(node: Any, height: int, low: Key | None, high: Key | None) -> int:
        firsts, values = node
        assert len(values) <= WIDTH
        assert height == tree._height or len(values) >= WIDTH // 4
        assert firsts == sorted(set(firsts))
        if not height:
            assert len(firsts) == len(values)
            assert all((low is None or key >= low) and (high is None or key < high) for key in firsts)
            return len(firsts)
        assert len(firsts) == len(values) - 1 > 0
        limits = [low, *firsts, high]
        return sum(walk(child, height - 1, limits[at], limits[at + 1]) for at, child in enumerate(values))

    assert walk(tree._root, tree._height, None, None) == len(tree)


@settings(max_examples=150, deadline=None)
@given(_steps)
def test_behaves_as_a_sorted_dict(steps: list[tuple[bool, Key, int]]) -> None:
    tree, past = Tree[int](), []
    oracle: dict[Key, int] = {}
    for is_put, key, value in steps:
        past.append((tree, dict(oracle)))
        if is_put:
            tree, oracle = tree.put(key, value), {**oracle, key: value}
        else:
            tree = tree.without(key)
            oracle.pop(key, None)
        assert tree.get(key) == oracle.get(key)
        assert (key in tree) == (key in oracle)
    _check_shape(tree)
    assert list(tree.items()) == sorted(oracle.items())
    assert len(tree) == len(oracle)
    for old, content in past[:: max(1, len(past) // 10)]:
        assert list(old.items()) == sorted(content.items())  # persistence: no version changed


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(_keys, st.integers(), max_size=400), _keys)
def test_loads_ranges_and_prefixes(content: dict[Key, int], start: Key) -> None:
    tree = Tree[int].load(sorted(content.items()))
    _check_shape(tree)
    assert len(tree) == len(content)
    assert list(tree.items(start)) == [(key, content[key]) for key in sorted(content) if key >= start]
    assert list(tree.prefix(start[:1])) == [content[key] for key in sorted(content) if key[0] == start[0]]
    assert list(tree.values()) == [content[key] for key in sorted(content)]


def test_grows_and_shrinks_through_all_levels() -> None:
    count = WIDTH**2 * 3
    tree = Tree[int]()
    for number in range(count):
        tree = tree.put((number * 7919 % count,), number)
    _check_shape(tree)
    full = tree
    for number in range(count - 1):
        tree = tree.without((number * 104_729 % count,))
        if number % 97 == 0:
            _check_shape(tree)
    assert len(tree) == 1
    assert [key for key, _ in full.items()] == [(number,) for number in range(count)]


def test_removing_what_is_absent_changes_nothing() -> None:
    tree = Tree[int]().put(("a",), 1)
    assert tree.without(("b",)) is tree
    assert Tree[int]().without(("b",)).get(("b",)) is None

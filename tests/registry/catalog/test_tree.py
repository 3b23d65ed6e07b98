"""The persistent tree against a dict and sorted()."""

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog.tree import WIDTH, Tree

_keys = st.tuples(st.integers(0, 60), st.sampled_from("abcdefgh"))
_steps = st.lists(st.tuples(st.booleans(), _keys, st.integers()), max_size=400)


def _check_shape(tree: Tree[int]) -> None:
    """Every node within its bounds, every size and first key true, all leaves on one level."""

    def walk(node: tuple, is_root: bool) -> tuple[int, int]:
        keys, values, size = node
        assert len(keys) == len(values) <= WIDTH
        assert is_root or len(keys) >= WIDTH // 4
        assert list(keys) == sorted(set(keys))
        if size is None:
            return 1, len(keys)
        assert len(keys) > 1 or not is_root
        below = [walk(child, False) for child in values]
        assert keys == tuple(child[0][0] for child in values)
        assert len({depth for depth, _ in below}) == 1
        assert size == sum(count for _, count in below)
        return below[0][0] + 1, size

    walk(tree._root, True)


@settings(max_examples=150, deadline=None)
@given(_steps)
def test_behaves_as_a_sorted_dict(steps: list) -> None:
    tree, oracle, past = Tree[int](), {}, []
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
def test_loads_ranges_and_prefixes(content: dict, start: tuple) -> None:
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

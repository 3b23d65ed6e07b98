"""An ordered persistent map: a B+ tree whose updates share all but one path with the old version.

Keys are tuples that compare with each other (tables keep one shape per tree). A tree is a value:
`put` and `without` return another one, and whoever holds the old one sees no change. Nodes are plain
tuples of up to `WIDTH` entries, so a look-up is a bisect in C per level, an update copies one short
tuple per level, and 100,000 rows cost the garbage collector some thousands of objects, not 100,000.
Iteration order is the key order, in every process.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

Key = tuple[Any, ...]
V = TypeVar("V")

WIDTH = 32  # entries per node; 32 pointers are four cache lines, and three levels hold 32,768 rows
_MIN = WIDTH // 4  # a narrower node is joined with a neighbour; half would split and join in turns

# A leaf is (keys, values, None); an inner node is (first keys of children, children, size).
_Node = tuple[tuple[Key, ...], tuple[Any, ...], int | None]
_EMPTY: _Node = ((), (), None)


class Tree(Generic[V]):
    """An immutable ordered map from tuple keys to values."""

    __slots__ = ("_root",)

    def __init__(self, root: _Node = _EMPTY) -> None:
        self._root = root

    @classmethod
    def load(cls, items: Iterable[tuple[Key, V]]) -> "Tree[V]":
        """Builds a tree from items in strictly ascending key order, in linear time."""
        level: list[_Node] = [
            (tuple(key for key, _ in run), tuple(value for _, value in run), None)
            for run in _runs(list(items))
        ]
        while len(level) > 1:
            level = [_inner(tuple(run)) for run in _runs(level)]
        return cls(level[0] if level else _EMPTY)

    def __len__(self) -> int:
        return _size(self._root)

    def __contains__(self, key: Key) -> bool:
        keys, _, at = _leaf_of(self._root, key)
        return at < len(keys) and keys[at] == key

    def get(self, key: Key) -> V | None:
        keys, values, at = _leaf_of(self._root, key)
        if at < len(keys) and keys[at] == key:
            found: V = values[at]
            return found
        return None

    def last(self) -> Key | None:
        """The greatest key; None when the tree is empty."""
        node = self._root
        while node[2] is not None:
            node = node[1][-1]
        return node[0][-1] if node[0] else None

    def put(self, key: Key, value: V) -> "Tree[V]":
        """This map with `key` set to `value`."""
        made = _put(self._root, key, value)
        return Tree(made[0] if len(made) == 1 else _inner(made))

    def without(self, key: Key) -> "Tree[V]":
        """This map without `key`; itself when the key is absent."""
        root = _without(self._root, key)
        if root is self._root:
            return self
        while root[2] is not None and len(root[1]) == 1:
            root = root[1][0]
        return Tree(root)

    def items(self, start: Key = ()) -> Iterator[tuple[Key, V]]:
        """Entries in key order, from the first key that is not below `start`."""
        return _items(self._root, start)

    def values(self) -> Iterator[V]:
        return (value for _, value in _items(self._root, ()))

    def prefix(self, head: Key) -> Iterator[V]:
        """Values whose keys begin with the elements of `head`, in key order."""
        width = len(head)
        for key, value in _items(self._root, head):
            if key[:width] != head:
                return
            yield value


def _runs(entries: list[Any]) -> Iterator[list[Any]]:
    """Cuts a level into nodes three quarters full, none of them below the minimum."""
    fill = WIDTH * 3 // 4
    count = max(1, -(-len(entries) // fill)) if entries else 0
    for number in range(count):
        yield entries[len(entries) * number // count : len(entries) * (number + 1) // count]


def _size(node: _Node) -> int:
    return len(node[0]) if node[2] is None else node[2]


def _inner(children: tuple[_Node, ...]) -> _Node:
    return tuple(child[0][0] for child in children), children, sum(map(_size, children))


def _child_at(node: _Node, key: Key) -> int:
    return (bisect_right(node[0], key) or 1) - 1


def _leaf_of(node: _Node, key: Key) -> tuple[tuple[Key, ...], tuple[Any, ...], int]:
    while node[2] is not None:
        node = node[1][_child_at(node, key)]
    return node[0], node[1], bisect_left(node[0], key)


def _cut(node: _Node) -> tuple[_Node, ...]:
    """The node, or its two halves when it is too wide."""
    keys, values, size = node
    if len(keys) <= WIDTH:
        return (node,)
    half = len(keys) // 2
    if size is None:
        return (keys[:half], values[:half], None), (keys[half:], values[half:], None)
    return _inner(values[:half]), _inner(values[half:])


def _put(node: _Node, key: Key, value: Any) -> tuple[_Node, ...]:
    keys, values, size = node
    if size is None:
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            return ((keys, (*values[:at], value, *values[at + 1 :]), None),)
        return _cut(((*keys[:at], key, *keys[at:]), (*values[:at], value, *values[at:]), None))
    at = _child_at(node, key)
    made = _put(values[at], key, value)
    if len(made) > 1:
        return _cut(_with_children(node, at, at + 1, made))
    first, grown = made[0][0][0], _size(made[0]) - _size(values[at])
    firsts = keys if first == keys[at] else (*keys[:at], first, *keys[at + 1 :])
    return ((firsts, values[:at] + made + values[at + 1 :], size + grown),)


def _with_children(node: _Node, start: int, stop: int, made: tuple[_Node, ...]) -> _Node:
    """An inner node in which `made` stands where children[start:stop] stood."""
    keys, children, size = node
    before = sum(map(_size, children[start:stop]))
    return (
        keys[:start] + tuple(child[0][0] for child in made) + keys[stop:],
        children[:start] + made + children[stop:],
        (size or 0) - before + sum(map(_size, made)),
    )


def _without(node: _Node, key: Key) -> _Node:
    keys, values, size = node
    if size is None:
        at = bisect_left(keys, key)
        if at == len(keys) or keys[at] != key:
            return node
        return keys[:at] + keys[at + 1 :], values[:at] + values[at + 1 :], None
    at = _child_at(node, key)
    made = _without(values[at], key)
    if made is values[at]:
        return node
    if len(made[0]) >= _MIN or len(values) == 1:
        return _with_children(node, at, at + 1, (made,) if made[0] else ())
    left = at - 1 if at else at
    pair = (values[left], made) if at else (made, values[1])
    return _with_children(node, left, left + 2, _joined(*pair))


def _joined(left: _Node, right: _Node) -> tuple[_Node, ...]:
    """Two neighbours of the same level as one node, or as two of equal width."""
    if left[2] is None:
        return _cut((left[0] + right[0], left[1] + right[1], None))
    return _cut((left[0] + right[0], left[1] + right[1], left[2] + (right[2] or 0)))


def _items(node: _Node, start: Key) -> Iterator[tuple[Key, Any]]:
    """Walks with an explicit stack: a recursive generator would pay per level and entry."""
    stack: list[tuple[_Node, int]] = []
    while node[2] is not None:
        at = _child_at(node, start)
        stack.append((node, at))
        node = node[1][at]
    yield from zip(node[0][(at := bisect_left(node[0], start)) :], node[1][at:], strict=True)
    while stack:
        node, at = stack.pop()
        if at + 1 == len(node[1]):
            continue
        stack.append((node, at + 1))
        node = node[1][at + 1]
        while node[2] is not None:
            stack.append((node, 0))
            node = node[1][0]
        yield from zip(node[0], node[1], strict=True)

"""An ordered persistent map: a B+ tree whose updates share all but one path with the old version.

Keys are tuples that compare with each other (tables keep one shape per tree). A tree is a value:
`put` and `without` return another one, and whoever holds the old one sees no change. Nodes hold up to
`WIDTH` entries, so a look-up is a bisect in C per level, an update copies one short list per level, and
100,000 rows cost the garbage collector some thousands of objects, not 100,000.
Iteration order is the key order, in every process.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

Key = tuple[Any, ...]
V = TypeVar("V")

WIDTH = 32  # entries per node; 32 pointers are four cache lines, and three levels hold 32,768 rows
_MIN = WIDTH // 4  # a narrower node is joined with a neighbour; half would split and join in turns
_FILL = WIDTH * 3 // 4  # of the nodes of a loaded tree

# A leaf is (keys, values). An inner node is (bounds, children): keys of children[i] are below bounds[i],
# those of children[i + 1] are not. No list changes once it is in a node. They are lists and not tuples
# because a list is what copies fastest with one place changed, and that is an update's work at each level.
_Node = tuple[list[Any], list[Any]]
_Path = list[tuple[_Node, int]]  # inner nodes from the root down, and which child was taken


class Tree(Generic[V]):
    """An immutable ordered map from tuple keys to values."""

    __slots__ = ("_height", "_root", "_size")

    def __init__(self, root: _Node = ([], []), height: int = 0, size: int = 0) -> None:
        self._root = root
        self._height = height  # levels of inner nodes
        self._size = size

    @classmethod
    def load(cls, items: Iterable[tuple[Key, V]]) -> "Tree[V]":
        """Builds a tree from items in strictly ascending key order, in linear time."""
        loader = Loader[V]()
        left = iter(items)
        while part := list(islice(left, 1024)):
            loader.extend([key for key, _ in part], [value for _, value in part])
        return loader.tree()

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: Key) -> bool:
        keys, _ = _leaf(self._root, self._height, key)
        at = bisect_left(keys, key)
        return at < len(keys) and bool(keys[at] == key)

    def get(self, key: Key) -> V | None:
        keys, values = _leaf(self._root, self._height, key)
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            found: V = values[at]
            return found
        return None

    def last(self) -> Key | None:
        """The greatest key; None when the tree is empty."""
        node = self._root
        for _ in range(self._height):
            node = node[1][-1]
        return node[0][-1] if node[0] else None

    def put(self, key: Key, value: V) -> "Tree[V]":
        """This map with `key` set to `value`."""
        path, (keys, values) = _descend(self._root, self._height, key)
        at = bisect_left(keys, key)
        values = values.copy()
        if at < len(keys) and keys[at] == key:
            values[at] = value
            return Tree(_climb(path, (keys, values)), self._height, self._size)
        keys = keys.copy()
        keys.insert(at, key)
        values.insert(at, value)
        if len(keys) <= WIDTH:
            return Tree(_climb(path, (keys, values)), self._height, self._size + 1)
        half = len(keys) // 2
        halves = (keys[:half], values[:half]), (keys[half:], values[half:])
        return _split(path, keys[half], halves, self._height, self._size + 1)

    def without(self, key: Key) -> "Tree[V]":
        """This map without `key`; itself when the key is absent."""
        path, (keys, values) = _descend(self._root, self._height, key)
        at = bisect_left(keys, key)
        if at == len(keys) or keys[at] != key:
            return self
        keys, values = keys.copy(), values.copy()
        del keys[at], values[at]
        if len(keys) >= _MIN or not path:
            return Tree(_climb(path, (keys, values)), self._height, self._size - 1)
        root, height = _join(path, (keys, values), self._height)
        return Tree(root, height, self._size - 1)

    def leaves(self) -> list[object]:
        """What holds the entries. Whoever keeps it can give a great tree up a little at a time."""
        return list(_leaves(self._root, self._height, ()))

    def items(self, start: Key = ()) -> Iterator[tuple[Key, V]]:
        """Entries in key order, from the first key that is not below `start`."""
        for keys, values in _leaves(self._root, self._height, start):
            yield from zip(keys, values, strict=True)

    def values(self) -> Iterator[V]:
        for _, values in _leaves(self._root, self._height, ()):
            yield from values

    def prefix(self, head: Key) -> Iterator[V]:
        """Values whose keys begin with the elements of `head`, in key order."""
        width = len(head)
        for keys, values in _leaves(self._root, self._height, head):
            for key, value in zip(keys, values, strict=True):
                if key[:width] != head:
                    return
                yield value


def _leaf(node: _Node, height: int, key: Key) -> _Node:
    for _ in range(height):
        node = node[1][bisect_right(node[0], key)]
    return node


def _descend(node: _Node, height: int, key: Key) -> tuple[_Path, _Node]:
    path: _Path = []
    for _ in range(height):
        at = bisect_right(node[0], key)
        path.append((node, at))
        node = node[1][at]
    return path, node


def _climb(path: _Path, made: _Node) -> _Node:
    """The root when `made` takes the place of what the path leads to."""
    for (bounds, children), at in reversed(path):
        children = children.copy()
        children[at] = made
        made = bounds, children
    return made


def _split(path: _Path, bound: Key, halves: tuple[_Node, _Node], height: int, size: int) -> Tree[Any]:
    """The tree when two nodes take the place of what the path leads to."""
    while path:
        (bounds, children), at = path.pop()
        bounds, children = bounds.copy(), children.copy()
        bounds.insert(at, bound)
        children[at : at + 1] = halves
        if len(children) <= WIDTH:
            return Tree(_climb(path, (bounds, children)), height, size)
        half = len(children) // 2
        bound = bounds[half - 1]
        halves = (bounds[: half - 1], children[:half]), (bounds[half:], children[half:])
    return Tree(([bound], list(halves)), height + 1, size)


def _join(path: _Path, made: _Node, height: int) -> tuple[_Node, int]:
    """Root and height when `made`, which is too narrow, takes the place of what the path leads to."""
    is_leaf = True
    while path:
        (bounds, children), at = path.pop()
        bounds, children = bounds.copy(), children.copy()
        left = max(0, at - 1)
        pair = (children[left], made) if at else (made, children[1])
        children[left : left + 2], bounds[left : left + 1] = _joined(pair, bounds[left], is_leaf)
        made = bounds, children
        if len(children) >= _MIN and path:
            return _climb(path, made), height
        is_leaf = False
    if len(made[1]) == 1:  # a root with one child
        return made[1][0], height - 1
    return made, height


def _joined(pair: tuple[_Node, _Node], bound: Key, is_leaf: bool) -> tuple[list[_Node], list[Key]]:
    """Two neighbours as one node, or as two of equal width with the bound between them."""
    (left, left_values), (right, right_values) = pair
    firsts = left + right if is_leaf else [*left, bound, *right]
    values = left_values + right_values
    if len(values) <= WIDTH:
        return [(firsts, values)], []
    half = len(values) // 2
    if is_leaf:
        return [(firsts[:half], values[:half]), (firsts[half:], values[half:])], [firsts[half]]
    return [(firsts[: half - 1], values[:half]), (firsts[half:], values[half:])], [firsts[half - 1]]


def _leaves(node: _Node, height: int, start: Key) -> Iterator[_Node]:
    """Keys and values from `start` on, leaf by leaf; the first may be a part of one."""
    path, (keys, values) = _descend(node, height, start)
    at = bisect_left(keys, start)
    yield (keys[at:], values[at:]) if at else (keys, values)
    while path:
        node, at = path.pop()
        if at + 1 == len(node[1]):
            continue
        path.append((node, at + 1))
        node = node[1][at + 1]
        while len(path) < height:
            path.append((node, 0))
            node = node[1][0]
        yield node


class Loader(Generic[V]):
    """Builds a tree from entries that come in strictly ascending key order, a few at a time."""

    def __init__(self) -> None:
        self._leaves: list[_Node] = []
        self._keys: list[Key] = []
        self._values: list[V] = []

    def extend(self, keys: Iterable[Key], values: Iterable[V]) -> None:
        """Adds as many keys as values."""
        self._keys += keys
        self._values += values
        whole = len(self._keys) - len(self._keys) % _FILL
        for low in range(0, whole, _FILL):
            self._cut(low, low + _FILL)
        del self._keys[:whole], self._values[:whole]

    def _cut(self, low: int, high: int) -> None:
        self._leaves.append((self._keys[low:high], self._values[low:high]))

    def tree(self) -> Tree[V]:
        """What was added, as a tree; the loader is spent."""
        size = len(self._leaves) * _FILL + len(self._keys)
        if self._keys:
            self._cut(0, len(self._keys))
        if not self._leaves:
            return Tree()
        nodes, firsts = self._leaves, [keys[0] for keys, _ in self._leaves]
        _widen_last(nodes, firsts)
        height = 0
        while len(nodes) > 1:
            cuts = list(_runs(len(nodes)))
            nodes = [(firsts[low + 1 : high], nodes[low:high]) for low, high in cuts]
            firsts = [firsts[low] for low, _ in cuts]
            height += 1
        return Tree(nodes[0], height, size)


def _widen_last(leaves: list[_Node], firsts: list[Key]) -> None:
    """The rest in the last leaf may be below the minimum: it shares with the one before."""
    if len(leaves) > 1 and len(leaves[-1][0]) < _MIN:
        (left, left_values), (right, right_values) = leaves[-2:]
        keys, values = left + right, left_values + right_values
        half = len(keys) // 2
        leaves[-2:] = (keys[:half], values[:half]), (keys[half:], values[half:])
        firsts[-1] = keys[half]


def _runs(count: int) -> Iterator[tuple[int, int]]:
    """Cuts a level into nodes three quarters full, none of them below the minimum."""
    parts = -(-count // _FILL)
    for number in range(parts):
        yield count * number // parts, count * (number + 1) // parts

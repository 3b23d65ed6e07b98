"""What is near to a node, by the coordinates that were reported: Vivaldi with heights, as Serf keeps them."""

import math
from collections.abc import Callable, Sequence

from .model import Coordinate, ServiceEntry
from .state import State


def distance_s(a: Coordinate, b: Coordinate) -> float:
    """The estimated round-trip time between two nodes; infinite where the spaces differ."""
    if len(a.vec) != len(b.vec) or a.segment != b.segment:
        return math.inf
    raw = math.dist(a.vec, b.vec) + a.height + b.height
    adjusted = raw + a.adjustment + b.adjustment
    return adjusted if adjusted > 0 else raw


def nearness_to(state: State, node: str) -> Callable[[str], tuple[bool, float]]:
    """A key to sort names of nodes by: the node itself first, those of which nothing is known last."""
    here = state.coordinates.get((node,))

    def key(name: str) -> tuple[bool, float]:
        there = state.coordinates.get((name,))
        return name != node, distance_s(here, there) if here and there else math.inf

    return key


def nearest_first(
    state: State, rows: Sequence[ServiceEntry], node: str, draw: Callable[[], float]
) -> list[ServiceEntry]:
    """By chance among equals."""
    nearness = nearness_to(state, node)
    return sorted(rows, key=lambda row: (nearness(row.node.name), draw()))

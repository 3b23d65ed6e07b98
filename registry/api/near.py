"""`?near=`: rows in the order of round-trip times from a node, as far as coordinates are known."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from ..catalog import watches
from ..catalog.nearness import nearness_to
from ..catalog.state import Read
from .handling import Reading

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    reading: Reading, found: Read[T], rows: Iterable[R], node_of: Callable[[R], str]
) -> tuple[Read[T], list[R]]:
    """The rows as they are to be shown, and what the order was read from besides: an answer that depends on
    coordinates is another one when they move."""
    near = reading.query.text("near")
    if not near:
        return found, list(rows)
    nearness = nearness_to(reading.state, reading.parts.agent.node.name if near == "_agent" else near)
    wider = reading.state.read(found.rows, *found.keys, watches.COORDINATES)
    return wider, sorted(rows, key=lambda row: nearness(node_of(row)))

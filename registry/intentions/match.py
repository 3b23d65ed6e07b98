"""Which intentions a call may meet, and what they say about it."""

from typing import NamedTuple

from ..catalog import watches
from ..catalog.model import WILDCARD, Intention
from ..catalog.state import Read, State
from .precedence import ordered


class Decision(NamedTuple):
    """`intention` is the one that decided; None: the default did."""

    allowed: bool
    intention: Intention | None


def list_all(state: State) -> Read[tuple[Intention, ...]]:
    """Every intention, highest precedence first."""
    return state.read(ordered(state.intentions.values()), watches.INTENTIONS)


def match_destination(state: State, name: str) -> Read[tuple[Intention, ...]]:
    """Those that a call to the service may meet, highest precedence first."""
    heads = dict.fromkeys((name, WILDCARD))
    rows = ordered(row for head in heads for row in state.intentions.prefix((head,)))
    return state.read(rows, *map(watches.intention_destination, heads))


def match_source(state: State, name: str) -> Read[tuple[Intention, ...]]:
    """Those that a call from the service may meet, highest precedence first."""
    heads = dict.fromkeys((name, WILDCARD))
    rows = ordered(row for head in heads for row in state.intentions_by_source.prefix((head,)))
    return state.read(rows, *map(watches.intention_source, heads))


def check(state: State, source: str, destination: str, *, default_allow: bool) -> Read[Decision]:
    """May `source` call `destination`? The first that matches both decides, else the default."""
    found = match_destination(state, destination)
    for row in found.rows:
        if row.source in (source, WILDCARD):
            return state.read(Decision(row.allow, row), *found.keys)
    return state.read(Decision(default_allow, None), *found.keys)

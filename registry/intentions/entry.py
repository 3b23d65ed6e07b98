"""Intentions as config entries of the kind service-intentions: the other view of the same rows."""

from dataclasses import dataclass
from itertools import groupby

from ..catalog import watches
from ..catalog.model import SERVICE_INTENTIONS, Indexes, Intention
from ..catalog.state import Read, State
from ..config_entries.service_intentions import ServiceIntentions, SourceIntention
from .precedence import ordered


@dataclass(frozen=True, slots=True)
class Seen:
    """The entry of one destination, made of its rows. `indexes.modify` moves when one of them goes, too."""

    entry: ServiceIntentions
    rows: tuple[Intention, ...]  # of the entry's sources, in their order
    indexes: Indexes


def entry_of(state: State, destination: str) -> Read[Seen | None]:
    """None where no intention has this destination."""
    rows = tuple(state.intentions.prefix((destination,)))
    return state.read(
        _seen(state, destination, rows) if rows else None,
        watches.config_entry(SERVICE_INTENTIONS, destination),
    )


def entries_of(state: State) -> Read[tuple[Seen, ...]]:
    """All of them, by destination."""
    groups = groupby(state.intentions.values(), lambda row: row.destination)
    found = tuple(_seen(state, destination, tuple(rows)) for destination, rows in groups)
    return state.read(found, watches.config_kind(SERVICE_INTENTIONS))


def _seen(state: State, destination: str, rows: tuple[Intention, ...]) -> Seen:
    defaults, rows = state.intention_defaults.get((destination,)), ordered(rows)
    entry = ServiceIntentions(
        kind=SERVICE_INTENTIONS,
        name=destination,
        meta=defaults.meta if defaults else {},
        sources=tuple(map(_source, rows)),
        jwt=defaults.jwt if defaults else None,
    )
    modify = state.index_of(watches.intention_destination(destination))
    return Seen(entry, rows, Indexes(min(row.indexes.create for row in rows), modify))


def _source(row: Intention) -> SourceIntention:
    return SourceIntention(
        name=row.source, action=row.action, permissions=row.permissions, description=row.description
    )

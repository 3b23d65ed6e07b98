"""User events and coordinates: the commands about them, and who an event is for."""

import math
from collections.abc import Iterable
from itertools import islice

from weft.pb.catalog.v1 import event_pb2 as pb
from weft.pb.catalog.v1.command_pb2 import Command
from weft.regex import InvalidPattern, compile_pattern

from ..errors import InvalidCommand, NotFound
from . import limits, rules
from .commands import EVENT_LEVEL, Stamp
from .draft import Draft
from .model import Coordinate, Event, Service

_EVENT = ("id", "name", "payload", "node_filter", "service_filter", "tag_filter")
_COORDINATE = ("node", "segment", "error", "adjustment", "height")
DIMENSIONS = 8


def fire_event(stamp: Stamp, row: Event) -> Command:
    """Value: its id."""
    command = Command(version=EVENT_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)
    command.fire_event.event.CopyFrom(pb.Event(**{name: getattr(row, name) for name in _EVENT}))
    return command


def set_coordinate(stamp: Stamp, row: Coordinate) -> Command:
    """NotFound unless the node is there."""
    command = Command(version=EVENT_LEVEL, time_ms=stamp.time_ms, request_id=stamp.request_id)
    fields = {name: getattr(row, name) for name in _COORDINATE}
    command.set_coordinate.coordinate.CopyFrom(pb.Coordinate(vec=row.vec, **fields))
    return command


def fire(draft: Draft, command: pb.FireEvent) -> str:
    given = command.event
    row = Event(draft.index, **{name: getattr(given, name) for name in _EVENT})
    rules.uuid("ID", row.id)
    rules.label("Name", row.name)
    rules.refuse_unless(
        len(row.payload) <= limits.EVENT_PAYLOAD_BYTES_MAX,
        f"user event exceeds sane limit of {limits.EVENT_PAYLOAD_BYTES_MAX} bytes before encoding",
    )
    for kind in ("node", "service", "tag"):
        _check_filter(kind, getattr(row, f"{kind}_filter"))
    rules.refuse_unless(
        row.service_filter or not row.tag_filter, "Cannot provide tag filter without service filter"
    )
    draft.put_event(row)
    surplus = max(0, len(draft.state.events) - limits.EVENTS_MAX)
    for oldest in tuple(islice(draft.state.events.values(), surplus)):
        draft.drop_event(oldest)
    return row.id


def _check_filter(kind: str, pattern: str) -> None:
    if pattern:
        try:
            compile_pattern(pattern)
        except InvalidPattern as error:
            raise InvalidCommand(f"Invalid {kind} filter: {error}") from None


def is_for(event: Event, node: str, services: Iterable[Service]) -> bool:
    """Whether a node with these services is told of the event."""
    if event.node_filter and not _found(event.node_filter, node):
        return False
    if not event.service_filter:
        return True
    return any(
        _found(event.service_filter, row.name)
        and (not event.tag_filter or any(_found(event.tag_filter, tag) for tag in row.tags))
        for row in services
    )


def _found(pattern: str, text: str) -> bool:
    return compile_pattern(pattern).is_in(text)


def put_coordinate(draft: Draft, command: pb.SetCoordinate) -> str:
    given = command.coordinate
    row = Coordinate(vec=tuple(given.vec), **{name: getattr(given, name) for name in _COORDINATE})
    rules.text("Segment", row.segment, limits.NAME_CHARS_MAX)
    rules.refuse_unless(not row.segment, "Segment: there is only the one without a name")
    rules.refuse_unless(
        len(row.vec) == DIMENSIONS
        and all(map(math.isfinite, (*row.vec, row.error, row.adjustment, row.height))),
        f"Coord: invalid coordinate; use {DIMENSIONS} finite numbers in Vec",
    )
    if (row.node,) not in draft.state.nodes:
        raise NotFound(f"Node {row.node[:64]!r} does not exist")
    draft.put_coordinate(row)
    return ""

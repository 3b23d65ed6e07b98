"""`/v1/event/*`: user events, which whoever lists them on a node that they are for is told of."""

import base64
import uuid

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..catalog import events, watches
from ..catalog.model import Event
from .acl.context import fresh_id
from .handling import Answer, Call, Reading
from .respond import Reply
from .views import Json

VERSION = 1
_HALF = 2**64 - 1


async def fire(call: Call) -> Reply:
    query = call.query
    row = Event(
        0,
        fresh_id(call),
        call.needed("Missing name"),
        call.body,
        query.text("node"),
        query.text("service"),
        query.text("tag"),
    )
    result = await call.parts.writer.propose(lambda stamp: events.fire_event(stamp, row))
    return call.json(_shown(row, result.index))


def list_all(reading: Reading) -> Answer:
    """What is for this node, the oldest first."""
    state, agent = reading.state, reading.parts.agent.node.name
    services = tuple(state.services.prefix((agent,)))
    name = reading.query.text("name")
    rows = [
        row
        for row in reading.sieve.keep(state.events.values(), readable)
        if (not name or row.name == name) and events.is_for(row, agent, services)
    ]
    index = _index(rows[-1].id) if rows else 1
    return Answer([_shown(row, row.ltime) for row in rows], index, (watches.EVENTS,), exact=True)


def readable(may: Authorizer, row: Event) -> bool:
    return may.allows("event", row.name, Access.READ)


def _index(event_id: str) -> int:
    """Of the last event: no order, only a difference (as in Consul)."""
    number = uuid.UUID(event_id).int
    return (number >> 64) ^ (number & _HALF) or 1


def _shown(row: Event, ltime: int) -> Json:
    return {
        "ID": row.id,
        "Name": row.name,
        "Payload": base64.b64encode(row.payload).decode() if row.payload else None,
        "NodeFilter": row.node_filter,
        "ServiceFilter": row.service_filter,
        "TagFilter": row.tag_filter,
        "Version": VERSION,
        "LTime": ltime,
    }

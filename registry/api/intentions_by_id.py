"""`POST /v1/connect/intentions` and `/v1/connect/intentions/:id`: old forms that tools still use."""

import uuid
from dataclasses import replace

from ..acl.access import Access
from ..agent.fields import Fields, decode_object, read_whole
from ..catalog import commands
from ..catalog.model import Intention
from ..catalog.state import State
from ..intentions import match as matching
from .blocking import gate
from .errors import BadRequest, NotFound
from .handling import Answer, Call, Reading, answer
from .intentions import NOT_FOUND, read_body, service_name
from .query import Consistency
from .respond import Reply
from .views import intention


def get(reading: Reading) -> Answer:
    """One intention, or 404."""
    found = matching.list_all(reading.state)
    row = _find(reading.state, reading.name)
    if row is None:
        return Answer(None, found.index, found.keys, missing=NOT_FOUND)
    reading.caller.require_intention(row.destination, Access.READ)
    return answer(found, intention(row))


async def create(call: Call) -> Reply:
    """`{"ID"}` of the new one; the pair of names is in the body. What is there already is not replaced."""
    source, destination, row = read_whole(decode_object(call.body), "", _whole)
    if not source or not destination:
        raise BadRequest("SourceName and DestinationName must be set")
    call.caller.require_intention(destination, Access.WRITE)
    await gate(call.parts.log, Consistency.DEFAULT)
    if call.parts.log.view().intention(source, destination).rows:
        raise BadRequest(f"duplicate intention found: {source} => {destination}")
    fresh = replace(row, id=str(uuid.UUID(bytes=call.parts.entropy(16), version=4)))
    await call.parts.writer.propose(lambda stamp: commands.set_intention(stamp, fresh))
    return call.json({"ID": fresh.id})


async def change(call: Call) -> Reply:
    """Replaces what an intention says, not whom it is about. Raises NotFound, BadRequest."""
    old = await _old(call)
    source, destination, row = read_whole(decode_object(call.body), "", _whole)
    if (source or old.source, destination or old.destination) != (old.source, old.destination):
        raise BadRequest("Cannot modify SourceName or DestinationName: delete this one, make another")
    kept = replace(row, source=old.source, destination=old.destination, id=old.id)
    await call.parts.writer.propose(lambda stamp: commands.set_intention(stamp, kept))
    return call.json({"ID": old.id})


async def delete(call: Call) -> Reply:
    """Raises NotFound."""
    old = await _old(call)
    source, destination = old.source, old.destination
    await call.parts.writer.propose(lambda stamp: commands.delete_intention(stamp, source, destination))
    return call.json(True)


async def _old(call: Call) -> Intention:
    await gate(call.parts.log, Consistency.DEFAULT)
    row = _find(call.parts.log.view(), call.name)
    if row is None:
        raise NotFound(NOT_FOUND)
    call.caller.require_intention(row.destination, Access.WRITE)
    return row


def _find(state: State, intention_id: str) -> Intention | None:
    return next((row for row in state.intentions.values() if row.id == intention_id), None)


def _whole(fields: Fields) -> tuple[str, str, Intention]:
    source, destination = (_name(fields, side) for side in ("Source", "Destination"))
    return source, destination, read_body(fields, source, destination)


def _name(fields: Fields, side: str) -> str:
    name = fields.text(f"{side}Name")
    return service_name("/".join((fields.text(f"{side}NS"), name))) if name else ""

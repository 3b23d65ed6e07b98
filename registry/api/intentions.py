"""`/v1/connect/intentions*`: who may call whom."""

import uuid
from dataclasses import replace

from ..acl.access import Access
from ..agent.fields import Fields, decode_object, read_whole
from ..catalog import commands
from ..catalog.model import Intention
from ..config_entries.service_intentions import encoded_permissions, permissions_of
from ..intentions import match as matching
from . import reads
from .errors import BadRequest, MissingParameter
from .handling import Answer, Call, Reading, answer
from .query import Query
from .respond import Reply
from .views import intention

NOT_FOUND = "Intention not found"
# What reads answer, a client may send back: the query string and the registry decide these.
_ECHOED = (
    "ID",
    "SourceNS",
    "SourceName",
    "SourcePartition",
    "SourceType",
    "SourcePeer",
    "SourceSamenessGroup",
    "DestinationNS",
    "DestinationName",
    "DestinationPartition",
    "Precedence",
    "CreatedAt",
    "UpdatedAt",
    "Hash",
    "CreateIndex",
    "ModifyIndex",
    "LegacyID",
)


def list_all(reading: Reading) -> Answer:
    found = matching.list_all(reading.state)
    rows = reading.sieve.keep(found.rows, reads.intention)
    return answer(found, [row for row in map(intention, rows) if reading.keeps(row)])


def get_exact(reading: Reading) -> Answer:
    source, destination = _pair(reading.query)
    reading.caller.require_intention(destination, Access.READ)
    found = reading.state.intention(source, destination)
    if found.rows is None:
        return Answer(None, found.index, found.keys, missing=NOT_FOUND)
    return answer(found, intention(found.rows))


async def put_exact(call: Call) -> Reply:
    """Creates or replaces one intention. The query string names the pair, the body the action."""
    source, destination = _pair(call.query)
    call.caller.require_intention(destination, Access.WRITE)
    row = read_whole(decode_object(call.body), "", lambda fields: read_body(fields, source, destination))
    entropy = call.parts.entropy(16)
    fresh = replace(row, id=str(uuid.UUID(bytes=entropy, version=4)))
    await call.parts.writer.propose(lambda stamp: commands.set_intention(stamp, fresh))
    return call.json(True)


async def delete_exact(call: Call) -> Reply:
    """Removing what is not there is no error, as in Consul."""
    source, destination = _pair(call.query)
    call.caller.require_intention(destination, Access.WRITE)
    await call.parts.writer.propose(lambda stamp: commands.delete_intention(stamp, source, destination))
    return call.json(True)


def check(reading: Reading) -> Answer:
    """Whether a call would be allowed."""
    source, destination = _pair(reading.query)
    reading.caller.require("service", destination, Access.READ)
    if reading.query.text("source-type") not in ("", "consul"):
        raise BadRequest('Invalid source-type: use "consul"')
    allow = reading.parts.default_allow
    found = matching.check(reading.state, source, destination, default_allow=allow)
    return answer(found, {"Allowed": found.rows.allowed})


def match(reading: Reading) -> Answer:
    """For each `?name=`, the intentions that its calls (by source) or its callers (by destination) meet."""
    by, names = reading.query.text("by"), reading.query.all("name")
    if not by:
        raise MissingParameter("by")
    if not names:
        raise MissingParameter("name")
    looks = {"source": matching.match_source, "destination": matching.match_destination}
    if by not in looks:
        raise BadRequest("'by' parameter must be one of 'source' or 'destination'")
    for name in names:
        reading.caller.require_intention(service_name(name), Access.READ)
    found = {name: looks[by](reading.state, service_name(name)) for name in names}
    return Answer(
        {name: [intention(row) for row in each.rows] for name, each in found.items()},
        max(each.index for each in found.values()),
        tuple({key for each in found.values() for key in each.keys}),
    )


def _pair(query: Query) -> tuple[str, str]:
    for name in ("source", "destination"):
        if not query.text(name):
            raise MissingParameter(name)
    return service_name(query.text("source")), service_name(query.text("destination"))


def service_name(text: str) -> str:
    """`name`, or `default/name`, or `default/default/name`. Raises BadRequest for other tenants."""
    *tenancy, name = text.split("/")
    if not name or len(tenancy) > 2 or any(part not in ("default", "") for part in tenancy):
        raise BadRequest(f"Invalid service {text[:100]!r}: write its name, or default/<name>")
    return name


def read_body(fields: Fields, source: str, destination: str) -> Intention:
    for name in _ECHOED:
        fields.raw(name)
    permissions = permissions_of(fields.raw("Permissions") or [])
    action = fields.text("Action")
    if permissions and action:
        raise BadRequest("Action must be omitted if Permissions are specified")
    if not permissions and action not in ("allow", "deny"):
        raise BadRequest('Action must be set to "allow" or "deny"')
    return Intention(
        source,
        destination,
        action == "allow",
        description=fields.text("Description"),
        meta=fields.text_mapping("Meta"),
        permissions_json=encoded_permissions(permissions),
    )

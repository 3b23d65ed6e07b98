"""`/v1/query*`: prepared queries, and their execution."""

import orjson

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..acl.caller import Caller, Sieve
from ..agent.fields import Fields, decode_object
from ..catalog import nearness, queries, query_rows, watches
from ..catalog.model import PreparedQuery
from ..catalog.queries import Rendered
from ..errors import Conflict
from . import reads
from .acl.context import fresh_id
from .errors import BadRequest, Forbidden, NameTaken
from .handling import Answer, Call, Reading
from .respond import Reply
from .views import Json, health_entry

NOT_FOUND = "Query not found"
HIDDEN = "<hidden>"
TEMPLATE_TYPE = "name_prefix_match"
_EXECUTE, _EXPLAIN = "/execute", "/explain"


# Reading


def list_all(reading: Reading) -> Answer:
    found = reading.state.read(tuple(reading.state.queries.values()), watches.QUERIES)
    return Answer([shown(row) for row in reading.sieve.keep(found.rows, _listed)], found.index, found.keys)


def _listed(may: Authorizer, row: PreparedQuery) -> bool:
    """Queries without a name are known by id only, except to who may do everything."""
    if row.is_named:
        return may.allows("query", row.name, Access.READ)
    return may.allows("acl", "", Access.WRITE)


def get(reading: Reading) -> Answer:
    """One query; `/execute` and `/explain` behind its id or name."""
    name = reading.name
    if name.endswith(_EXECUTE):
        return _executed(reading, name.removesuffix(_EXECUTE))
    if name.endswith(_EXPLAIN):
        return _explained(reading, name.removesuffix(_EXPLAIN))
    row = reading.state.queries.get((reading.needed("Missing query ID"),))
    found = reading.state.read(row, watches.QUERIES)
    if row is None:
        return Answer(None, found.index, found.keys, missing=NOT_FOUND)
    _require(reading.caller, row, Access.READ)
    return Answer([shown(row)], found.index, found.keys)


def shown(row: PreparedQuery) -> Json:
    document = orjson.loads(row.definition)
    template = {"Type": TEMPLATE_TYPE if row.template else "", "Regexp": row.regexp}
    return {
        "ID": row.id,
        "Name": row.name,
        "Session": row.session,
        "Token": HIDDEN if row.owner else "",
        "Template": template | {"RemoveEmptyTags": bool(document.get("RemoveEmptyTags"))},
        "Service": document["Service"],
        "DNS": document["DNS"],
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


# Writing


async def create(call: Call) -> Reply:
    row = _row(call, fresh_id(call), None)
    _require(call.caller, row, Access.WRITE)
    await _propose(call, row, update=False)
    return call.json({"ID": row.id})


async def update(call: Call) -> Reply:
    query_id = call.needed("Missing query ID")
    await call.parts.log.read_index()
    old = call.parts.log.view().queries.get((query_id,))
    if old is not None:
        _require(call.caller, old, Access.WRITE)
    row = _row(call, query_id, old)
    _require(call.caller, row, Access.WRITE)
    await _propose(call, row, update=True)
    return Reply()


async def delete(call: Call) -> Reply:
    query_id = call.needed("Missing query ID")
    await call.parts.log.read_index()
    old = call.parts.log.view().queries.get((query_id,))
    if old is not None:
        _require(call.caller, old, Access.WRITE)
        await call.parts.writer.propose(lambda stamp: queries.delete_query(stamp, query_id))
    return Reply()


async def _propose(call: Call, row: PreparedQuery, *, update: bool) -> None:
    try:
        await call.parts.writer.propose(lambda stamp: queries.set_query(stamp, row, update=update))
    except Conflict as conflict:
        raise NameTaken(str(conflict)) from None


def _require(caller: Caller, row: PreparedQuery, access: Access) -> None:
    """Whoever knows the id of a query without a name may do with it what they like (Consul's rule)."""
    if row.is_named:
        caller.require("query", row.name, access)


def _row(call: Call, query_id: str, old: PreparedQuery | None) -> PreparedQuery:
    """Raises Undecodable, BadRequest, TokenUnknown."""
    fields = Fields(decode_object(call.body))
    for name in ("ID", "CreateIndex", "ModifyIndex"):
        fields.raw(name)
    name, session, secret = fields.text("Name"), fields.text("Session"), fields.text("Token")
    is_template, regexp, remove = fields.child("Template", _template) or (False, "", False)
    service = fields.child("Service", _service)
    if service is None:
        raise BadRequest("Must provide a Service name to query")
    ttl = fields.child("DNS", lambda it: it.text("TTL")) or ""
    fields.done()
    document = {"DNS": {"TTL": ttl}, "RemoveEmptyTags": remove, "Service": service}
    return PreparedQuery(
        query_id,
        name,
        session,
        _owner(call, secret, old.owner if old else ""),
        is_template,
        regexp,
        orjson.dumps(document, option=orjson.OPT_SORT_KEYS),
    )


def _owner(call: Call, secret: str, before: str) -> str:
    """The token is kept by its accessor id: its secret would lie in the log (trap 28).

    Whoever changes a query keeps the token that it has only if it is theirs, or they may do everything.
    """
    admission = call.parts.admission
    if not secret or admission is None:
        return ""
    if secret == HIDDEN:
        if before and before != call.caller.accessor_id:
            call.caller.require("acl", "", Access.WRITE)
        return before
    return admission.caller(call.parts.log.view(), secret).accessor_id


def _template(fields: Fields) -> tuple[bool, str, bool]:
    kind = fields.text("Type")
    if kind not in ("", TEMPLATE_TYPE):
        raise BadRequest(f'Template.Type {kind[:40]!r}: use "{TEMPLATE_TYPE}"')
    return bool(kind), fields.text("Regexp"), fields.boolean("RemoveEmptyTags")


def _service(fields: Fields) -> Json:
    for unsupported in ("SamenessGroup", "Peer", "Namespace", "Partition"):
        if fields.text(unsupported) not in ("", "default"):
            raise BadRequest(f"Service.{unsupported}: leave it out")
    return {
        "Service": fields.text("Service"),
        "Failover": fields.child("Failover", _failover) or {"NearestN": 0, "Datacenters": [], "Targets": []},
        "OnlyPassing": fields.boolean("OnlyPassing"),
        "IgnoreCheckIDs": list(fields.texts("IgnoreCheckIDs")),
        "Near": fields.text("Near"),
        "Tags": list(fields.texts("Tags")),
        "NodeMeta": fields.text_mapping("NodeMeta"),
        "ServiceMeta": fields.text_mapping("ServiceMeta"),
        "Connect": fields.boolean("Connect"),
    }


def _failover(fields: Fields) -> Json:
    """Raises BadRequest, in Consul's words where it has any."""
    nearest, datacenters = fields.integer("NearestN"), list(fields.texts("Datacenters"))
    targets = list(fields.children("Targets", _target))
    if nearest < 0:
        raise BadRequest(f"Bad NearestN '{nearest}', must be >= 0")
    if targets and (nearest or datacenters):
        raise BadRequest("Targets cannot be populated with NearestN or Datacenters")
    return {"NearestN": nearest, "Datacenters": datacenters, "Targets": targets}


def _target(fields: Fields) -> Json:
    peer, datacenter = fields.text("Peer"), fields.text("Datacenter")
    if bool(peer) == bool(datacenter):
        raise BadRequest(f"{fields.path('Peer')}: a target has either Peer or Datacenter")
    return {"Peer": peer, "Datacenter": datacenter}


# Execution


def _explained(reading: Reading, name: str) -> Answer:
    found = _found(reading, name)
    if isinstance(found, Answer):
        return found
    _require(reading.caller, found.query, Access.READ)
    explained = shown(found.query) | {"Service": found.document["Service"], "DNS": found.document["DNS"]}
    return Answer({"Query": explained}, reading.state.index_of(watches.QUERIES), ())


def _found(reading: Reading, name: str) -> Rendered | Answer:
    if not name:
        raise BadRequest("Missing query ID")
    found = queries.find(reading.state, name)
    return found or Answer(None, reading.state.index_of(watches.QUERIES), (), missing=NOT_FOUND)


def _executed(reading: Reading, name: str) -> Answer:
    """Healthy instances in random order, or the nearest first."""
    found = _found(reading, name)
    if isinstance(found, Answer):
        return found
    wish: Json = found.document["Service"]
    wish["Connect"] = wish["Connect"] or reading.query.boolean("connect")
    rows = _sieve(reading, found.query).keep(query_rows.instances(reading.state, wish), reads.entry)
    kept = sorted(rows, key=lambda _: reading.parts.draw())
    if near := reading.query.text("near") or wish["Near"]:
        node = reading.parts.agent.node.name if near == "_agent" else near
        kept = nearness.nearest_first(reading.state, kept, node, reading.parts.draw)
    limit = reading.query.unsigned("limit") or len(kept)
    datacenter, virtual = reading.parts.datacenter, reading.state.virtual_address
    body = {
        "Service": wish["Service"],
        "Nodes": [health_entry(row, virtual(row.service.connects_to)) for row in kept[:limit]],
        "DNS": found.document["DNS"],
        "Datacenter": datacenter,
        "Failovers": 0 if kept else query_rows.failovers(wish, datacenter),
    }
    return Answer(body, reading.state.index_of(watches.QUERIES), ())


def _sieve(reading: Reading, query: PreparedQuery) -> Sieve:
    """By the token that the query was given, or the caller's. A token that has gone may nothing."""
    admission = reading.parts.admission
    if not query.owner or admission is None:
        return reading.sieve
    owner = admission.by_accessor(reading.state, query.owner)
    if owner is None:
        raise Forbidden("ACL not found")
    return Sieve(owner)

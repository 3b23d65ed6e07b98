"""`/v1/session/*`: sessions, which hold locks on keys."""

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..agent.errors import Undecodable
from ..agent.fields import Fields, decode_object, read_whole
from ..catalog import session_commands
from ..catalog.model import NODE_ALIVE_ID, RELEASE, Session
from .acl.context import fresh_id
from .errors import BadRequest, NotFound
from .handling import Answer, Call, Reading, answer, on_server
from .respond import Reply
from .views import Json

LOCK_DELAY_DEFAULT_S = 15.0
SECONDS_BELOW = 1000  # a LockDelay below it is meant in seconds, one above it in nanoseconds
MISSING = "Missing session"


async def create(call: Call) -> Reply:
    body = decode_object(call.body) if call.body.strip() else {}
    node = call.parts.agent.node.name
    row = read_whole(body, "", lambda fields: _wish(fields, fresh_id(call), node))
    call.caller.require("session", row.node, Access.WRITE)
    await call.parts.writer.propose(lambda stamp: session_commands.create_session(stamp, row))
    return call.json({"ID": row.id})


def _wish(fields: Fields, session_id: str, node: str) -> Session:
    for echoed in ("ID", "CreateIndex", "ModifyIndex", "Namespace", "Partition"):
        fields.raw(echoed)  # the registry says what these are
    named = [name for name in ("Checks", "NodeChecks") if fields.has(name)]
    checks = tuple(dict.fromkeys(each for name in named for each in fields.texts(name)))
    return Session(
        session_id,
        fields.text("Node") or node,
        fields.text("Name"),
        round(_lock_delay_s(fields) * 1000),
        fields.text("Behavior") or RELEASE,
        fields.text("TTL"),
        checks if named else (NODE_ALIVE_ID,),
        fields.children("ServiceChecks", _service_check),
    )


def _service_check(fields: Fields) -> str:
    fields.raw("Namespace")
    return fields.text("ID")


def _lock_delay_s(fields: Fields) -> float:
    raw = fields.raw("LockDelay")
    if raw is None or raw == "":
        return LOCK_DELAY_DEFAULT_S
    if isinstance(raw, float) or (isinstance(raw, int) and not isinstance(raw, bool)):
        return raw if raw < SECONDS_BELOW else raw / 10**9
    if not isinstance(raw, str):
        raise Undecodable("LockDelay must be a duration such as 15s")
    return Fields({"LockDelay": raw}).duration_s("LockDelay")


async def destroy(call: Call) -> Reply:
    """`true`, also for a session that is not there."""
    session_id = call.needed(MISSING)
    await call.parts.log.read_index()
    row = call.parts.log.view().sessions.get((session_id,))
    if row is None:
        return call.json(True)
    call.caller.require("session", row.node, Access.WRITE)
    await call.parts.writer.propose(lambda stamp: session_commands.end_session(stamp, session_id))
    return call.json(True)


async def renew(call: Call) -> Reply:
    """Its whole time again. Only the leader counts it."""
    session_id = call.needed(MISSING)
    known = call.parts.log.view().sessions.get((session_id,))
    if known is not None:
        call.caller.require("session", known.node, Access.WRITE)
    row = await on_server(call.parts.renewals).renew(session_id)
    if row is None:
        raise NotFound(f"Session id '{session_id[:64]}' not found")
    if known is None:
        call.caller.require("session", row.node, Access.WRITE)
    return call.json([shown(row)])


def info(reading: Reading) -> Answer:
    session_id = reading.name
    if not session_id:
        raise BadRequest(MISSING)
    found = reading.state.session(session_id)
    rows = [found.rows] if found.rows else []
    return answer(found, list(map(shown, reading.sieve.keep(rows, readable))))


def on_node(reading: Reading) -> Answer:
    found = reading.state.sessions_on(reading.needed("Missing node name"))
    return answer(found, list(map(shown, reading.sieve.keep(found.rows, readable))))


def list_all(reading: Reading) -> Answer:
    found = reading.state.list_sessions()
    return answer(found, list(map(shown, reading.sieve.keep(found.rows, readable))))


def readable(may: Authorizer, row: Session) -> bool:
    return may.allows("session", row.node, Access.READ)


def shown(row: Session) -> Json:
    return {
        "ID": row.id,
        "Name": row.name,
        "Node": row.node,
        "LockDelay": row.lock_delay_ms * 10**6,
        "Behavior": row.behavior,
        "TTL": row.ttl,
        "NodeChecks": list(row.node_checks),
        "ServiceChecks": [{"ID": check, "Namespace": ""} for check in row.service_checks],
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }

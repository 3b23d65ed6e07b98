"""`/v1/join-token*` and `/v1/operator/agent*`: what agents join by, and those that have."""

import structlog
from google.protobuf import json_format

from weft.pb.agent.v1.agent_pb2 import JoinRequest

from ..agent.errors import Undecodable
from ..agent.fields import Fields, decode_object, read_whole
from ..catalog import enrolment, watches
from ..catalog.enrolment_model import JoinToken, Member, agent_leaf_key
from ..catalog.state import State
from .errors import BadRequest
from .handling import Answer, Call, Joining, Reading
from .permission import ACL_READ, ACL_WRITE, OPEN, OPERATOR_READ, OPERATOR_WRITE
from .respond import JSON_TYPE, Reply
from .route import Route, read, write
from .views import Json, rfc3339

log = structlog.get_logger(__name__)

TTL_S_DEFAULT = 3600.0


async def create(call: Call) -> Reply:
    """A new join token. Its text is in this answer alone."""
    wish = decode_object(call.body) if call.body.strip() else {}
    node, prefix, ttl_s, description = read_whole(wish, "", _wish)
    row, text = await _joining(call).enroller.make_token(
        prefix or node, round(ttl_s * 1000), prefix=bool(prefix), description=description
    )
    return call.json({"Token": str(text), **shown(row)})


def _wish(fields: Fields) -> tuple[str, str, float, str]:
    """Raises BadRequest, Undecodable."""
    node, prefix = fields.text("Node"), fields.text("NodePrefix")
    if bool(node) == bool(prefix):
        raise BadRequest("Give one of Node and NodePrefix: who may join by the token")
    ttl_s = fields.duration_s("ExpirationTTL") if fields.has("ExpirationTTL") else TTL_S_DEFAULT
    return node, prefix, ttl_s, fields.text("Description")


def list_tokens(reading: Reading) -> Answer:
    """Join tokens that have not expired, the used ones too; never their secrets."""
    found = reading.state.read(tuple(reading.state.join_tokens.values()), watches.JOIN_TOKENS)
    return Answer([shown(row) for row in found.rows], found.index, found.keys)


async def delete(call: Call) -> Reply:
    """Nobody joins by it any more; who has joined stays. `true`, also where there is none."""
    token_id = call.needed("Missing join token ID")
    await call.parts.writer.propose(lambda stamp: enrolment.delete_join_token(stamp, token_id))
    return call.json(True)


def shown(row: JoinToken) -> Json:
    return {
        "ID": row.id,
        "Node": "" if row.prefix else row.node,
        "NodePrefix": row.node if row.prefix else "",
        "Description": row.description,
        "CreateTime": rfc3339(row.created_ms),
        "ExpirationTime": rfc3339(row.expires_ms),
        "RedeemedBy": row.redeemed_by,
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


def list_members(reading: Reading) -> Answer:
    """Agents that have joined, by node."""
    found = reading.state.read(tuple(reading.state.members.values()), watches.MEMBERS)
    return Answer([_member(reading.state, row) for row in found.rows], found.index, found.keys)


def _member(state: State, row: Member) -> Json:
    leaves = state.leaves_of(agent_leaf_key(row.node))
    return {
        "Node": row.node,
        "JoinToken": row.join_token,
        "AccessorID": row.accessor_id,
        "Joined": rfc3339(row.joined_ms),
        "SilentSince": rfc3339(row.silent_ms) if row.silent_ms else "",
        "CertificateSerials": [f"{leaf.serial:x}" for leaf in leaves],
        "CertificateEnds": rfc3339(max((leaf.not_after_ms for leaf in leaves), default=0)),
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


async def remove_member(call: Call) -> Reply:
    """Ends a membership: its certificates, its token, its node. `true`, also where there is none."""
    node = call.needed("Missing node name")
    await call.parts.writer.propose(lambda stamp: enrolment.remove_agent(stamp, node))
    return call.json(True)


async def join(call: Call) -> Reply:
    """Redeems a join token, which is the proof: weft.agent.v1.JoinRequest as JSON, and back."""
    request = JoinRequest()
    try:
        json_format.Parse(call.body, request)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise Undecodable(" ".join(str(error).split())[:200]) from None
    joining = _joining(call)
    found = await joining.enroller.join(request.token_id, request.secret, request.node, request.csr_der)
    log.info("an agent joins", node=request.node, serial=f"{found.leaf.issued.serial:x}")
    body = json_format.MessageToJson(joining.guide.joined(found), indent=None)
    return Reply(200, body.encode(), JSON_TYPE)


def _joining(call: Call) -> Joining:
    if call.parts.joining is None:
        raise BadRequest("Agents join at a server: ask one")
    return call.parts.joining


ROUTES: tuple[Route, ...] = (
    write("PUT", "/v1/join", join, OPEN),
    write("PUT", "/v1/join-token", create, ACL_WRITE),
    write("DELETE", "/v1/join-token/:id", delete, ACL_WRITE),
    read("/v1/join-tokens", list_tokens, ACL_READ),
    read("/v1/operator/agents", list_members, OPERATOR_READ),
    write("DELETE", "/v1/operator/agent/:node", remove_member, OPERATOR_WRITE),
)

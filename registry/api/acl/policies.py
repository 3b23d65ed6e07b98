"""`/v1/acl/polic*`."""

from dataclasses import replace

from ...acl.model import Policy
from ...agent.fields import decode_object, read_whole
from ...catalog import acl_commands
from ...catalog.acl_commands import Mode
from ..errors import BadRequest, NotFound
from ..handling import Call
from ..respond import Reply
from . import bodies, views
from .context import enabled, fresh_id, missing, tables


async def index(call: Call) -> Reply:
    enabled(call)
    return call.json([views.policy_stub(row) for row in tables(call).all_policies()])


async def create(call: Call) -> Reply:
    enabled(call)
    row = read_whole(decode_object(call.body), "", bodies.policy)
    if row.id:
        raise BadRequest("Cannot specify the ID when creating a new policy")
    return await _set(call, replace(row, id=fresh_id(call)), Mode.CREATE)


async def read(call: Call) -> Reply:
    enabled(call)
    row = tables(call).policy(call.needed("Missing policy ID"))
    if row is None:
        raise missing("policy")
    return call.json(views.policy(row))


async def read_by_name(call: Call) -> Reply:
    enabled(call)
    row = tables(call).policy_named(call.needed("Missing policy Name"))
    if row is None:
        raise missing("policy")
    return call.json(views.policy(row))


async def change(call: Call) -> Reply:
    enabled(call)
    policy_id = call.needed("Missing policy ID")
    row = read_whole(decode_object(call.body), "", bodies.policy)
    if row.id not in ("", policy_id):
        raise BadRequest("Policy ID in URL and payload do not match")
    old = tables(call).policy(policy_id)
    if old is None:
        raise missing("policy")
    return await _set(call, replace(row, id=policy_id, name=row.name or old.name), Mode.UPDATE)


async def delete(call: Call) -> Reply:
    enabled(call)
    policy_id = call.needed("Missing policy ID")
    if tables(call).policy(policy_id) is None:
        raise NotFound("Cannot find policy to delete")
    await call.parts.writer.propose(lambda stamp: acl_commands.delete_acl(stamp, policy=policy_id))
    return call.json(True)


async def _set(call: Call, row: Policy, mode: Mode) -> Reply:
    await call.parts.writer.propose(lambda stamp: acl_commands.set_acl(stamp, [row], mode))
    written = tables(call).policy(row.id)
    if written is None:  # deleted at the same moment
        raise missing("policy")
    return call.json(views.policy(written))

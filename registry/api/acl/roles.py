"""`/v1/acl/role*`."""

from dataclasses import replace

from ...acl.model import Role
from ...agent.fields import decode_object, read_whole
from ...catalog import acl_commands
from ...catalog.acl_commands import Mode
from ..errors import BadRequest, NotFound
from ..handling import Call
from ..respond import Reply
from . import bodies, views
from .context import enabled, fresh_id, missing, tables


async def index(call: Call) -> Reply:
    """All roles, or those with a policy."""
    enabled(call)
    found, policy = tables(call), call.query.text("policy")
    rows = [row for row in found.roles.values() if not policy or policy in row.grants.policies]
    return call.json([views.role_view(row, found) for row in rows])


async def create(call: Call) -> Reply:
    enabled(call)
    row = _read(call)
    if row.id:
        raise BadRequest("Cannot specify the ID when creating a new role")
    return await _set(call, replace(row, id=fresh_id(call)), Mode.CREATE)


async def read(call: Call) -> Reply:
    enabled(call)
    return _shown(call, tables(call).role(call.needed("Missing role ID")))


async def read_by_name(call: Call) -> Reply:
    enabled(call)
    return _shown(call, tables(call).role_named(call.needed("Missing role Name")))


async def change(call: Call) -> Reply:
    enabled(call)
    role_id = call.needed("Missing role ID")
    row = _read(call)
    if row.id not in ("", role_id):
        raise BadRequest("Role ID in URL and payload do not match")
    old = tables(call).role(role_id)
    if old is None:
        raise missing("role")
    return await _set(call, replace(row, id=role_id, name=row.name or old.name), Mode.UPDATE)


async def delete(call: Call) -> Reply:
    enabled(call)
    role_id = call.needed("Missing role ID")
    if tables(call).role(role_id) is None:
        raise NotFound("Cannot find role to delete")
    await call.parts.writer.propose(lambda stamp: acl_commands.delete_acl(stamp, role=role_id))
    return call.json(True)


def _read(call: Call) -> Role:
    return read_whole(decode_object(call.body), "", lambda fields: bodies.role(fields, tables(call)))


def _shown(call: Call, row: Role | None) -> Reply:
    if row is None:
        raise missing("role")
    return call.json(views.role_view(row, tables(call)))


async def _set(call: Call, row: Role, mode: Mode) -> Reply:
    await call.parts.writer.propose(lambda stamp: acl_commands.set_acl(stamp, [row], mode))
    return _shown(call, tables(call).role(row.id))

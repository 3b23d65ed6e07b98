"""`/v1/acl/auth-method*` and `/v1/acl/binding-rule*`."""

from dataclasses import replace

from ...acl.model import AuthMethod, BindingRule
from ...agent.fields import decode_object, read_whole
from ...catalog import acl_commands
from ...catalog.acl_commands import Mode
from ..errors import BadRequest, NotFound
from ..handling import Call
from ..respond import Reply
from . import bodies, views
from .context import enabled, fresh_id, missing, tables


async def methods(call: Call) -> Reply:
    enabled(call)
    return call.json([views.auth_method_stub(row) for row in tables(call).auth_methods.values()])


async def create_method(call: Call) -> Reply:
    enabled(call)
    return await _set_method(call, read_whole(decode_object(call.body), "", bodies.auth_method), Mode.CREATE)


async def read_method(call: Call) -> Reply:
    enabled(call)
    return _method(call, call.needed("Missing auth method Name"))


async def change_method(call: Call) -> Reply:
    enabled(call)
    name = call.needed("Missing auth method Name")
    row = read_whole(decode_object(call.body), "", bodies.auth_method)
    if row.name not in ("", name):
        raise BadRequest("Auth Method Name in URL and payload do not match")
    old = tables(call).auth_methods.get((name,))
    if old is None:
        raise missing("auth method")
    if row.type not in ("", old.type):
        raise BadRequest("Changing an auth method's type is not permitted")
    return await _set_method(call, replace(row, name=name, type=old.type), Mode.UPDATE)


async def delete_method(call: Call) -> Reply:
    """Its binding rules, and the tokens that were made by it, go too."""
    enabled(call)
    name = call.needed("Missing auth method Name")
    if tables(call).auth_methods.get((name,)) is None:
        raise NotFound("Cannot find auth method to delete")
    await call.parts.writer.propose(lambda stamp: acl_commands.delete_acl(stamp, auth_method=name))
    return call.json(True)


def _method(call: Call, name: str) -> Reply:
    row = tables(call).auth_methods.get((name,))
    if row is None:
        raise missing("auth method")
    return call.json(views.auth_method(row))


async def _set_method(call: Call, row: AuthMethod, mode: Mode) -> Reply:
    enabled(call).check_method(row)
    await call.parts.writer.propose(lambda stamp: acl_commands.set_acl(stamp, [row], mode))
    return _method(call, row.name)


async def rules(call: Call) -> Reply:
    """All binding rules, or those of a method."""
    enabled(call)
    method = call.query.text("authmethod")
    rows = [row for row in tables(call).binding_rules.values() if not method or row.auth_method == method]
    return call.json([views.binding_rule(row) for row in rows])


async def create_rule(call: Call) -> Reply:
    enabled(call)
    row = read_whole(decode_object(call.body), "", bodies.binding_rule)
    if row.id:
        raise BadRequest("Cannot specify the ID when creating a new binding rule")
    return await _set_rule(call, replace(row, id=fresh_id(call)), Mode.CREATE)


async def read_rule(call: Call) -> Reply:
    enabled(call)
    return _rule(call, call.needed("Missing binding rule ID"))


async def change_rule(call: Call) -> Reply:
    enabled(call)
    rule_id = call.needed("Missing binding rule ID")
    row = read_whole(decode_object(call.body), "", bodies.binding_rule)
    if row.id not in ("", rule_id):
        raise BadRequest("Binding Rule ID in URL and payload do not match")
    old = tables(call).binding_rules.get((rule_id,))
    if old is None:
        raise missing("binding rule")
    if row.auth_method not in ("", old.auth_method):
        raise BadRequest("Changing the auth method of a binding rule is not permitted")
    changed = replace(row, id=rule_id, auth_method=old.auth_method)
    return await _set_rule(call, changed, Mode.UPDATE)


async def delete_rule(call: Call) -> Reply:
    enabled(call)
    rule_id = call.needed("Missing binding rule ID")
    if tables(call).binding_rules.get((rule_id,)) is None:
        raise NotFound("Cannot find binding rule to delete")
    await call.parts.writer.propose(lambda stamp: acl_commands.delete_acl(stamp, binding_rule=rule_id))
    return call.json(True)


def _rule(call: Call, rule_id: str) -> Reply:
    row = tables(call).binding_rules.get((rule_id,))
    if row is None:
        raise missing("binding rule")
    return call.json(views.binding_rule(row))


async def _set_rule(call: Call, row: BindingRule, mode: Mode) -> Reply:
    enabled(call).check_rule(row)
    await call.parts.writer.propose(lambda stamp: acl_commands.set_acl(stamp, [row], mode))
    return _rule(call, row.id)

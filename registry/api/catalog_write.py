"""`/v1/catalog/register` and `/v1/catalog/deregister`: the catalog itself, by those who are no agent."""

from contextlib import suppress
from dataclasses import replace

from weft.pb.catalog.v1.command_pb2 import Command

from ..agent.fields import Fields, decode_object, read_whole
from ..agent.service_definition import Home
from ..catalog import commands
from ..catalog.model import Check, Node, Service
from ..catalog.state import State
from ..errors import NotFound as RowNotFound
from . import catalog_bodies, catalog_permission
from .errors import BadRequest, NoSuchDatacenter
from .handling import Call
from .respond import JSON_TYPE, Reply

Registration = tuple[Node, list[Service], list[Check], bool]


async def register(call: Call) -> Reply:
    """A node, with a service and checks, all or nothing. `true`; with `?credential` the credential of the
    instance, shown this once: agents ask for it on behalf of who registers there."""
    datacenter = call.parts.datacenter
    body = decode_object(call.body)
    row, services, checks, skip = read_whole(body, "", lambda fields: _registration(fields, datacenter))
    if not row.name:
        raise BadRequest("Must provide node")
    wants_credential = call.query.flag("credential")
    if wants_credential and not services:
        raise BadRequest("Missing service: a credential is of one instance")
    await call.parts.log.read_index()
    state = call.parts.log.view()
    row = _completed(row, state, skip=skip)
    catalog_permission.write_node(call.caller, state, row)
    for service in services:
        catalog_permission.write_service(call.caller, state, service)
    names = {service.id: service.name for service in services}
    for check in checks:
        catalog_permission.write_check(call.caller, state, check, names)
    await call.parts.writer.propose(lambda stamp: commands.register(stamp, row, services, checks))
    if not wants_credential:
        return call.json(True)
    credential = await call.parts.credentials.mint(services[0].instance_key)
    return Reply(200, credential.to_json(), JSON_TYPE, {"Cache-Control": "no-store"})


def _registration(fields: Fields, datacenter: str) -> Registration:
    fields.raw("WriteRequest")
    row = catalog_bodies.node(fields, datacenter, meta="NodeMeta")
    home = Home(row.name, datacenter)
    service = fields.child("Service", lambda given: catalog_bodies.service(given, home))
    single = fields.child("Check", lambda given: catalog_bodies.check(given, row.name))
    checks = fields.children("Checks", lambda given: catalog_bodies.check(given, row.name))
    found = [*([single] if single else []), *checks]
    return row, [service] if service else [], found, fields.boolean("SkipNodeUpdate")


def _completed(row: Node, state: State, *, skip: bool) -> Node:
    """With what is known of the node already."""
    old = state.nodes.get((row.name,))
    if skip and old:
        return old
    if not row.address:
        raise BadRequest("Must provide address if SkipNodeUpdate is not set")
    return replace(row, id=old.id) if old and not row.id else row


async def deregister(call: Call) -> Reply:
    """A check, a service with its checks, or a node with all it has. `true`, also for what is not there."""
    datacenter = call.parts.datacenter
    fields = Fields(decode_object(call.body))
    node, service_id, check_id = (fields.text(name) for name in ("Node", "ServiceID", "CheckID"))
    given = fields.text("Datacenter")
    for name in ("Namespace", "Partition", "WriteRequest", "Address"):
        fields.raw(name)
    fields.done()
    if given not in ("", datacenter):
        raise NoSuchDatacenter
    if not node:
        raise BadRequest("Must provide node")
    await call.parts.log.read_index()
    catalog_permission.delete(call.caller, call.parts.log.view(), node, service_id, check_id)

    def build(stamp: commands.Stamp) -> Command:
        if check_id:
            return commands.deregister_check(stamp, node, check_id)
        if service_id:
            return commands.deregister_services(stamp, node, [service_id])
        return commands.deregister_node(stamp, node)

    with suppress(RowNotFound):
        await call.parts.writer.propose(build)
    return call.json(True)

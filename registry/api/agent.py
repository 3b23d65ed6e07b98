"""`/v1/agent/*`: what is registered on this node, and its checks."""

from weft import __version__

from ..agent.check_definition import read_check
from ..agent.errors import UnknownCheck
from ..agent.fields import Fields, decode_object, read_whole
from ..agent.permission import may_write_check
from ..agent.runner import MARKS
from ..catalog.model import PASSING, STATUSES, Check, split_instance_key
from ..errors import NotFound as RowNotFound
from ..identity.management import token_of
from . import reads
from .errors import BadRequest
from .handling import Call, CallHandler
from .respond import JSON_TYPE, Reply
from .views import agent_service, check, rfc3339


async def self_(call: Call) -> Reply:
    agent, parts = call.parts.agent, call.parts
    node = agent.node
    tags = {
        "role": "consul" if parts.is_server else "node",
        "dc": node.datacenter,
        "id": node.id,
        "build": __version__,
    }
    config = {
        "Datacenter": node.datacenter,
        "PrimaryDatacenter": node.datacenter,
        "NodeName": node.name,
        "NodeID": node.id,
        "Revision": "",
        "Server": parts.is_server,
        "Version": __version__,
        "BuildDate": rfc3339(0),
    }
    member = {"Name": node.name, "Addr": node.address, "Port": 0, "Tags": tags, "Status": 1}
    status = parts.log.status()
    stats = {"raft": {"applied_index": str(status.applied_index), "last_log_index": str(status.last_index)}}
    return call.json(
        {
            "Config": config,
            "DebugConfig": {"DefaultIntentionPolicy": "allow" if parts.default_allow else "deny"},
            "Coord": None,
            "Member": member,
            "Stats": stats,
            "Meta": dict(node.meta),
            "xDS": {"Port": -1, "Ports": {"Plaintext": -1, "TLS": -1}, "SupportedProxies": {}},
        }
    )


async def services(call: Call) -> Reply:
    rows = call.sieve.keep(call.parts.agent.services(), reads.service)
    shown = {row.id: agent_service(row) for row in rows}
    return call.json({key: row for key, row in shown.items() if call.keeps(row)})


async def checks(call: Call) -> Reply:
    latest = call.parts.runner.latest
    rows = call.sieve.keep(call.parts.agent.checks(), reads.check)
    shown = {row.id: check(latest(row)) | _last_passing(call, row) for row in rows}
    return call.json({key: row for key, row in shown.items() if call.keeps(row)})


def _last_passing(call: Call, row: Check) -> dict[str, str]:
    """When a check that does not pass did so last: beyond Consul's fields, for whoever looks for a cause."""
    ago_s = None if row.status == PASSING else call.parts.runner.passed_ago_s(row)
    if ago_s is None:
        return {}
    return {"LastPassing": rfc3339(round((call.parts.clock.wall() - ago_s) * 1000))}


async def register_service(call: Call) -> Reply:
    """Empty, as in Consul; with `?credential` the credential of the instance, shown this once."""
    replace = call.query.boolean("replace-existing-checks")
    key = await call.parts.agent.register(call.body, call.caller, replace_checks=replace)
    _, _, service_id = split_instance_key(key)
    await call.parts.tokens.remember(service_id, token_of(call.query.text("token"), call.headers))
    call.parts.runner.sync()
    if not call.query.flag("credential"):
        return Reply()
    credential = await call.parts.credentials.mint(key)
    return Reply(200, credential.to_json(), JSON_TYPE, {"Cache-Control": "no-store"})


async def deregister_service(call: Call) -> Reply:
    await call.parts.agent.deregister(call.needed("Missing service ID"), call.caller)
    call.parts.runner.sync()
    return Reply()


async def register_check(call: Call) -> Reply:
    spec = read_whole(decode_object(call.body), "", read_check)
    if spec is None:
        raise BadRequest("Missing check name")
    await call.parts.agent.register_check(spec, call.caller)
    call.parts.runner.sync()
    return Reply()


async def deregister_check(call: Call) -> Reply:
    await call.parts.agent.deregister_check(call.needed("Missing check ID"), call.caller)
    call.parts.runner.sync()
    return Reply()


async def maintain_node(call: Call) -> Reply:
    await call.parts.agent.maintain_node(_enable(call), call.query.text("reason"), call.caller)
    return Reply()


async def maintain_service(call: Call) -> Reply:
    service_id = call.needed("Missing service ID")
    enable, reason = _enable(call), call.query.text("reason")
    await call.parts.agent.maintain_service(service_id, enable, reason, call.caller)
    return Reply()


def _enable(call: Call) -> bool:
    """Raises BadRequest with Consul's texts."""
    if not call.query.text("enable"):
        raise BadRequest("Missing value for enable")
    try:
        return call.query.boolean("enable")
    except BadRequest:
        raise BadRequest(f'Invalid value for enable: "{call.query.text("enable")[:50]}"') from None


def mark(verb: str) -> CallHandler:
    """The handler of `agent/check/pass`, `warn` or `fail`."""

    async def handler(call: Call) -> Reply:
        await _report(call, MARKS[verb], call.query.text("note"))
        return Reply()

    return handler


async def update_check(call: Call) -> Reply:
    status, output = read_whole(decode_object(call.body), "", _update)
    if status not in STATUSES:
        raise BadRequest(f"Invalid check status: '{status[:50]}'")
    await _report(call, status, output)
    return Reply()


def _update(fields: Fields) -> tuple[str, str]:
    return fields.text("Status"), fields.text("Output")


async def _report(call: Call, status: str, output: str) -> None:
    check_id = call.needed("Missing check ID")
    may_write_check(call.caller, call.parts.agent.check(check_id))
    try:
        await call.parts.runner.report(check_id, status, output)
    except RowNotFound:
        raise UnknownCheck(f'Unknown check ID "{check_id}"') from None

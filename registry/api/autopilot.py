"""`/v1/operator/autopilot/*`: rules about dead servers, and how each server is."""

from datetime import UTC, datetime

from weft import __version__
from weft.durations import format_duration

from ..agent.errors import Undecodable
from ..agent.fields import Fields, decode_object, read_whole
from ..catalog import commands
from ..catalog.model import AUTOPILOT_DEFAULT, AutopilotConfig
from ..errors import Conflict
from ..operator import autopilot
from ..operator.autopilot import Health
from ..operator.servers import VERSION_META
from .errors import BadRequest
from .handling import Call
from .operator import known_servers
from .respond import Reply
from .views import Json, rfc3339

UNHEALTHY_STATUS = 429  # as Consul answers, so that a load balancer needs no JSON
_ECHOED = ("RedundancyZoneTag", "DisableUpgradeMigration", "UpgradeVersionTag", "CreateIndex", "ModifyIndex")


async def show(call: Call) -> Reply:
    row = call.parts.log.view().autopilot
    return call.json(
        {
            "CleanupDeadServers": row.cleanup_dead_servers,
            "LastContactThreshold": format_duration(row.last_contact_threshold_ms / 1000),
            "MaxTrailingLogs": row.max_trailing_logs,
            "MinQuorum": row.min_quorum,
            "ServerStabilizationTime": format_duration(row.server_stabilization_ms / 1000),
            "RedundancyZoneTag": "",
            "DisableUpgradeMigration": False,
            "UpgradeVersionTag": "",
            "CreateIndex": row.indexes.create,
            "ModifyIndex": row.indexes.modify,
        }
    )


async def change(call: Call) -> Reply:
    """`true`, or with `?cas=` whether the settings were still those of that index."""
    settings = read_whole(decode_object(call.body), "", _parse)
    cas = call.query.text("cas")
    if cas and not (cas.isascii() and cas.isdigit() and len(cas) < 20):
        raise BadRequest(f"Error parsing cas value: {cas[:50]!r} is no index")
    expected = int(cas) if cas else None  # compared in the log: this server's view may be an old one
    try:
        await call.parts.writer.propose(lambda stamp: commands.configure_autopilot(stamp, settings, expected))
    except Conflict:
        return call.json(False)
    return call.json(True)


def _parse(fields: Fields) -> AutopilotConfig:
    for echoed in _ECHOED:
        fields.raw(echoed)  # they mean nothing here; clients send back what they got
    base = AUTOPILOT_DEFAULT
    return AutopilotConfig(
        cleanup_dead_servers=fields.boolean("CleanupDeadServers", base.cleanup_dead_servers),
        last_contact_threshold_ms=_ms(fields, "LastContactThreshold", base.last_contact_threshold_ms),
        max_trailing_logs=_count(fields, "MaxTrailingLogs", base.max_trailing_logs),
        min_quorum=_count(fields, "MinQuorum", base.min_quorum),
        server_stabilization_ms=_ms(fields, "ServerStabilizationTime", base.server_stabilization_ms),
    )


def _ms(fields: Fields, name: str, default_ms: int) -> int:
    value_ms = round(fields.duration_s(name, default_ms / 1000) * 1000)
    if value_ms < 0:
        raise Undecodable(f"{name} must not be negative")
    return value_ms


def _count(fields: Fields, name: str, default: int) -> int:
    value = fields.integer(name, default)
    if not 0 <= value < 2**32:
        raise Undecodable(f"{name} is out of range")
    return value


async def health(call: Call) -> Reply:
    """How the servers are; 429 when one of them is not well. The leader alone knows."""
    found = _report(call)
    reply = call.json(
        {
            "Healthy": found.healthy,
            "FailureTolerance": found.failure_tolerance,
            "Servers": [_health(call, row) for row in found.servers],
        }
    )
    return reply if found.healthy else Reply(UNHEALTHY_STATUS, reply.body, reply.content_type)


async def state(call: Call) -> Reply:
    found = _report(call)
    members = [row.server.member for row in found.servers]
    return call.json(
        {
            "Healthy": found.healthy,
            "FailureTolerance": found.failure_tolerance,
            "OptimisticFailureTolerance": found.failure_tolerance,
            "Servers": {row.server.member.id: _state(call, row) for row in found.servers},
            "Leader": next((it.id for it in members if it.leader), ""),
            "Voters": [it.id for it in members if it.voter],
        }
    )


def _report(call: Call) -> autopilot.Report:
    status, view = call.parts.log.status(), call.parts.log.view()
    return autopilot.report(known_servers(call), view.autopilot, status.last_index)


def _health(call: Call, row: Health) -> Json:
    server, status = row.server, call.parts.log.status()
    return {
        "ID": server.member.id,
        "Name": server.name,
        "Address": server.member.address,
        "SerfStatus": "alive" if server.alive else "failed",
        "Version": server.meta.get(VERSION_META, __version__),
        "Leader": server.member.leader,
        "LastContact": format_duration(round(row.last_contact_s, 3)),
        "LastTerm": status.term,
        "LastIndex": server.member.match_index or 0,
        "Healthy": row.healthy,
        "Voter": server.member.voter,
        "StableSince": rfc3339(_stable_since_ms(call, row)),
    }


def _stable_since_ms(call: Call, row: Health) -> int:
    """Since when the node's liveness has not changed, as far as the catalog tells."""
    moved = call.parts.log.view().moved.get(("node", row.server.name))
    return moved.time_ms if moved else int(datetime.now(UTC).timestamp() * 1000)


def _state(call: Call, row: Health) -> Json:
    member = row.server.member
    role = "leader" if member.leader else "voter" if member.voter else "non-voter"
    shown = _health(call, row)
    shown["NodeStatus"] = shown.pop("SerfStatus")
    return shown | {"Status": role, "NodeType": "voter", "ReadReplica": False, "Meta": dict(row.server.meta)}

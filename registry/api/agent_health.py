"""`/v1/agent/health/service/*`: a service's health on this node, as a status code."""

from collections.abc import Iterable

from ..acl.access import Access
from ..agent.errors import UnknownService
from ..catalog.model import CRITICAL, PASSING, WARNING, Check, Service, is_maintenance
from .handling import Call
from .respond import JSON_TYPE, TEXT_TYPE, Reply
from .views import Json, agent_service, check

MAINTENANCE = "maintenance"
_WORST_FIRST = (MAINTENANCE, CRITICAL, WARNING, PASSING)
_STATUS = {PASSING: 200, WARNING: 429, CRITICAL: 503, MAINTENANCE: 503}


async def by_id(call: Call) -> Reply:
    """One service. 200 passing, 429 warning, 503 critical or maintenance, 404 unknown."""
    service_id = call.needed("Missing serviceID")
    try:
        row = call.parts.agent.service(service_id)
    except UnknownService:
        nothing: Json = {"AggregatedStatus": CRITICAL, "Service": None, "Checks": []}
        return _reply(call, 404, f"ServiceId {service_id} not found", nothing)
    call.caller.require("service", row.name, Access.READ)
    shown = _shown(call, row)
    return _reply(call, _STATUS[shown["AggregatedStatus"]], shown["AggregatedStatus"], shown)


async def by_name(call: Call) -> Reply:
    """All services of that name here; the worst of them gives the status."""
    name = call.needed("Missing service Name")
    shown = [_shown(call, row) for row in call.parts.agent.services() if row.name == name]
    if not shown:
        return _reply(call, 404, f"ServiceName {name} Not Found", [])
    worst = _worst(row["AggregatedStatus"] for row in shown)
    return _reply(call, _STATUS[worst], worst, shown)


def _shown(call: Call, row: Service) -> Json:
    checks = call.parts.log.view().checks_of(row)
    latest = call.parts.runner.latest
    return {
        "AggregatedStatus": _worst(map(_status, checks)),
        "Service": agent_service(row),
        "Checks": [check(latest(each)) for each in checks],
    }


def _status(row: Check) -> str:
    return MAINTENANCE if is_maintenance(row) else row.status


def _worst(found: Iterable[str]) -> str:
    statuses = set(found)
    return next((status for status in _WORST_FIRST if status in statuses), PASSING)


def _reply(call: Call, status: int, reason: str, shown: object) -> Reply:
    """Text where it is asked for: the reason alone."""
    headers = {"X-Consul-Reason": reason if reason.isascii() and reason.isprintable() else ""}
    wants_text = call.headers.get("Accept", "").startswith("text/plain")
    if call.query.text("format") == "text" or wants_text:
        return Reply(status, reason.encode(), TEXT_TYPE, headers)
    answered = call.json(shown, headers)
    return Reply(status, answered.body, JSON_TYPE, headers)

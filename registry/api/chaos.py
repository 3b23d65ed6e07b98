"""`/v1/mesh/chaos/*`: experiments with faults. Weft's own; Consul has none.

Whoever may write a service may experiment with it. Every request is in the audit log, as are ends.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from ..acl.access import Access
from ..acl.authorizer import Authorizer
from ..catalog import experiments
from ..catalog.experiment_row import Experiment
from ..catalog.limits import EXPERIMENT_MS_MAX
from ..chaos.conditions import SPAN_S, Finding, parse
from ..config_entries import checks
from ..config_entries.fields import duration, nested, texts
from ..config_entries.fields import text as text_field
from ..config_entries.inbound import FaultRule
from ..config_entries.schema import read, show
from ..operator.experiments import findings
from .errors import BadRequest, NotFound
from .handling import Call, on_server
from .respond import Reply
from .views import Json

DURATION_MS = 5 * 60 * 1000  # where nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The body of a start: a fault as of service-faults, but for its end."""

    name: str = text_field("Name", "Of the experiment.", check=checks.service_name)
    service: str = text_field("Service", "Whose requests.", check=checks.service_name)
    for_ms: int = duration("Duration", "How long.", EXPERIMENT_MS_MAX)
    stop_if: tuple[str, ...] = texts("StopIf", "When to stop before.", most=experiments.CONDITIONS_MAX)
    fault: FaultRule | None = nested("Fault", FaultRule, "What is done.")


async def start(call: Call) -> Reply:
    """Starts an experiment: `{"Name", "Service", "Duration", "StopIf", "Fault"}`."""
    asked = _asked(call.body)
    call.caller.require("service", asked.service, Access.WRITE)
    row = _row(asked, call.parts.writer.now_ms(), call.caller.accessor_id)
    await call.parts.writer.propose(partial(experiments.start_experiment, row=row))
    return call.json(_shown(row, []))


def _asked(body: bytes) -> Asked:
    """Raises BadRequest, InvalidEntry."""
    try:
        raw: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"Request decode failed: {error}") from None
    fault = raw.get("Fault") if isinstance(raw, dict) else None
    if not isinstance(fault, dict):
        raise BadRequest("Fault: is missing: say what is done, as one of service-faults' Faults")
    if any(key.replace("_", "").lower() in ("name", "endsat") for key in fault):
        raise BadRequest("Fault: its Name and EndsAt follow from the experiment: leave them out")
    # Checked whole once the end is known; until then an end stands for it.
    stand_ins = {"Name": "experiment", "EndsAt": "2026-01-01T00:00:00Z"}
    return read(Asked, {**raw, "Fault": {**fault, **stand_ins}}, "")


def _row(asked: Asked, now_ms: int, owner: str) -> Experiment:
    if not asked.name or not asked.service or asked.fault is None:
        raise BadRequest("Name, Service and Fault: give all three")
    stop_if = tuple(str(parse(it, f"StopIf[{at}]")) for at, it in enumerate(asked.stop_if))
    ends_ms = now_ms + (asked.for_ms or DURATION_MS)
    rule = replace(asked.fault, name=asked.name, ends_at=_time(ends_ms))
    fault = experiments.encoded(rule)
    return Experiment(asked.name, asked.service, fault, ends_ms, now_ms, stop_if, owner)


async def list_all(call: Call) -> Reply:
    """Experiments that run or have ended within the last hour, with what is measured of their conditions."""
    may = call.caller.may
    if not may.allows_any("service", Access.READ):
        raise call.caller.denied("service:read")
    await call.parts.log.read_index()
    state, now_ms = call.parts.log.view(), call.parts.writer.now_ms()
    rows = call.sieve.keep(state.experiments.values(), _readable)
    measuring = on_server(call.parts.measuring)
    return call.json(
        [_shown(row, findings(measuring, row) if _is_on(row, now_ms) else [], now_ms) for row in rows]
    )


def _readable(may: Authorizer, row: Experiment) -> bool:
    return may.allows("service", row.service, Access.READ)


def _is_on(row: Experiment, now_ms: int) -> bool:
    return row.runs and now_ms < row.ends_ms


async def stop(call: Call) -> Reply:
    """Ends one experiment."""
    name = call.needed("Missing experiment name")
    await call.parts.log.read_index()
    row = call.parts.log.view().experiments.get((name,))
    if row is None or not row.runs:
        _refuse_strangers(call)
        raise NotFound(f"no experiment {name[:128]!r} runs; see: weft chaos list")
    call.caller.require("service", row.service, Access.WRITE)
    return call.json({"Stopped": await _end(call, [row]), "Denied": []})


async def stop_all(call: Call) -> Reply:
    """Ends every experiment that the token may end; `Denied` names the others."""
    _refuse_strangers(call)
    await call.parts.log.read_index()
    may = call.caller.may
    rows = [row for row in call.parts.log.view().experiments.values() if row.runs]
    ours = [row for row in rows if may.allows("service", row.service, Access.WRITE)]
    denied = [row.name for row in rows if row not in ours]
    return call.json({"Stopped": await _end(call, ours), "Denied": denied})


def _refuse_strangers(call: Call) -> None:
    """Raises PermissionDenied for who may write no service at all."""
    if not call.caller.may.allows_any("service", Access.WRITE):
        raise call.caller.denied("service:write")


async def _end(call: Call, rows: list[Experiment]) -> list[str]:
    if not rows:
        return []
    who = f" by {call.caller.accessor_id}" if call.caller.accessor_id else ""
    endings = [(row.name, row.indexes.create) for row in rows]
    build = partial(experiments.end_experiments, endings=endings, reason=f"stopped{who}")
    result = await call.parts.writer.propose(build)
    return result.value.split(",") if result.value else []


def _shown(row: Experiment, found: list[Finding], now_ms: int = 0) -> Json:
    return {
        "Name": row.name,
        "Service": row.service,
        "Status": "running" if _is_on(row, now_ms) else "ended",
        "Reason": row.reason,
        "StartedAt": _time(row.started_ms),
        "EndsAt": _time(row.ends_ms),
        "EndedAt": _time(row.ended_ms) if row.ended_ms else "",
        "Owner": row.owner,
        "StopIf": list(row.stop_if),
        "Observed": [_finding(it) for it in found],
        "Fault": show(experiments.rule_of(row.fault)),
    }


def _finding(it: Finding) -> Json:
    """`Value` null: too little was measured to judge."""
    value = it.condition.value(it.tally) if it.tally else None
    return {
        "Condition": str(it.condition),
        "Service": it.service,
        "Requests": it.requests,
        "WindowS": SPAN_S,
        "Value": value,
        "Told": it.told,
    }


def _time(unix_ms: int) -> str:
    return (
        datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )

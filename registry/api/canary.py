"""`/v1/mesh/canaries` and `/v1/mesh/canary/…`: canaries as they stand, and an operator's word about one.

One begins with its config entry: `PUT /v1/config` of the kind service-canary.
"""

from collections.abc import Callable

from weft.pb.catalog.v1.command_pb2 import Command

from ..acl.access import Access
from ..agent.fields import Fields, decode_object, read_whole
from ..canary import move as moves
from ..canary.move import Move
from ..catalog.apply import dry_run
from ..catalog.canaries import routing_of
from ..catalog.commands import Stamp
from ..catalog.model import ConfigEntry
from ..catalog.state import State
from ..config_entries.canary import ServiceCanary
from ..config_entries.schema import show
from ..operator.canaries import Canaries, command_of
from .config_permission import may
from .errors import NotFound
from .handling import Call, CallHandler, on_server
from .respond import Reply
from .views import Json

REASON_CHARS_MAX = 256
Decide = Callable[[State, ServiceCanary, str, int], Move]


async def list_all(call: Call) -> Reply:
    """Each canary's entry; with `Live`, what is measured of one that is under way."""
    state, only = call.parts.log.view(), call.query.text("service")
    rows = call.sieve.keep(
        (row for row in state.config_entries_of(ServiceCanary.KIND).rows if only in ("", row.name)),
        lambda it, row: may(it, ServiceCanary.KIND, row.name, Access.READ),
    )
    return call.json([_shown(state, row, on_server(call.parts.canaries)) for row in rows])


def _shown(state: State, row: ConfigEntry, canaries: Canaries) -> Json:
    canary = row.entry
    assert isinstance(canary, ServiceCanary)
    shown = {**show(canary), "CreateIndex": row.indexes.create, "ModifyIndex": row.indexes.modify}
    shown["Weight"] = canary.state.history[-1].weight if canary.state.history else 0
    return shown | {"Live": _live(state, canary, canaries)} if canary.is_active else shown


def _live(state: State, canary: ServiceCanary, canaries: Canaries) -> Json:
    """Of the step under way."""
    seen = canaries.seen(state, canary)
    return {
        "Requests": seen.step.ended,
        "Errors": seen.step.failed,
        "ErrorRate": round(seen.step.error_rate, 6),
        "P99Ms": round(seen.step.quantile_s(0.99) * 1000, 3),
        "WatchedSeconds": round(seen.watched_s, 1),
        "Next": canaries.decision(state, canary).reason,
    }


def _decided(decide: Decide, done: str) -> CallHandler:
    async def handler(call: Call) -> Reply:
        service, reason = call.needed("Missing service name"), _reason(call)
        await call.parts.log.read_index()
        row = _row(call.parts.log.view(), service)
        canary = row.entry
        assert isinstance(canary, ServiceCanary)
        move = decide(call.parts.log.view(), canary, reason or done, call.parts.writer.now_ms())

        def build(stamp: Stamp) -> Command:
            return command_of(stamp, row, canary, move)

        command = call.parts.writer.stamped(build)
        dry_run(call.parts.log.view(), command)
        await call.parts.writer.propose_stamped(command)
        return call.json(show(move.canary))

    handler.__doc__ = f"The canary of a service is {done}; answers its entry."
    return handler


def _row(state: State, service: str) -> ConfigEntry:
    row = state.config_entry(ServiceCanary.KIND, service).rows
    if row is None:
        raise NotFound(f'Config entry not found for "{ServiceCanary.KIND}" / "{service[:128]}"')
    return row


def _reason(call: Call) -> str:
    return read_whole(decode_object(call.body), "", _read) if call.body else ""


def _read(fields: Fields) -> str:
    return fields.text("Reason")[:REASON_CHARS_MAX]


abort = _decided(lambda _, it, reason, now_ms: moves.aborted(it, reason, now_ms), "aborted by an operator")
pause = _decided(lambda _, it, reason, now_ms: moves.paused(it, reason, now_ms), "paused by an operator")
resume = _decided(lambda _, it, reason, now_ms: moves.resumed(it, reason, now_ms), "resumed by an operator")
promote = _decided(
    lambda state, it, reason, now_ms: moves.promoted(it, reason, now_ms, *routing_of(state, it.name)),
    "promoted by an operator",
)

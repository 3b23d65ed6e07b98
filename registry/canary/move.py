"""What a decision, or an operator, makes of a canary: its next status, and the splitter that goes with it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..config_entries.canary import (
    ABORTED,
    ENDED,
    HISTORY_MAX,
    PAUSED,
    PROMOTED,
    ROLLED_BACK,
    RUNNING,
    CanaryEvent,
    CanaryStatus,
    ServiceCanary,
)
from ..config_entries.kinds import encoded, entry_of
from ..config_entries.routing import ServiceResolver, ServiceSplitter
from ..config_entries.schema import show
from ..errors import Conflict
from .decide import Act, Decision
from .splitter import at_weight

REASON_CHARS_MAX = 512


@dataclass(frozen=True, slots=True)
class Move:
    """`splitter` is what to write, canonical JSON; "" deletes it with `drops`, and else leaves it alone."""

    canary: ServiceCanary
    splitter: bytes = b""
    drops: bool = False


def begun(
    canary: ServiceCanary, splitter: ServiceSplitter | None, splitter_index: int, now_ms: int
) -> ServiceCanary:
    """The entry as it starts: nothing was moved yet."""
    before = show(splitter) if splitter else {}
    status = CanaryStatus(phase=RUNNING, before=before, splitter_index=splitter_index)
    return _noted(replace(canary, status=status), now_ms, "start", "started")


def carried_out(
    canary: ServiceCanary,
    decision: Decision,
    now_ms: int,
    splitter: ServiceSplitter | None,
    resolver: ServiceResolver | None,
) -> Move | None:
    """None where nothing changes."""
    match decision.act:
        case Act.ADVANCE:
            step = canary.state.step + 1
            return _advanced(canary, step, "step", decision.reason, now_ms, splitter, resolver)
        case Act.FINISH:
            return Move(_ended(canary, PROMOTED, decision.reason, now_ms))
        case Act.ROLL_BACK:
            return _restored(canary, ROLLED_BACK, decision.reason, now_ms)
        case Act.END:
            return Move(_ended(canary, ENDED, decision.reason, now_ms))
    return None


def aborted(canary: ServiceCanary, reason: str, now_ms: int) -> Move:
    """The splitter as it was. Raises Conflict where the canary has ended."""
    _check_active(canary)
    return _restored(canary, ABORTED, reason, now_ms)


def paused(canary: ServiceCanary, reason: str, now_ms: int) -> Move:
    """Stays at its step. Raises Conflict unless it runs."""
    if canary.state.phase != RUNNING:
        raise Conflict(f"the canary of {canary.name!r} is {canary.state.phase}, not running")
    return Move(_noted(_phase(canary, PAUSED), now_ms, "pause", reason))


def resumed(canary: ServiceCanary, reason: str, now_ms: int) -> Move:
    """The step is watched from its beginning. Raises Conflict unless it is paused."""
    if canary.state.phase != PAUSED:
        raise Conflict(f"the canary of {canary.name!r} is {canary.state.phase}, not paused")
    return Move(_noted(_phase(canary, RUNNING), now_ms, "resume", reason))


def promoted(
    canary: ServiceCanary,
    reason: str,
    now_ms: int,
    splitter: ServiceSplitter | None,
    resolver: ServiceResolver | None,
) -> Move:
    """All that its last step gives, at once and unproven: an operator's word. Raises Conflict where it has
    ended."""
    _check_active(canary)
    last = len(canary.steps)
    move = _advanced(canary, last, "promote", reason, now_ms, splitter, resolver)
    return replace(move, canary=_phase(move.canary, PROMOTED))


def _advanced(
    canary: ServiceCanary,
    step: int,
    event: str,
    reason: str,
    now_ms: int,
    splitter: ServiceSplitter | None,
    resolver: ServiceResolver | None,
) -> Move:
    moved = replace(canary, status=replace(canary.state, step=step))
    written = encoded(at_weight(canary, splitter, resolver, moved.weight))
    return Move(_noted(moved, now_ms, event, reason), written)


def _restored(canary: ServiceCanary, phase: str, reason: str, now_ms: int) -> Move:
    ended = _ended(canary, phase, reason, now_ms)
    if not canary.state.step:
        return Move(ended)  # it has moved nothing
    before = canary.state.before
    return Move(ended, encoded(entry_of(dict(before)))) if before else Move(ended, drops=True)


def _ended(canary: ServiceCanary, phase: str, reason: str, now_ms: int) -> ServiceCanary:
    weight = canary.weight if phase in (PROMOTED, ENDED) else 0.0
    return _noted(_phase(canary, phase), now_ms, phase, reason, weight)


def _phase(canary: ServiceCanary, phase: str) -> ServiceCanary:
    return replace(canary, status=replace(canary.state, phase=phase))


def _check_active(canary: ServiceCanary) -> None:
    if not canary.is_active:
        raise Conflict(f"the canary of {canary.name!r} has ended: {canary.state.phase}")


def _noted(
    canary: ServiceCanary, now_ms: int, event: str, reason: str, weight: float | None = None
) -> ServiceCanary:
    at = rfc3339(now_ms)
    line = CanaryEvent(
        at=at,
        event=event,
        weight=canary.weight if weight is None else weight,
        reason=reason[:REASON_CHARS_MAX],
    )
    history = (*canary.state.history, line)[-HISTORY_MAX:]
    return replace(canary, status=replace(canary.state, since=at, history=history))


def rfc3339(unix_ms: int) -> str:
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Which step of a canary follows from what was measured: a function of its arguments alone.

A step is judged at its end, by enough calls of the new version, heard for its whole time by the server that
judges: good ones lead on, and whatever is not proven good in time is taken back. Before its end a step is
taken back only for what chance does not explain.
"""

import math
from dataclasses import dataclass
from enum import Enum, auto

from weft.durations import format_duration

from ..config_entries.canary import PAUSED, ServiceCanary
from ..measurements.meter import RECENT_S
from ..measurements.tally import Tally

P99 = 0.99
LOOKS = 1_000_000
"""Before the end of a step, one look of so many at most is wrong by chance, where the true share of bad calls
is just what is allowed. It is looked at every second, so a few in a hundred would be far too many."""


class Act(Enum):
    """What becomes of the canary now."""

    HOLD = auto()
    ADVANCE = auto()  # to the next step
    FINISH = auto()  # all steps were good
    ROLL_BACK = auto()  # the splitter as it was
    END = auto()  # leave all as it is


@dataclass(frozen=True, slots=True)
class Decision:
    act: Act
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at one moment. Times are Unix milliseconds and seconds.

    `watched_s` is for how long the server that judges has heard of all calls since the step began: none but
    the leader does, and it knows nothing of what its predecessor heard.
    """

    now_ms: int
    since_ms: int  # when the step began
    splitter_index: int  # of the splitter now; 0: there is none
    has_instances: bool  # one of the new version's is healthy; not looked at once the first step has begun
    watched_s: float
    step: Tally  # calls of the new version since then
    recent: Tally  # those of the last seconds


def decide(canary: ServiceCanary, seen: Seen) -> Decision:
    """Of a canary that is running or paused."""
    status = canary.state
    if seen.splitter_index != status.splitter_index:
        what = f"changed at index {seen.splitter_index}" if seen.splitter_index else "deleted"
        return Decision(Act.END, f"the service-splitter was {what} by somebody else; it is left as it is")
    if status.phase == PAUSED:
        return Decision(Act.HOLD, "paused")
    if not status.step:
        return _begin(canary, seen)
    return _early(canary, seen) or _proceed(canary, seen)


def _begin(canary: ServiceCanary, seen: Seen) -> Decision:
    if seen.has_instances:
        return Decision(Act.ADVANCE, "begins")
    return _wait(canary, seen, f"{canary.subset} has no healthy instance")


def _early(canary: ServiceCanary, seen: Seen) -> Decision | None:
    """What need not be watched to the end."""
    for tally, span in ((seen.step, "since the step began"), (seen.recent, f"in the last {RECENT_S} s")):
        calls = max(tally.ended, canary.min_requests)
        if is_beyond_chance(tally.failed, calls, canary.max_error_percent / 100):
            return Decision(Act.ROLL_BACK, f"{_errors(canary, tally)} {span}")
        slow = tally.surely_slower(canary.max_p99_ms / 1000) if canary.max_p99_ms else 0
        if is_beyond_chance(slow, calls, 1 - P99):
            told = format_duration(canary.max_p99_ms / 1000)
            return Decision(
                Act.ROLL_BACK, f"{slow} of {tally.ended} calls took longer than {told}, p99 is over it {span}"
            )
    return None


def is_beyond_chance(bad: int, calls: int, share: float) -> bool:
    """Whether so many bad ones among so many calls are less likely than one in LOOKS, where each is bad with
    this probability: Chernoff's bound of the tail. It holds for few calls too, unlike standard deviations."""
    expected = calls * share
    if bad <= expected:
        return False
    return not expected or bad * math.log(bad / expected) - (bad - expected) > math.log(LOOKS)


def _errors(canary: ServiceCanary, tally: Tally) -> str:
    told = f"{tally.failed} of {tally.ended} calls failed ({tally.error_rate:.2%})"
    return f"{told}, allowed are {canary.max_error_percent:g} %"


def _proceed(canary: ServiceCanary, seen: Seen) -> Decision:
    """Nothing is wrong so far: watch on, or judge."""
    interval_s = canary.interval_ms / 1000
    watched_s = min(seen.watched_s, (seen.now_ms - seen.since_ms) / 1000)
    if seen.step.ended < canary.min_requests:
        lacking = f"{seen.step.ended} of {canary.min_requests} calls that are needed"
        return _wait(canary, seen, f"{lacking}, {_shown(watched_s)} of {_shown(interval_s)}")
    if watched_s < interval_s:
        return _wait(canary, seen, f"good so far, {_shown(watched_s)} of {_shown(interval_s)}")
    return _judge(canary, seen.step)


def _judge(canary: ServiceCanary, step: Tally) -> Decision:
    """Of enough calls, at the end of a step."""
    if step.error_rate * 100 > canary.max_error_percent:
        return Decision(Act.ROLL_BACK, _errors(canary, step))
    p99_ms = step.quantile_s(P99) * 1000
    if canary.max_p99_ms and p99_ms > canary.max_p99_ms:
        told = format_duration(canary.max_p99_ms / 1000)
        return Decision(Act.ROLL_BACK, f"p99 is {p99_ms:.0f} ms of {step.ended} calls, allowed are {told}")
    act = Act.FINISH if canary.state.step == len(canary.steps) else Act.ADVANCE
    return Decision(act, f"good: {step.ended} calls, {step.error_rate:.2%} failed, p99 {p99_ms:.1f} ms")


def _wait(canary: ServiceCanary, seen: Seen, why: str) -> Decision:
    """Until patience is over; what is not proven is taken back."""
    waited_ms = seen.now_ms - seen.since_ms
    if waited_ms >= canary.patience:
        return Decision(Act.ROLL_BACK, f"{why}, and not proven good within {_shown(canary.patience / 1000)}")
    return Decision(Act.HOLD, why)


def _shown(seconds: float) -> str:
    return format_duration(max(0, int(seconds)))

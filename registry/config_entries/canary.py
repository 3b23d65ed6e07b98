"""service-canary: a new version gets more and more of a service's calls, as long as it does well.

The status in it is the registry's own: what writers say there is passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from . import checks
from .entry import Entry
from .fields import duration, integer, nested, number, numbers, objects, opaque, text
from .matching import HashPolicy
from .schema import refuse_unless

WEEK_MS = 7 * 24 * 60 * 60 * 1000
INTERVAL_MS_MIN = 1000  # measurements come once a second
P99_MS_MAX = 10_000  # where the histograms of sidecars end
STEPS_MAX = 32
HISTORY_MAX = 64  # newest are kept; a canary with all its steps has half of that
INDEX_MAX = 2**63 - 1
PATIENCE_INTERVALS = 10
MIN_REQUESTS = 100  # so that one failure is not above one percent
RUNNING, PAUSED = "running", "paused"
PROMOTED, ROLLED_BACK, ABORTED, ENDED = "promoted", "rolled-back", "aborted", "ended"
PHASES = (RUNNING, PAUSED, PROMOTED, ROLLED_BACK, ABORTED, ENDED)
ACTIVE = (RUNNING, PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryEvent:
    """One line of what happened."""

    at: str = text("Time", "RFC 3339.")
    event: str = text("Event", "What the canary did.")
    weight: float = number("Weight", "Percent of the calls from then on.", 0, 100)
    reason: str = text("Reason", "Why.", most=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryStatus:
    """How far it has come."""

    phase: str = text("Phase", "Where it stands.", choices=PHASES)
    step: int = integer("Step", "Of Steps, how many were taken.", 0, STEPS_MAX)
    since: str = text("Since", "When the step or the phase began, RFC 3339.")
    splitter_index: int = integer(
        "SplitterIndex", "ModifyIndex of the splitter as the canary wrote it.", 0, INDEX_MAX
    )
    before: Mapping[str, object] = opaque("Before", "The splitter as it was; empty where there was none.")
    history: tuple[CanaryEvent, ...] = objects("History", CanaryEvent, "Oldest first.", most=HISTORY_MAX)


def _in_hundredths(value: float) -> bool:
    return abs(value * 100 - round(value * 100)) < 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCanary(Entry):
    """Moves the calls of a service to a subset of it, step by step, and takes all back by itself when the
    subset does badly. Writing one begins; see docs/canary.md."""

    KIND: ClassVar[str] = "service-canary"

    subset: str = text("ServiceSubset", "The new version.", check=checks.subset_name)
    stable: str = text(
        "StableSubset",
        "The version in use: the side of the splitter that has the calls, else the resolver's DefaultSubset, "
        "where empty.",
        check=checks.subset_name,
    )
    steps: tuple[float, ...] = numbers("Steps", "Percent of the calls, rising, in steps of 0.01.", 0, 100)
    interval_ms: int = duration("Interval", "How long each step is watched, from 1s.", WEEK_MS)
    max_error_percent: float = number("MaxErrorPercent", "Of the new version's calls.", 0, 100, default=1.0)
    max_p99_ms: int = duration("MaxP99", "Of the new version's calls; not looked at where 0.", P99_MS_MAX)
    min_requests: int = integer(
        "MinRequests", "Of the new version, before a step is judged good.", 1, 1_000_000, default=MIN_REQUESTS
    )
    patience_ms: int = duration(
        "Patience",
        "How long a step may take to be proven good, 2 intervals at least and 10 by default.",
        WEEK_MS,
    )
    sticky: tuple[HashPolicy, ...] = objects(
        "Sticky", HashPolicy, "Keeps a user on one side, where the splitter does not say.", most=8
    )
    status: CanaryStatus | None = nested("Status", CanaryStatus, "Written by the registry alone.")

    def check(self, path: str) -> None:
        refuse_unless(self.subset, path, "ServiceSubset", "is missing: the subset that is the new version")
        refuse_unless(self.subset != self.stable, path, "StableSubset", "is the new version itself")
        refuse_unless(self.steps, path, "Steps", "is missing: as [1, 5, 25, 50, 100]")
        refuse_unless(len(self.steps) <= STEPS_MAX, path, "Steps", f"has over {STEPS_MAX} items")
        rising = all(low < high for low, high in zip((0.0, *self.steps), self.steps, strict=False))
        refuse_unless(rising, path, "Steps", "must rise, from above 0 to 100 at most")
        refuse_unless(all(map(_in_hundredths, self.steps)), path, "Steps", "must be in steps of 0.01")
        refuse_unless(self.interval_ms >= INTERVAL_MS_MIN, path, "Interval", "must be 1s at least, as 1m")

    @property
    def patience(self) -> int:
        """In milliseconds; long enough for a step that another leader begins to watch anew."""
        return max(self.patience_ms or PATIENCE_INTERVALS * self.interval_ms, 2 * self.interval_ms)

    @property
    def state(self) -> CanaryStatus:
        return self.status or CanaryStatus()

    @property
    def is_active(self) -> bool:
        return self.state.phase in ACTIVE

    @property
    def weight(self) -> float:
        """Percent that the newest step has given it."""
        return self.steps[self.state.step - 1] if self.state.step else 0.0

"""Sans-IO. What a series of probe results makes of a check: thresholds, expiry, when to write.

Times are seconds on a monotonic clock, and arguments.
"""

from dataclasses import dataclass, field

from ..catalog.model import CRITICAL, PASSING, WARNING, Check, CheckDefinition

OUTPUT_SYNC_S = 300.0
"""A new output alone is written this late, as in Consul: outputs with times or counters in them would
wake every watcher of the service at every probe."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe's verdict."""

    status: str
    output: str


@dataclass(slots=True)
class Tracker:
    """A check's life between two writes."""

    definition: CheckDefinition
    status: str
    output: str
    written_at: float
    written_status: str
    written_output: str
    critical_since: float | None
    passed_at: float | None  # when it passed last; None: not since we look
    _successes: int = field(default=0)
    _failures: int = field(default=0)

    @classmethod
    def of(cls, check: Check, now: float) -> "Tracker":
        since = now if check.status == CRITICAL else None
        known = (check.status, check.output)
        passed = now if check.status == PASSING else None
        return cls(check.definition, *known, now, *known, since, passed)

    def observe(self, outcome: Outcome, now: float) -> bool:
        """Takes a verdict in; answers whether status and output are to be written now."""
        self.status, self.output = self._after_thresholds(outcome.status), outcome.output
        if outcome.status == PASSING:
            self.passed_at = now
        if self.status != CRITICAL:
            self.critical_since = None
        elif self.critical_since is None:
            self.critical_since = now
        late = self.output != self.written_output and now - self.written_at >= OUTPUT_SYNC_S
        return self.status != self.written_status or late

    def written(self, status: str, output: str, now: float) -> None:
        """The log has this status and output. Until then `observe` keeps asking."""
        self.written_at, self.written_status, self.written_output = now, status, output

    def _after_thresholds(self, status: str) -> str:
        """SuccessBeforePassing, FailuresBeforeWarning and FailuresBeforeCritical, as in Consul."""
        definition = self.definition
        if status in (PASSING, WARNING):
            self._successes, self._failures = self._successes + 1, 0
            return status if self._successes >= definition.success_before_passing else self.status
        self._successes, self._failures = 0, self._failures + 1
        if self._failures >= definition.failures_before_critical:
            return CRITICAL
        if definition.failures_before_warning and self._failures >= definition.failures_before_warning:
            return WARNING
        return self.status

    def to_be_removed(self, now: float) -> bool:
        """Critical for longer than DeregisterCriticalServiceAfter allows."""
        after_s = self.definition.deregister_critical_after_ms / 1000
        return bool(after_s) and self.critical_since is not None and now - self.critical_since >= after_s

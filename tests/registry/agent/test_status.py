from typing import Any

from registry.agent.status import OUTPUT_SYNC_S, Outcome, Tracker
from registry.catalog.model import CRITICAL, PASSING, WARNING, Check, CheckDefinition


def tracker(status: str = CRITICAL, **definition: Any) -> Tracker:
    return Tracker.of(Check("n", "c", "c", status=status, definition=CheckDefinition(**definition)), 0.0)


def statuses(subject: Tracker, *results: str) -> list[str]:
    seen = []
    for result in results:
        subject.observe(Outcome(result, ""), 1.0)
        seen.append(subject.status)
    return seen


def test_without_thresholds_every_result_counts() -> None:
    assert statuses(tracker(), PASSING, CRITICAL, WARNING) == [PASSING, CRITICAL, WARNING]


def test_passing_needs_that_many_successes_in_a_row() -> None:
    subject = tracker(success_before_passing=2)
    assert statuses(subject, PASSING, CRITICAL, PASSING, PASSING) == [CRITICAL, CRITICAL, CRITICAL, PASSING]


def test_failures_first_warn_and_then_are_critical() -> None:
    subject = tracker(PASSING, failures_before_warning=2, failures_before_critical=3)
    assert statuses(subject, CRITICAL, CRITICAL, CRITICAL) == [PASSING, WARNING, CRITICAL]


def test_a_status_is_written_at_once_and_an_output_alone_late() -> None:
    subject = tracker()
    assert subject.observe(Outcome(PASSING, "1"), 1.0)
    assert subject.observe(Outcome(PASSING, "1"), 1.0), "asks again until it is written"
    subject.written(PASSING, "1", 1.0)
    assert not subject.observe(Outcome(PASSING, "2"), 2.0)
    assert not subject.observe(Outcome(PASSING, "1"), 1.0 + OUTPUT_SYNC_S)
    assert subject.observe(Outcome(PASSING, "2"), 1.0 + OUTPUT_SYNC_S)


def test_a_service_is_removed_after_so_long_critical() -> None:
    subject = tracker(deregister_critical_after_ms=60_000)
    assert not subject.to_be_removed(59.0)
    assert subject.to_be_removed(60.0)
    subject.observe(Outcome(PASSING, ""), 61.0)
    assert not subject.to_be_removed(1000.0)
    subject.observe(Outcome(CRITICAL, ""), 1000.0)
    assert not subject.to_be_removed(1059.0)
    assert not tracker().to_be_removed(1e9)

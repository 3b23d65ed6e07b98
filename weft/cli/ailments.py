"""What is wrong with instances, as a person would say it."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ..durations import format_duration

LINE_CHARS_MAX = 200  # of an output; the rest is in --format json
Row = Mapping[str, Any]


def ailments(
    entries: Iterable[Row], passed: Mapping[tuple[str, str], datetime], now: datetime
) -> Iterator[str]:
    """A line for each check that does not pass, of entries as health/service has them. `passed`: (node, check
    id) -> when it passed last, where somebody knows."""
    for entry in entries:
        for check in entry["Checks"]:
            if check["Status"] != "passing":
                yield _line(entry["Service"]["ID"], check, passed.get((check["Node"], check["CheckID"])), now)


def last_passed(checks: Mapping[str, Row]) -> dict[tuple[str, str], datetime]:
    """Of agent/checks."""
    return {
        (row["Node"], row["CheckID"]): datetime.fromisoformat(row["LastPassing"])
        for row in checks.values()
        if row.get("LastPassing")
    }


def _line(instance: str, check: Row, passed: datetime | None, now: datetime) -> str:
    if check["CheckID"].startswith(("_service_maintenance:", "_node_maintenance")):
        return f"{instance} is in maintenance: {_first(check['Notes'])}"
    said = _first(check["Output"]) or f"check {check['Name']} has said nothing yet"
    since = f"; last passed {_ago(passed, now)} ago" if passed else ""
    return f"{instance} is {check['Status']}: {said}{since}"


def _first(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= LINE_CHARS_MAX else line[:LINE_CHARS_MAX] + "..."


def _ago(then: datetime, now: datetime) -> str:
    """Whole seconds, as `12 s` or `4m10s`."""
    seconds = max(0, round((now - then).total_seconds()))
    return f"{seconds} s" if seconds < 60 else format_duration(float(seconds))

"""When an experiment is to stop: `error-rate>5%`, `p99>500ms`, or of another service `web error-rate>1%`.

Judged by what the sidecars of the called side measure. Failures that experiments themselves answered with do
not count: what matters is what else goes wrong. Time does count, delays on purpose included.
"""

import re
from dataclasses import dataclass

from weft.durations import InvalidDuration, format_duration, parse_duration_s

from ..config_entries.errors import InvalidEntry
from ..measurements.tally import Edge, Tally

ERROR_RATE = "error-rate"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
SPAN_S = 10.0
"""Of the measurements that are looked at: long enough for a rate, short enough to stop soon."""

REQUESTS_MIN = 20
"""Fewer in that time are not judged: one failure of three calls is no rate."""

CHARS_MAX = 256
LIMIT_S_MAX = 3600.0
_TEXT = re.compile(r"(?:(?P<service>\S+) +)?(?P<metric>[a-z0-9-]+) *> *(?P<limit>\S+)")


@dataclass(frozen=True, slots=True)
class Condition:
    """`limit` is a share of 1 for error rates, else seconds. `service` "" is the experiment's own."""

    service: str
    metric: str
    limit: float

    def __str__(self) -> str:
        limit = f"{self.limit * 100:g}%" if self.metric == ERROR_RATE else format_duration(self.limit)
        return f"{self.service} {self.metric}>{limit}".lstrip()

    def about(self, service: str) -> str:
        """Whom it is about, in an experiment of `service`."""
        return self.service or service

    def counts(self, service: str, edge: Edge) -> bool:
        """Whether measurements of an edge are what it judges, in an experiment of `service`."""
        return edge.inbound and edge.destination == self.about(service)

    def value(self, tally: Tally) -> float:
        """What it compares."""
        return (
            own_error_rate(tally) if self.metric == ERROR_RATE else tally.quantile_s(QUANTILES[self.metric])
        )

    def shown(self, value: float) -> str:
        return f"{value * 100:.3g}%" if self.metric == ERROR_RATE else format_duration(round(value, 4))


def parse(text: str, path: str) -> Condition:
    """Raises InvalidEntry."""
    found = _TEXT.fullmatch(text.strip()) if len(text) <= CHARS_MAX else None
    if found is None or (found["metric"] != ERROR_RATE and found["metric"] not in QUANTILES):
        metrics = ", ".join((ERROR_RATE, *QUANTILES))
        raise InvalidEntry(path, f"{text[:60]!r}: write error-rate>5% or p99>500ms ({metrics})")
    limit = _share(found["limit"], path) if found["metric"] == ERROR_RATE else _seconds(found["limit"], path)
    return Condition(found["service"] or "", found["metric"], limit)


def _share(text: str, path: str) -> float:
    number = text.removesuffix("%")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,4})?", number) or not text.endswith("%") or float(number) > 100:
        raise InvalidEntry(path, f"{text[:20]!r}: write percents, as 5% or 0.5%")
    return float(number) / 100


def _seconds(text: str, path: str) -> float:
    try:
        seconds = parse_duration_s(text)
    except InvalidDuration:
        seconds = -1.0
    if not 0 < seconds <= LIMIT_S_MAX:
        raise InvalidEntry(path, f"{text[:20]!r}: write a duration to 1h, as 500ms")
    return seconds


def own_error_rate(tally: Tally) -> float:
    """Share of the calls that failed and were not made to, of those that were not made to."""
    ended = tally.ended - tally.injected
    return max(0, tally.failed - tally.injected) / ended if ended > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition over the last seconds. `tally` None: nothing was measured, or too little to judge."""

    condition: Condition
    service: str
    tally: Tally | None
    requests: int

    @property
    def is_met(self) -> bool:
        return self.tally is not None and self.condition.value(self.tally) > self.condition.limit

    @property
    def told(self) -> str:
        """`error-rate of orders is 7.1% (limit: error-rate>5%)`."""
        if self.tally is None:
            return f"{self.service}: {self.requests} calls in {SPAN_S:g} s are too few to judge"
        value = self.condition.shown(self.condition.value(self.tally))
        return f"{self.condition.metric} of {self.service} is {value} (limit: {self.condition})"


def judge(condition: Condition, service: str, found: Tally) -> Finding:
    """`service` is the experiment's own; `found` is what counts of the last SPAN_S seconds."""
    judged = found if found.ended - found.injected >= REQUESTS_MIN else None
    return Finding(condition, condition.about(service), judged, found.ended)

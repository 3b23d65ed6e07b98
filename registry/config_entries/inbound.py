"""What Consul lacks, in its style: service-faults and service-rate-limits, applied where requests arrive."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from . import checks
from .entry import Entry
from .errors import InvalidEntry
from .fields import duration, flag, integer, nested, number, objects, text
from .matching import InboundMatch
from .schema import refuse_unless

DISTRIBUTIONS = ("fixed", "uniform", "normal", "exponential")
DELAY_MS_MAX = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    http_status: int = integer("HTTPStatus", "200 to 599.", 0, 599)
    grpc_status: int = integer("GRPCStatus", "Of gRPC calls; made of the HTTP status where 0.", 0, 16)

    def check(self, path: str) -> None:
        refuse_unless(self.http_status or self.grpc_status, path, "", "give HTTPStatus or GRPCStatus")
        refuse_unless(not 0 < self.http_status < 200, path, "HTTPStatus", "must be from 200 to 599")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    distribution: str = text("Distribution", "`fixed` by default.", choices=DISTRIBUTIONS)
    fixed_ms: int = duration("Fixed", "Of `fixed`.", DELAY_MS_MAX)
    mean_ms: int = duration("Mean", "Of `normal` and `exponential`.", DELAY_MS_MAX)
    deviation_ms: int = duration("Deviation", "Of `normal`.", DELAY_MS_MAX)
    least_ms: int = duration("Min", "Of `uniform`.", DELAY_MS_MAX)
    most_ms: int = duration("Max", "Of `uniform`; a bound of the others.", DELAY_MS_MAX)

    def check(self, path: str) -> None:
        kind = self.distribution or "fixed"
        needed = {"fixed": ("Fixed", self.fixed_ms), "uniform": ("Max", self.most_ms)}
        name, value = needed.get(kind, ("Mean", self.mean_ms))
        refuse_unless(value, path, name, f"is missing: {kind} needs it")
        refuse_unless(self.least_ms <= self.most_ms or not self.least_ms, path, "Min", "is above Max")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    name: str = text("Name", "Of the experiment.", check=checks.service_name)
    match: InboundMatch | None = nested("Match", InboundMatch, "Every request where absent.")
    percent: float = number("Percent", "Share of requests.", 0, 100, default=100.0)
    abort: Abort | None = nested("Abort", Abort, "Answered instead of the application.")
    delay: Delay | None = nested("Delay", Delay, "Before the request goes on.")
    bytes_per_second: int = integer("BytesPerSecond", "Of the response body; no limit where 0.")
    reset: bool = flag("Reset", "The stream is reset; for TCP the connection.")
    ends_at: str = text("EndsAt", "RFC 3339, as `2026-03-01T10:00:00Z`: it ends by itself, always.")

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing")
        refuse_unless(
            self.abort or self.delay or self.bytes_per_second or self.reset,
            path, "", "give Abort, Delay, BytesPerSecond or Reset",
        )  # fmt: skip
        refuse_unless(not (self.abort and self.reset), path, "Reset", "not with Abort")
        refuse_unless(self.ends_at, path, "EndsAt", "is missing: a fault must end by itself")
        _ = unix_ms(self.ends_at, f"{path}.EndsAt")

    @property
    def ends_unix_ms(self) -> int:
        return unix_ms(self.ends_at, "EndsAt")


def unix_ms(text: str, path: str) -> int:
    """Of an RFC 3339 time. Raises InvalidEntry."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidEntry(path, f"{text[:40]!r} is no time: write 2026-03-01T10:00:00Z")
    return int(moment.timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFaults(Entry):
    """Faults on purpose, on requests to a service. All that match a request are drawn for."""

    KIND: ClassVar[str] = "service-faults"

    faults: tuple[FaultRule, ...] = objects("Faults", FaultRule, "Each by itself.", most=32)

    def check(self, path: str) -> None:
        _unique(path, "Faults", [it.name for it in self.faults])


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitRule:
    name: str = text("Name", "For people and labels.", check=checks.service_name)
    match: InboundMatch | None = nested("Match", InboundMatch, "Every request where absent.")
    requests_per_second: float = number("RequestsPerSecond", "Let through, by each instance.", 0, 1_000_000)
    burst: int = integer("Burst", "At once; RequestsPerSecond where 0.", 0, 1_000_000)
    per_caller: bool = flag("PerCaller", "Counted for each calling service.")

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing")
        refuse_unless(self.requests_per_second, path, "RequestsPerSecond", "must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRateLimits(Entry):
    """Requests that each instance of a service takes. Above them: 429, or RESOURCE_EXHAUSTED."""

    KIND: ClassVar[str] = "service-rate-limits"

    limits: tuple[RateLimitRule, ...] = objects(
        "Limits", RateLimitRule, "All that match must let it through."
    )

    def check(self, path: str) -> None:
        _unique(path, "Limits", [it.name for it in self.limits])


def _unique(path: str, field: str, names: list[str]) -> None:
    for at, name in enumerate(names):
        refuse_unless(name not in names[:at], path, f"{field}[{at}].Name", f"{name!r} is there twice")

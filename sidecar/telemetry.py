# Hot path: bench/telemetry.py
"""What a sidecar counts.

The switch binds a `Series` per (direction, source, destination, route, target) to its plans and increments
its plain numbers in line; names, labels and text are made by `exposition` when somebody asks for `/metrics`.
"""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from weft.histogram import BOUNDS_S

GRPC_STATUS_MAX = 16
# `Series.ended[OUTCOME[http_status] + grpc_status]`: 18 entries per class of HTTP status (none, 1xx .. 5xx,
# not known), the first of them for the -1 of "no gRPC status". One table and one addition count both.
_PER_CLASS = GRPC_STATUS_MAX + 2
OUTCOME = tuple(min(http_status // 100, 6) * _PER_CLASS + 1 for http_status in range(1000))
CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx", "other")
# Series at most: each is 2 KiB here and some 25 lines of text. What is beyond it is counted as one.
SERIES_MAX = 4096
COUNTS_MAX = 4096  # of one `Event`, for the same reason
OTHER = "other"


class Direction(Enum):
    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Event(NamedTuple):
    """What a feature of the switch counts beside requests: its metric's name, help and labels."""

    name: str
    help: str
    labels: tuple[str, ...]


class Count:
    """One labelled counter of an Event: bound ahead of time, `value += 1` in line."""

    __slots__ = ("labels", "value")

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.value = 0


class Call(NamedTuple):
    """Whose requests a Series counts. `route` is the name of the rule that matched, `target` the id of the
    set of instances; "" where there is none to name (inbound: the application is the only one)."""

    direction: Direction
    source: str
    destination: str
    route: str = ""
    target: str = ""


class Outcome(NamedTuple):
    """How requests ended. `status_class` is of CLASSES, `grpc_status` is -1 for none."""

    status_class: str
    grpc_status: int
    requests: int


class Series:
    """Requests of one Call. Fields are incremented in line by the switch.

    `ended` is indexed as OUTCOME says, `buckets[bisect_left(BOUNDS_S, seconds)]` is the latency histogram.
    `errors` counts refusals by `respond.Answer.reason`, and `injected` the calls that a fault made fail, off
    the fast path.
    """

    __slots__ = ("active", "buckets", "call", "ended", "errors", "injected", "requests", "sum_s")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.requests = 0  # begun
        self.active = 0
        self.ended = [0] * (len(CLASSES) * _PER_CLASS)
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0
        self.errors: dict[str, int] = {}
        self.injected = 0

    def refuse(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1

    def outcomes(self) -> Iterator[Outcome]:
        """What `ended` holds, without the zeroes."""
        for index, count in enumerate(self.ended):
            if count:
                yield Outcome(CLASSES[index // _PER_CLASS], index % _PER_CLASS - 1, count)


class ConnectionSeries:
    """Connections of one direction; `peer` is "app" or "mesh"."""

    __slots__ = ("closed", "direction", "opened", "peer", "refused")

    def __init__(self, direction: Direction, peer: str) -> None:
        self.direction = direction
        self.peer = peer
        self.opened = 0
        self.closed = 0
        self.refused: dict[str, int] = {}  # reason -> count: handshake, untrusted, abuse, ...

    def refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


class PoolSeries:
    """The pool of one target; `target` is its id, "" for the application."""

    __slots__ = (
        "connect_failures", "destination", "ejected", "ejections", "failovers", "instances", "overflows",
        "pending", "retries", "retries_over_budget", "target",
    )  # fmt: skip

    def __init__(self, destination: str, target: str) -> None:
        self.destination = destination
        self.target = target
        self.instances = 0  # in the pool now, ejected ones included
        self.ejected = 0  # out of it now
        self.ejections = 0  # ever
        self.pending = 0  # requests waiting for a connection
        self.retries = 0
        self.retries_over_budget = 0  # not made, as too many were under way
        self.connect_failures = 0
        self.failovers = 0  # requests that went to another target, as nothing was live here
        self.overflows: dict[str, int] = {}  # circuit breaker (connections, pending, requests) -> count

    def overflow(self, limit: str) -> None:
        self.overflows[limit] = self.overflows.get(limit, 0) + 1


class Telemetry:
    """All counters of this process, and what its shell knows of the registry.

    `certificate_not_after` is seconds since the Unix epoch, 0 before the first certificate.
    """

    def __init__(self) -> None:
        self.all_series: dict[Call, Series] = {}
        self.all_counts: dict[Event, dict[tuple[str, ...], Count]] = {}
        self.all_connections: dict[tuple[Direction, str], ConnectionSeries] = {}
        self.all_pools: dict[tuple[str, str], PoolSeries] = {}
        self.certificate_not_after = 0.0
        self.certificate_renewals = 0
        self.certificate_failures = 0
        self.config_index = 0
        self.config_version = ""
        self.deltas_applied = 0
        self.deltas_refused = 0
        self.registry_connected = False
        self.workers: dict[int, int] = {}  # process ids by number, where the switch is spread over processes
        self.worker_restarts = 0

    def series(
        self, direction: Direction, source: str, destination: str, route: str = "", target: str = ""
    ) -> Series:
        """The counters of calls from service `source` to `destination`; the same object each time."""
        call = Call(direction, source, destination, route, target)
        found = self.all_series.get(call)
        if found is None:
            if len(self.all_series) >= SERIES_MAX:
                call = Call(direction, OTHER, OTHER)
            found = self.all_series.get(call) or self.all_series.setdefault(call, Series(call))
        return found

    def count(self, event: Event, *labels: str) -> Count:
        """The counter of `event` with these values of its labels; the same object each time."""
        assert len(labels) == len(event.labels), event.name
        counts = self.all_counts.setdefault(event, {})
        found = counts.get(labels)
        if found is None:
            if len(counts) >= COUNTS_MAX:
                labels = (OTHER,) * len(labels)
            found = counts.get(labels) or counts.setdefault(labels, Count(labels))
        return found

    def connections(self, direction: Direction, peer: str) -> ConnectionSeries:
        key = (direction, peer)
        return self.all_connections.get(key) or self.all_connections.setdefault(key, ConnectionSeries(*key))

    def pool(self, destination: str, target: str = "") -> PoolSeries:
        key = (destination, target)
        return self.all_pools.get(key) or self.all_pools.setdefault(key, PoolSeries(*key))

    def forget_pool(self, series: PoolSeries) -> None:
        """The target is no longer configured."""
        self.all_pools.pop((series.destination, series.target), None)

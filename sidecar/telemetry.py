# Hot path: bench/telemetry.py
"""What a sidecar counts.

The switch binds a `Series` per (direction, source, destination) ahead of time and increments its plain
integers in line; names, labels and text are made by `exposition` when somebody asks for `/metrics`.
"""

from enum import Enum

# Upper bounds of the latency histogram, seconds: a local hop is well under 1 ms, a slow call seconds.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
GRPC_STATUS_MAX = 16
UNKNOWN = 2
# Series at most: each is 1 KiB here and some 35 lines of text. Callers beyond it are counted as one.
SERIES_MAX = 4096
OTHER = "other"


class Direction(Enum):
    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Series:
    """Requests of one (direction, source, destination). Fields are incremented in line by the switch.

    `by_status` has an entry per gRPC status 0..16 and a last one for answers without any, so that the
    -1 of "no gRPC status" is its index as it stands. `buckets[bisect_left(BOUNDS_S, seconds)]` is the
    latency histogram. `errors` counts refusals by `respond.Answer.reason`, off the fast path.
    """

    __slots__ = (
        "active", "buckets", "by_status", "destination", "direction", "errors", "requests", "source", "sum_s",
    )  # fmt: skip

    def __init__(self, direction: Direction, source: str, destination: str) -> None:
        self.direction = direction
        self.source = source
        self.destination = destination
        self.requests = 0  # begun
        self.active = 0
        self.by_status = [0] * (GRPC_STATUS_MAX + 2)  # ended
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0
        self.errors: dict[str, int] = {}

    def refuse(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1


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
    """One upstream's pool."""

    __slots__ = ("connect_failures", "destination", "ejected", "ejections", "instances", "pending", "retries")

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.instances = 0  # in the pool now, ejected ones included
        self.ejected = 0  # out of it now
        self.ejections = 0  # ever
        self.pending = 0  # requests waiting for a connection
        self.retries = 0
        self.connect_failures = 0


class Telemetry:
    """All counters of this process, and what its shell knows of the registry.

    `certificate_not_after` is seconds since the Unix epoch, 0 before the first certificate.
    """

    def __init__(self) -> None:
        self.all_series: dict[tuple[Direction, str, str], Series] = {}
        self.all_connections: dict[tuple[Direction, str], ConnectionSeries] = {}
        self.all_pools: dict[str, PoolSeries] = {}
        self.certificate_not_after = 0.0
        self.certificate_renewals = 0
        self.certificate_failures = 0
        self.config_index = 0
        self.config_version = ""
        self.deltas_applied = 0
        self.deltas_refused = 0
        self.registry_connected = False

    def series(self, direction: Direction, source: str, destination: str) -> Series:
        """The counters of calls from service `source` to `destination`; the same object each time."""
        key = (direction, source, destination)
        found = self.all_series.get(key)
        if found is None:
            if len(self.all_series) >= SERIES_MAX:
                key = (direction, OTHER, OTHER)
            found = self.all_series.setdefault(key, Series(*key))
        return found

    def connections(self, direction: Direction, peer: str) -> ConnectionSeries:
        key = (direction, peer)
        return self.all_connections.get(key) or self.all_connections.setdefault(key, ConnectionSeries(*key))

    def pool(self, destination: str) -> PoolSeries:
        return self.all_pools.get(destination) or self.all_pools.setdefault(
            destination, PoolSeries(destination)
        )

    def forget_pool(self, destination: str) -> None:
        """The upstream is no longer configured."""
        self.all_pools.pop(destination, None)

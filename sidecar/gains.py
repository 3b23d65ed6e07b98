"""What a worker has counted since it told last, and how its supervisor adds that to its own counters.

Counters are told as differences, so that those of a worker that died stay counted; gauges as they are.
"""

from typing import Any

from .events import EVENTS
from .telemetry import Call, ConnectionSeries, Count, Direction, PoolSeries, Series, Telemetry

_POOL_COUNTERS = ("ejections", "retries", "retries_over_budget", "connect_failures", "failovers")
Told = dict[str, Any]


class Gains:
    """A worker's side."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._before: dict[object, Any] = {}
        self._now: dict[object, Any] = {}

    def take(self) -> Told:
        """JSON. What has not moved is left out."""
        told = self._all()
        self._before, self._now = self._now, {}  # without what is counted no longer
        return told

    def _all(self) -> Told:
        told = self._telemetry
        return {
            "series": [it for series in list(told.all_series.values()) if (it := self._series(series))],
            "connections": [self._connections(it) for it in told.all_connections.values()],
            "pools": [self._pool(it) for it in told.all_pools.values()],
            "counts": [
                [event.name, list(count.labels), gained]
                for event, counts in told.all_counts.items()
                for count in counts.values()
                if (gained := self._gained(count, count.value))
            ],
        }

    def _gained(self, key: object, value: int) -> int:
        before = self._before.get(key, 0)
        self._now[key] = value
        return int(value - before)

    def _series(self, series: Series) -> list[Any] | None:
        moved = (series.requests, series.active, series.sum_s, series.injected, sum(series.errors.values()))
        before = self._before.get(series)
        if before is not None and before[0] == moved:
            self._now[series] = before
            return None
        none = moved, [0] * len(series.ended), [0] * len(series.buckets), dict[str, int]()
        old, ended, buckets, errors = before or ((0, 0, 0.0, 0, 0), *none[1:])
        self._now[series] = moved, list(series.ended), list(series.buckets), dict(series.errors)
        return [
            [series.call.direction.value, *series.call[1:]],
            series.requests - old[0],
            series.active - old[1],
            series.sum_s - old[2],
            series.injected - old[3],
            _moved(series.ended, ended),
            _moved(series.buckets, buckets),
            {reason: count - errors.get(reason, 0) for reason, count in series.errors.items()},
        ]

    def _connections(self, it: ConnectionSeries) -> list[Any]:
        old = self._before.get(it, (0, 0, {}))
        self._now[it] = it.opened, it.closed, dict(it.refused)
        refused = {reason: count - old[2].get(reason, 0) for reason, count in it.refused.items()}
        return [it.direction.value, it.peer, it.opened - old[0], it.closed - old[1], refused]

    def _pool(self, it: PoolSeries) -> list[Any]:
        now = [getattr(it, name) for name in _POOL_COUNTERS]
        old, overflows = self._before.get(it, ([0] * len(now), {}))
        self._now[it] = now, dict(it.overflows)
        return [
            it.destination,
            it.target,
            [one - other for one, other in zip(now, old, strict=True)],
            {limit: count - overflows.get(limit, 0) for limit, count in it.overflows.items()},
            [it.instances, it.ejected, it.pending],
        ]


def _moved(now: list[int], before: list[int]) -> list[list[int]]:
    """Positions and differences."""
    return [
        [at, one - other] for at, (one, other) in enumerate(zip(now, before, strict=True)) if one != other
    ]


class Gained:
    """The supervisor's side, of one worker: `add` what it tells, and `forget` it when it is gone."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._active: dict[Series, int] = {}
        self._open: dict[ConnectionSeries, int] = {}
        self._pools: dict[PoolSeries, list[int]] = {}

    def add(self, told: Told) -> None:
        for one in told["series"]:
            self._add_series(*one)
        for direction, peer, opened, closed, refused in told["connections"]:
            found = self._telemetry.connections(Direction(direction), peer)
            found.opened += opened
            found.closed += closed
            self._open[found] = self._open.get(found, 0) + opened - closed
            _add(found.refused, refused)
        self._add_pools(told["pools"])
        for name, labels, count in told["counts"]:
            self._count(name, labels).value += count

    def forget(self) -> None:
        """What was open in it is open no more."""
        for series, active in self._active.items():
            series.active -= active
        for connections, still in self._open.items():
            connections.closed += still
        for pool, (_, _, pending) in self._pools.items():
            pool.pending -= pending
        self._active.clear()
        self._open.clear()
        self._pools.clear()

    def _add_series(
        self,
        call: list[str],
        requests: int,
        active: int,
        sum_s: float,
        injected: int,
        ended: list[list[int]],
        buckets: list[list[int]],
        errors: dict[str, int],
    ) -> None:
        found = self._telemetry.series(*Call(Direction(call[0]), *call[1:]))
        found.requests += requests
        found.active += active
        found.sum_s += sum_s
        found.injected += injected
        self._active[found] = self._active.get(found, 0) + active
        for at, count in ended:
            found.ended[at] += count
        for at, count in buckets:
            found.buckets[at] += count
        _add(found.errors, errors)

    def _add_pools(self, told: list[list[Any]]) -> None:
        for destination, target, counters, overflows, gauges in told:
            found = self._telemetry.pool(destination, target)
            for name, count in zip(_POOL_COUNTERS, counters, strict=True):
                setattr(found, name, getattr(found, name) + count)
            _add(found.overflows, overflows)
            before = self._pools.get(found, [0, 0, 0])
            # Workers have the same instances, and each its own opinion of them: the last one told is shown.
            found.instances, found.ejected = gauges[0], gauges[1]
            found.pending += gauges[2] - before[2]
            self._pools[found] = gauges
        known = {(destination, target) for destination, target, *_ in told}
        for pool in [it for it in self._pools if (it.destination, it.target) not in known]:
            del self._pools[pool]
            self._telemetry.forget_pool(pool)

    def _count(self, name: str, labels: list[str]) -> Count:
        event = _EVENTS[name]
        return self._telemetry.count(event, *labels)


_EVENTS = {event.name: event for event in EVENTS}


def _add(counts: dict[str, int], gained: dict[str, int]) -> None:
    for name, count in gained.items():
        if count:
            counts[name] = counts.get(name, 0) + count

"""What the counters have gained since the last look, as the registry is told it.

Looks at every series about once a second; the switch itself does nothing for it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from weft.pb.mesh.v1.observe_pb2 import Ended, Measurement, Measurements

from .telemetry import CLASSES, Call, Direction, Outcome, Series, Telemetry

_SIDES = {
    Direction.OUTBOUND: Measurement.SIDE_OUTBOUND,
    Direction.INBOUND: Measurement.SIDE_INBOUND,
}
_CLASS_NUMBERS = {name: number for number, name in enumerate(CLASSES)}


class _Reading(NamedTuple):
    """A series at one moment."""

    ended: list[int]
    buckets: list[int]
    sum_s: float
    injected: int


class Measure:
    """Of one telemetry. What was counted before it was made is not told."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._told: dict[Call, _Reading] = {}
        self.skip()

    def skip(self) -> None:
        """Forgets what was counted until now: after a pause it would look like a burst."""
        for call, series in list(self._telemetry.all_series.items()):
            self._told[call] = _reading(series)

    def take(self) -> Measurements | None:
        """What was counted since the last `take` or `skip`; None where nothing was."""
        gained = [
            made for series in list(self._telemetry.all_series.values()) if (made := self._gain(series))
        ]
        return Measurements(calls=gained) if gained else None

    def _gain(self, series: Series) -> Measurement | None:
        before = self._told.get(series.call)
        if before is not None and before.ended == series.ended:
            return None
        now = self._told[series.call] = _reading(series)
        if before is None:
            before = _reading(Series(series.call))
        ended = Series(series.call)
        ended.ended = _minus(now.ended, before.ended)
        direction, source, destination, route, target = series.call
        return Measurement(
            side=_SIDES[direction],
            peer=destination if direction is Direction.OUTBOUND else source,
            route=route,
            target=target,
            ended=[_ended(outcome) for outcome in ended.outcomes()],
            latency=_trimmed(_minus(now.buckets, before.buckets)),
            latency_sum_s=max(0.0, now.sum_s - before.sum_s),
            injected=now.injected - before.injected,
        )


def _reading(series: Series) -> _Reading:
    return _Reading(list(series.ended), list(series.buckets), series.sum_s, series.injected)


def _minus(now: Iterable[int], before: Iterable[int]) -> list[int]:
    return [here - there for here, there in zip(now, before, strict=True)]


def _ended(outcome: Outcome) -> Ended:
    number = _CLASS_NUMBERS[outcome.status_class]
    return Ended(status_class=number, grpc_status=outcome.grpc_status, requests=outcome.requests)


def _trimmed(buckets: list[int]) -> list[int]:
    while buckets and not buckets[-1]:
        buckets.pop()
    return buckets

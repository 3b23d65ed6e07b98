"""What goes to the registry is what was counted since the last time, and nothing else."""

from bisect import bisect_left

from sidecar.measure import Measure
from sidecar.telemetry import OUTCOME, Direction, Series, Telemetry
from weft.histogram import BOUNDS_S
from weft.pb.mesh.v1.observe_pb2 import Measurement, Measurements

V2 = "v2.orders.default.default.dc1"


def call(series: Series, grpc_status: int = -1, http_status: int = 200, seconds: float = 0.002) -> None:
    series.requests += 1
    series.ended[OUTCOME[http_status] + grpc_status] += 1
    series.buckets[bisect_left(BOUNDS_S, seconds)] += 1
    series.sum_s += seconds


def outbound(telemetry: Telemetry) -> Series:
    return telemetry.series(Direction.OUTBOUND, "web", "orders", "default", V2)


def taken(measure: Measure) -> Measurements:
    found = measure.take()
    assert found is not None
    return found


def test_nothing_is_sent_where_nothing_changed() -> None:
    telemetry = Telemetry()
    series = outbound(telemetry)
    measure = Measure(telemetry)
    assert measure.take() is None
    series.active += 1
    series.requests += 1
    assert measure.take() is None, "it has not ended"


def test_only_the_difference_is_told() -> None:
    telemetry = Telemetry()
    series, measure = outbound(telemetry), Measure(telemetry)
    call(series)
    call(series, grpc_status=14)
    first = taken(measure)
    call(series, http_status=503, seconds=0.3)
    second = taken(measure)
    assert measure.take() is None
    assert {(it.status_class, it.grpc_status): it.requests for it in first.calls[0].ended} == {
        (2, -1): 1,
        (2, 14): 1,
    }
    (told,) = second.calls
    assert (told.side, told.peer, told.route, told.target) == (
        Measurement.SIDE_OUTBOUND,
        "orders",
        "default",
        V2,
    )
    assert [(it.status_class, it.grpc_status, it.requests) for it in told.ended] == [(5, -1, 1)]
    assert list(told.latency) == [0] * bisect_left(BOUNDS_S, 0.3) + [1]
    assert abs(told.latency_sum_s - 0.3) < 1e-9


def test_series_that_did_not_change_are_not_named() -> None:
    telemetry = Telemetry()
    series, measure = outbound(telemetry), Measure(telemetry)
    inbound = telemetry.series(Direction.INBOUND, "shop", "web")
    call(series)
    call(inbound)
    assert len(taken(measure).calls) == 2
    call(inbound)
    (told,) = taken(measure).calls
    assert (told.side, told.peer) == (Measurement.SIDE_INBOUND, "shop")


def test_what_was_counted_before_is_not_told() -> None:
    """A registry that comes back after an hour must not see the hour as one second."""
    telemetry = Telemetry()
    series = outbound(telemetry)
    call(series)
    measure = Measure(telemetry)
    assert measure.take() is None
    call(series)
    measure.skip()
    assert measure.take() is None

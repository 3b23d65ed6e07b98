"""What comes in is bounded and means what it says; what goes on to the leader is the same."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.measurements.errors import InvalidMeasurement
from registry.measurements.tally import BUCKETS, Edge, Tally, is_failed
from registry.measurements.wire import CALLS_MAX, REPORT_CALLS_MAX, of_server, of_sidecar, report
from weft.pb.mesh.v1.observe_pb2 import Ended, Measurement, Measurements
from weft.pb.server.v1.server_pb2 import CallTally, ReportRequest

OUTBOUND, INBOUND = Measurement.SIDE_OUTBOUND, Measurement.SIDE_INBOUND
V2 = "v2.orders.default.default.dc1"


@pytest.mark.parametrize(
    ("status_class", "grpc_status", "failed"),
    [
        (2, -1, False),
        (4, -1, False),
        (5, -1, True),
        (0, -1, True),  # cut off before there was an answer
        (0, 1, False),  # given up by its caller
        (2, 0, False),
        (2, 5, False),  # NOT_FOUND
        (2, 14, True),  # UNAVAILABLE
        (2, 4, True),
        (5, 0, False),  # gRPC's own status counts
    ],
)
def test_failures_are_those_of_the_called_side(status_class: int, grpc_status: int, failed: bool) -> None:
    assert is_failed(status_class, grpc_status) is failed


def measurement(**changed: object) -> Measurements:
    fields = {
        "side": OUTBOUND,
        "peer": "orders",
        "route": "default",
        "target": V2,
        "ended": [Ended(status_class=2, grpc_status=-1, requests=3), Ended(status_class=5, requests=1)],
        "latency": [0, 4],
        "latency_sum_s": 0.004,
    }
    fields["ended"][1].grpc_status = -1  # type: ignore[index]
    return Measurements(calls=[Measurement(**(fields | changed))])  # type: ignore[arg-type]


def test_a_sidecar_speaks_of_its_own_service_only() -> None:
    ((edge, tally),) = of_sidecar(measurement(), "web")
    assert edge == Edge(False, "web", "orders", "default", V2)
    assert (tally.ended, tally.failed, tally.buckets[:3], tally.error_rate) == (4, 1, [0, 4, 0], 0.25)
    ((edge, _),) = of_sidecar(measurement(side=INBOUND, peer="shop"), "web")
    assert edge == Edge(True, "shop", "web"), "routes and targets are the caller's"


@pytest.mark.parametrize(
    "wrong",
    [
        {"side": 0},
        {"side": 3},
        {"peer": "x" * 513},
        {"target": "a\nb"},
        {"ended": [Ended(status_class=7, requests=1)]},
        {"ended": [Ended(status_class=2, grpc_status=17, requests=1)]},
        {"ended": [Ended(status_class=2, grpc_status=-2, requests=1)]},
        {"ended": [Ended(status_class=2, requests=2**63)]},
        {"latency": [1] * (BUCKETS + 1)},
        {"latency": [2**63]},
        {"latency_sum_s": -1.0},
        {"latency_sum_s": math.nan},
        {"latency_sum_s": math.inf},
    ],
)
def test_what_a_sidecar_never_sends_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidMeasurement):
        list(of_sidecar(measurement(**wrong), "web"))


def test_one_message_is_bounded() -> None:
    call = measurement().calls[0]
    with pytest.raises(InvalidMeasurement, match="more than"):
        list(of_sidecar(Measurements(calls=[call] * (CALLS_MAX + 1)), "web"))
    with pytest.raises(InvalidMeasurement, match="more than"):
        list(of_server(ReportRequest(calls=[CallTally()] * (REPORT_CALLS_MAX + 1))))
    with pytest.raises(InvalidMeasurement, match="counts"):
        list(of_server(ReportRequest(calls=[CallTally(ended=1, failed=2)])))


names = st.text("abc.-", max_size=8)
edges = st.builds(Edge, st.booleans(), names, names, names, names)
tallies = st.builds(
    lambda good, failed, buckets, sum_s: Tally(good + failed, failed, buckets, sum_s),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.lists(st.integers(0, 10**6), max_size=BUCKETS),
    st.floats(0, 10**6),
)


@given(st.dictionaries(edges, tallies, max_size=5))
def test_a_report_says_what_went_into_it(told: dict[Edge, Tally]) -> None:
    message = ReportRequest.FromString(report(told).SerializeToString())
    found = dict(of_server(message))
    assert found.keys() == told.keys()
    for edge, tally in told.items():
        read = found[edge]
        assert (read.ended, read.failed, read.buckets, read.sum_s) == (
            tally.ended,
            tally.failed,
            tally.buckets,
            tally.sum_s,
        )

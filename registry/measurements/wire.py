"""Measurements as messages: read and bounded where they come in, packed where they go on to the leader."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from weft.pb.mesh.v1.observe_pb2 import Measurement, Measurements
from weft.pb.server.v1.server_pb2 import CallTally, ReportRequest

from .errors import InvalidMeasurement
from .tally import BUCKETS, Edge, Tally, is_failed

CALLS_MAX = 4100  # of one message of a sidecar: it counts 4096 series, and what is beyond as one or two
REPORT_CALLS_MAX = 20_000  # of one report: 3 MiB; what is beyond goes with the next
NAME_CHARS_MAX = 512  # of a target id: four names of 128, and some
COUNT_MAX = 10**12
SECONDS_MAX = 10.0**12
STATUS_CLASS_MAX, GRPC_STATUS_MIN, GRPC_STATUS_MAX = 6, -1, 16

Counted = Iterator[tuple[Edge, Tally]]


def of_sidecar(message: Measurements, service: str) -> Counted:
    """What a sidecar of `service` has measured. Raises InvalidMeasurement."""
    _refuse_unless(len(message.calls) <= CALLS_MAX, f"more than {CALLS_MAX} calls in one message")
    for call in message.calls:
        _check_names(call.peer, call.route, call.target)
        yield _edge(call, service), _tally(call)


def _edge(call: Measurement, service: str) -> Edge:
    if call.side == Measurement.SIDE_OUTBOUND:
        return Edge(False, service, call.peer, call.route, call.target)
    _refuse_unless(call.side == Measurement.SIDE_INBOUND, "calls of a side that is not known")
    return Edge(True, call.peer, service)


def _tally(call: Measurement) -> Tally:
    ended = failed = 0
    for outcome in call.ended:
        _refuse_unless(
            outcome.status_class <= STATUS_CLASS_MAX
            and GRPC_STATUS_MIN <= outcome.grpc_status <= GRPC_STATUS_MAX,
            "a status that does not exist",
        )
        ended += outcome.requests
        if is_failed(outcome.status_class, outcome.grpc_status):
            failed += outcome.requests
    return _checked(ended, failed, call.latency, call.latency_sum_s, min(failed, call.injected))


def of_server(message: ReportRequest) -> Counted:
    """What the sidecars of another server have measured. Raises InvalidMeasurement."""
    _refuse_unless(
        len(message.calls) <= REPORT_CALLS_MAX, f"more than {REPORT_CALLS_MAX} calls in one report"
    )
    for call in message.calls:
        _check_names(call.source, call.destination, call.route, call.target)
        edge = Edge(call.inbound, call.source, call.destination, call.route, call.target)
        yield edge, _checked(call.ended, call.failed, call.latency, call.latency_sum_s, call.injected)


def report(tallies: Mapping[Edge, Tally]) -> ReportRequest:
    """The first of them, as many as one report may have."""
    return ReportRequest(
        calls=[
            CallTally(
                inbound=edge.inbound,
                source=edge.source,
                destination=edge.destination,
                route=edge.route,
                target=edge.target,
                ended=tally.ended,
                failed=tally.failed,
                latency=tally.buckets,
                latency_sum_s=tally.sum_s,
                injected=tally.injected,
            )
            for edge, tally in islice(tallies.items(), REPORT_CALLS_MAX)
        ]
    )


def _checked(ended: int, failed: int, buckets: Sequence[int], sum_s: float, injected: int) -> Tally:
    _refuse_unless(injected <= failed, "more failures on purpose than there were")
    _refuse_unless(len(buckets) <= BUCKETS, f"a histogram of more than {BUCKETS} entries")
    _refuse_unless(failed <= ended <= COUNT_MAX and sum(buckets) <= COUNT_MAX, "counts that cannot be")
    _refuse_unless(0.0 <= sum_s <= SECONDS_MAX, "a sum of seconds that cannot be")  # NaN neither
    return Tally(ended, failed, buckets, sum_s, injected)


def _check_names(*names: str) -> None:
    _refuse_unless(
        all(len(name) <= NAME_CHARS_MAX and name.isprintable() for name in names),
        "a name that is too long or not printable",
    )


def _refuse_unless(condition: bool, reason: str) -> None:
    if not condition:
        raise InvalidMeasurement(f"measurements hold {reason}; run the same version everywhere")

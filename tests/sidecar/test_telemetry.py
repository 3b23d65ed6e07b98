"""Counters count, and Prometheus can read them."""

from bisect import bisect_left

from prometheus_client.parser import text_string_to_metric_families

from sidecar.exposition import Exposition
from sidecar.telemetry import (
    COUNTS_MAX,
    OTHER,
    OUTCOME,
    SERIES_MAX,
    Direction,
    Event,
    Series,
    Telemetry,
)
from weft.histogram import BOUNDS_S

CALL = {"direction": "inbound", "source": "web", "destination": "orders", "route": "", "target": ""}
REFUSALS = Event("weft_refusals", "Refusals.", ("reason",))


def call(series: Series, status: int, seconds: float, http_status: int = 200) -> None:
    """One request from begin to end, as the switch counts it."""
    series.requests += 1
    series.ended[OUTCOME[http_status] + status] += 1
    series.buckets[bisect_left(BOUNDS_S, seconds)] += 1
    series.sum_s += seconds


def samples(telemetry: Telemetry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = Exposition(telemetry).render().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return samples(telemetry).get((name, frozenset(labels.items())))


def test_requests_by_status() -> None:
    telemetry = Telemetry()
    series = telemetry.series(Direction.INBOUND, "web", "orders")
    for status in (0, 0, 14, -1, 16):
        call(series, status, 0.003)
    series.requests += 1
    series.active += 1
    counts = {
        status: value(telemetry, "weft_requests_total", **CALL, status_class="2xx", grpc_status=status)
        for status in ("0", "16", "14", "none", "7")
    }
    assert counts == {"0": 2, "16": 1, "14": 1, "none": 1, "7": None}
    assert value(telemetry, "weft_requests_started_total", **CALL) == 6
    assert value(telemetry, "weft_active_streams", **CALL) == 1


def test_latency_falls_into_its_bucket() -> None:
    telemetry = Telemetry()
    series = telemetry.series(Direction.INBOUND, "web", "orders")
    for seconds in (0.0001, 0.005, 0.0051, 60.0):
        call(series, 0, seconds)
    found = {
        bound: value(telemetry, "weft_request_duration_seconds_bucket", **CALL, le=bound)
        for bound in ("0.0005", "0.005", "0.01", "10.0", "+Inf")
    }
    assert found == {"0.0005": 1, "0.005": 2, "0.01": 3, "10.0": 3, "+Inf": 4}
    assert value(telemetry, "weft_request_duration_seconds_count", **CALL) == 4
    total = value(telemetry, "weft_request_duration_seconds_sum", **CALL)
    assert total is not None and abs(total - 60.0102) < 1e-6
    assert list(BOUNDS_S) == sorted(BOUNDS_S)


def test_errors_connections_and_pools() -> None:
    telemetry = Telemetry()
    telemetry.series(Direction.INBOUND, "web", "orders").refuse("denied")
    mesh = telemetry.connections(Direction.INBOUND, "mesh")
    mesh.opened, mesh.closed = 5, 2
    mesh.refuse("untrusted")
    pool = telemetry.pool("orders", "orders.t")
    pool.ejections, pool.ejected, pool.instances = 4, 1, 3
    assert value(telemetry, "weft_errors_total", **CALL, reason="denied") == 1
    assert value(telemetry, "weft_active_connections", direction="inbound", peer="mesh") == 3
    assert (
        value(
            telemetry, "weft_connections_refused_total", direction="inbound", peer="mesh", reason="untrusted"
        )
        == 1
    )
    assert value(telemetry, "weft_ejections_total", destination="orders", target="orders.t") == 4
    assert value(telemetry, "weft_ejected_instances", destination="orders", target="orders.t") == 1
    telemetry.forget_pool(pool)
    assert value(telemetry, "weft_ejections_total", destination="orders", target="orders.t") is None


def test_what_the_shell_knows() -> None:
    telemetry = Telemetry()
    telemetry.certificate_not_after = 1234.5
    telemetry.config_index, telemetry.config_version = 17, "abc"
    telemetry.registry_connected = True
    telemetry.deltas_refused = 2
    assert value(telemetry, "weft_certificate_expiry_timestamp_seconds") == 1234.5
    assert value(telemetry, "weft_config_index") == 17
    assert value(telemetry, "weft_config_info", version="abc") == 1
    assert value(telemetry, "weft_registry_connected") == 1
    assert value(telemetry, "weft_config_deltas_total", result="refused") == 2
    assert value(telemetry, "process_resident_memory_bytes")


def test_labels_are_escaped() -> None:
    telemetry = Telemetry()
    telemetry.series(Direction.INBOUND, 'a"b\n', "orders").active = 1
    assert value(telemetry, "weft_active_streams", **CALL | {"source": 'a"b\n'}) == 1


def test_the_same_call_is_the_same_series() -> None:
    telemetry = Telemetry()
    one = telemetry.series(Direction.INBOUND, "web", "orders")
    assert telemetry.series(Direction.INBOUND, "web", "orders") is one
    assert telemetry.series(Direction.OUTBOUND, "web", "orders") is not one


def test_series_are_bounded() -> None:
    telemetry = Telemetry()
    for number in range(SERIES_MAX + 50):
        telemetry.series(Direction.INBOUND, f"caller-{number}", "orders")
    assert len(telemetry.all_series) == SERIES_MAX + 1
    assert telemetry.series(Direction.INBOUND, "one-more", "orders").call.source == OTHER


def test_http_statuses_fall_into_their_class() -> None:
    series = Telemetry().series(Direction.OUTBOUND, "web", "orders", "api/1", "v2.orders.default.default.dc1")
    for http_status in (0, 101, 200, 204, 301, 404, 503, 599, 600, 999):
        call(series, -1, 0.001, http_status)
    classes = {outcome.status_class: outcome.requests for outcome in series.outcomes()}
    assert classes == {"none": 1, "1xx": 1, "2xx": 2, "3xx": 1, "4xx": 1, "5xx": 2, "other": 2}
    assert {outcome.grpc_status for outcome in series.outcomes()} == {-1}


def test_routes_and_targets_are_labels() -> None:
    telemetry = Telemetry()
    series = telemetry.series(
        Direction.OUTBOUND, "web", "orders", "orders/0", "v2.orders.default.default.dc1"
    )
    call(series, 0, 0.001)
    told = {
        "direction": "outbound", "source": "web", "destination": "orders", "route": "orders/0",
        "target": "v2.orders.default.default.dc1", "status_class": "2xx", "grpc_status": "0",
    }  # fmt: skip
    assert value(telemetry, "weft_requests_total", **told) == 1


def test_events_are_counted_by_their_labels_and_bounded() -> None:
    telemetry = Telemetry()
    telemetry.count(REFUSALS, "quota").value += 2
    assert telemetry.count(REFUSALS, "quota") is telemetry.count(REFUSALS, "quota")
    assert value(telemetry, "weft_refusals_total", reason="quota") == 2
    for number in range(COUNTS_MAX + 10):
        telemetry.count(REFUSALS, f"reason {number}")
    assert len(telemetry.all_counts[REFUSALS]) == COUNTS_MAX + 1
    assert telemetry.count(REFUSALS, "another").labels == (OTHER,)

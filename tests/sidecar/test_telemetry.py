"""Counters count, and Prometheus can read them."""

from bisect import bisect_left

from prometheus_client.parser import text_string_to_metric_families

from sidecar.exposition import Exposition
from sidecar.telemetry import BOUNDS_S, OTHER, SERIES_MAX, Direction, Series, Telemetry

CALL = {"direction": "inbound", "source": "web", "destination": "orders"}


def call(series: Series, status: int, seconds: float) -> None:
    """One request from begin to end, as the switch counts it."""
    series.requests += 1
    series.by_status[status] += 1
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
        status: value(telemetry, "weft_requests_total", **CALL, grpc_status=status)
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
    pool = telemetry.pool("orders")
    pool.ejections, pool.ejected, pool.instances = 4, 1, 3
    assert value(telemetry, "weft_errors_total", **CALL, reason="denied") == 1
    assert value(telemetry, "weft_active_connections", direction="inbound", peer="mesh") == 3
    assert (
        value(
            telemetry, "weft_connections_refused_total", direction="inbound", peer="mesh", reason="untrusted"
        )
        == 1
    )
    assert value(telemetry, "weft_ejections_total", destination="orders") == 4
    assert value(telemetry, "weft_ejected_instances", destination="orders") == 1
    telemetry.forget_pool("orders")
    assert value(telemetry, "weft_ejections_total", destination="orders") is None


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
    assert (
        value(telemetry, "weft_active_streams", direction="inbound", source='a"b\n', destination="orders")
        == 1
    )


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
    assert telemetry.series(Direction.INBOUND, "one-more", "orders").source == OTHER

"""The counters as Prometheus text, through prometheus_client's own renderer."""

import os
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from weft import __version__
from weft.histogram import BOUNDS_S

from .events import EVENTS
from .telemetry import Call, Series, Telemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CALL = Call._fields
_PAGE_BYTES, _TICKS_PER_S = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_BOUNDS = (*(repr(bound) for bound in BOUNDS_S), "+Inf")


class Exposition(Collector):
    """Renders one Telemetry. Makes its text anew on each `render`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """Prometheus text format 0.0.4; its media type is CONTENT_TYPE."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        yield from _requests(list(self._telemetry.all_series.values()))
        yield from _connections(self._telemetry)
        yield from _pools(self._telemetry)
        yield from _events(self._telemetry)
        yield from _shell(self._telemetry)
        yield from _workers(self._telemetry)

    def describe(self) -> Iterable[Metric]:
        return ()


def _requests(all_series: list[Series]) -> Iterator[Metric]:
    started = CounterMetricFamily("weft_requests_started", "Requests begun.", labels=_CALL)
    ended = CounterMetricFamily(
        "weft_requests",
        "Requests ended, by class of HTTP status and by gRPC status.",
        labels=(*_CALL, "status_class", "grpc_status"),
    )
    errors = CounterMetricFamily(
        "weft_errors", "Requests that this proxy refused or could not deliver.", labels=(*_CALL, "reason")
    )
    active = GaugeMetricFamily("weft_active_streams", "Requests under way.", labels=_CALL)
    duration = HistogramMetricFamily(
        "weft_request_duration_seconds", "From the first byte of a request to the last of its answer.",
        labels=_CALL,
    )  # fmt: skip
    for series in all_series:
        call = (series.call.direction.value, *series.call[1:])
        started.add_metric(call, series.requests)
        active.add_metric(call, series.active)
        for status_class, grpc_status, count in series.outcomes():
            ended.add_metric((*call, status_class, _grpc(grpc_status)), count)
        for reason, count in series.errors.items():
            errors.add_metric((*call, reason), count)
        buckets = list(zip(_BOUNDS, accumulate(series.buckets), strict=True))
        duration.add_metric(call, buckets, series.sum_s)
    yield from (started, ended, errors, active, duration)


def _grpc(status: int) -> str:
    return "none" if status < 0 else str(status)


def _events(telemetry: Telemetry) -> Iterator[Metric]:
    for event in dict.fromkeys((*EVENTS, *telemetry.all_counts)):
        family = CounterMetricFamily(event.name, event.help, labels=event.labels)
        for count in telemetry.all_counts.get(event, {}).values():
            family.add_metric(count.labels, count.value)
        yield family


def _connections(telemetry: Telemetry) -> Iterator[Metric]:
    labels = ("direction", "peer")
    opened = CounterMetricFamily("weft_connections_opened", "Connections that were usable.", labels=labels)
    active = GaugeMetricFamily("weft_active_connections", "Connections open now.", labels=labels)
    refused = CounterMetricFamily(
        "weft_connections_refused", "Connections ended by this proxy, by reason.", labels=(*labels, "reason")
    )
    for series in telemetry.all_connections.values():
        label = (series.direction.value, series.peer)
        opened.add_metric(label, series.opened)
        active.add_metric(label, series.opened - series.closed)
        for reason, count in series.refused.items():
            refused.add_metric((*label, reason), count)
    yield from (opened, active, refused)


def _pools(telemetry: Telemetry) -> Iterator[Metric]:
    labels = ("destination", "target")
    counters = {
        "ejections": CounterMetricFamily("weft_ejections", "Instances ejected.", labels=labels),
        "retries": CounterMetricFamily("weft_retries", "Requests sent once more.", labels=labels),
        "retries_over_budget": CounterMetricFamily(
            "weft_retries_over_budget", "Retries not made, as too many were under way.", labels=labels
        ),
        "failovers": CounterMetricFamily(
            "weft_failovers", "Requests sent to another target, as no instance was usable.", labels=labels
        ),
        "connect_failures": CounterMetricFamily(
            "weft_connect_failures", "Connections to instances that failed.", labels=labels
        ),
    }
    gauges = {
        "ejected": GaugeMetricFamily("weft_ejected_instances", "Instances out of the pool.", labels=labels),
        "instances": GaugeMetricFamily("weft_instances", "Instances, ejected ones included.", labels=labels),
        "pending": GaugeMetricFamily(
            "weft_pending_requests", "Requests waiting for a connection.", labels=labels
        ),
    }
    overflows = CounterMetricFamily(
        "weft_overflows", "Times that a circuit breaker was at its limit.", labels=(*labels, "limit")
    )
    for pool in telemetry.all_pools.values():
        for limit, count in pool.overflows.items():
            overflows.add_metric((pool.destination, pool.target, limit), count)
        for name, family in (counters | gauges).items():
            family.add_metric((pool.destination, pool.target), getattr(pool, name))
    yield from counters.values()
    yield overflows
    yield from gauges.values()


def _workers(telemetry: Telemetry) -> Iterator[Metric]:
    """Of `--workers`: what the process_ metrics say of the supervisor, of each that serves."""
    yield GaugeMetricFamily("weft_workers", "Worker processes there are.", value=len(telemetry.workers))
    yield CounterMetricFamily(
        "weft_worker_restarts", "Worker processes that ended and were replaced.",
        value=telemetry.worker_restarts,
    )  # fmt: skip
    memory = GaugeMetricFamily(
        "weft_worker_resident_memory_bytes", "Memory of a worker process.", labels=("worker",)
    )
    seconds = CounterMetricFamily(
        "weft_worker_cpu_seconds", "Processor time of a worker process.", labels=("worker",)
    )
    for number, pid in sorted(telemetry.workers.items()):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        memory.add_metric((str(number),), int(stat[21]) * _PAGE_BYTES)
        seconds.add_metric((str(number),), (int(stat[11]) + int(stat[12])) / _TICKS_PER_S)
    yield from (memory, seconds)


def _shell(telemetry: Telemetry) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "weft_certificate_expiry_timestamp_seconds", "End of this proxy's certificate, Unix time.",
        value=telemetry.certificate_not_after,
    )  # fmt: skip
    yield CounterMetricFamily(
        "weft_certificate_renewals", "Certificates obtained.", value=telemetry.certificate_renewals
    )
    yield CounterMetricFamily(
        "weft_certificate_failures", "Attempts to obtain one that failed.",
        value=telemetry.certificate_failures,
    )  # fmt: skip
    yield GaugeMetricFamily(
        "weft_config_index", "Catalog index of the configuration served.", value=telemetry.config_index
    )
    yield InfoMetricFamily(
        "weft_config", "Content hash of the configuration served.", {"version": telemetry.config_version}
    )
    deltas = CounterMetricFamily("weft_config_deltas", "Changes received.", labels=("result",))
    deltas.add_metric(("applied",), telemetry.deltas_applied)
    deltas.add_metric(("refused",), telemetry.deltas_refused)
    yield deltas
    yield GaugeMetricFamily(
        "weft_registry_connected", "1 while the registry's stream is open.",
        value=int(telemetry.registry_connected),
    )  # fmt: skip
    yield InfoMetricFamily("weft_build", "This program.", {"version": __version__})

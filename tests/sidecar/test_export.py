"""Sampled requests arrive at a collector as OpenTelemetry's spans, and an outage of it harms nobody."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import pytest

from sidecar.calls import EndedCall
from sidecar.events import SPANS
from sidecar.export import Export
from sidecar.outlets import SPANS_MAX, Spans
from sidecar.telemetry import Direction, Telemetry
from tests.support.otlp import PARENT, SPAN, TRACE, Received, ended, grpc_collector, http_collector, values
from tests.support.processes import free_port
from tests.support.waiting import until

NOWHERE = "grpc://127.0.0.1:1"


class Exporting:
    """An export under way, and what it counted."""

    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.spans = Spans(self.telemetry)
        self.export = Export(self.spans, self.telemetry, "web", "dc1/n/web-1")

    def counted(self, result: str) -> int:
        return self.telemetry.count(SPANS, result).value


@asynccontextmanager
async def exporting(endpoint: str) -> AsyncIterator[Exporting]:
    running = Exporting()
    running.export.use(endpoint)
    task = asyncio.create_task(running.export.run())
    yield running
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await running.export.close()


@pytest.mark.parametrize("collector", [grpc_collector, http_collector])
async def test_a_collector_gets_the_span(
    collector: Callable[[], AbstractContextManager[Received]],
) -> None:
    with collector() as received:
        async with exporting(received.endpoint) as running:
            running.spans.offer(ended())
            await until(lambda: running.counted("exported") == 1, "the span is out")
        (span,) = received.spans()
        resource = values(received.requests[0].resource_spans[0].resource.attributes)
    assert resource == {"service.name": "web", "service.instance.id": "dc1/n/web-1"}
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (span.name, span.kind) == ("shop.Orders/Get", span.SPAN_KIND_CLIENT)
    assert abs(span.start_time_unix_nano - 1_700_000_000_250_000_000) < 1000
    assert span.end_time_unix_nano - span.start_time_unix_nano == 500_000_000
    assert span.status.code == span.status.STATUS_CODE_ERROR
    told = values(span.attributes)
    assert told["rpc.response.status_code"] == told["error.type"] == "UNAVAILABLE"
    assert (told["server.address"], told["server.port"]) == ("127.0.0.1", 21000)
    assert (told["client.address"], told["http.request.resend_count"]) == ("::1", 1)


@pytest.mark.parametrize(
    ("call", "is_error"),
    [
        (ended(Direction.OUTBOUND, status=5), True),
        (ended(Direction.INBOUND, status=5), False),  # NOT_FOUND is no failure of the server
        (ended(Direction.INBOUND, status=13), True),
        (ended(Direction.OUTBOUND, grpc=False, status=404), True),
        (ended(Direction.INBOUND, grpc=False, status=404), False),
        (ended(Direction.INBOUND, grpc=False, status=503), True),
    ],
)
async def test_each_side_judges_failures_by_the_conventions(call: EndedCall, is_error: bool) -> None:
    with http_collector() as received:
        async with exporting(received.endpoint) as running:
            running.spans.offer(call)
            await until(lambda: running.counted("exported") == 1, "the span is out")
        (span,) = received.spans()
    assert (span.status.code == span.status.STATUS_CODE_ERROR) is is_error


async def test_what_waits_goes_out_at_the_end() -> None:
    with grpc_collector() as received:
        async with exporting(received.endpoint) as running:
            running.spans.offer(ended())
        assert len(received.spans()) == 1


async def test_another_endpoint_takes_over() -> None:
    with grpc_collector() as first, http_collector() as second:
        async with exporting(first.endpoint) as running:
            running.spans.offer(ended())
            await until(lambda: running.counted("exported") == 1, "the span is out")
            running.export.use(second.endpoint)
            running.spans.offer(ended())
            await until(lambda: running.counted("exported") == 2, "the other is out")
        assert (len(first.spans()), len(second.spans())) == (1, 1)


async def test_without_a_collector_spans_are_counted_and_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.export.TIMEOUT_S", 0.2)
    async with exporting(NOWHERE) as running:
        for _ in range(SPANS_MAX + 3):
            running.spans.offer(ended())
        assert running.counted("dropped") == 3
        await until(lambda: running.counted("failed") == SPANS_MAX, "all were tried", 60)


@pytest.mark.long
async def test_opentelemetrys_own_collector_takes_them(tmp_path: Path) -> None:
    """`WEFT_OTELCOL` is the path of a collector with the otlp receiver and the debug exporter."""
    program = os.environ.get("WEFT_OTELCOL")
    if not program:
        pytest.skip("WEFT_OTELCOL is not set: no Debian package brings OpenTelemetry's collector")
    listen = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    config = {
        "receivers": {
            "otlp": {"protocols": {"grpc": {"endpoint": listen[0]}, "http": {"endpoint": listen[1]}}}
        },
        "exporters": {"debug": {"verbosity": "detailed"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
        },
    }
    (tmp_path / "otelcol.yaml").write_text(json.dumps(config))  # JSON is YAML
    told = tmp_path / "told"
    running = start(program, tmp_path / "otelcol.yaml", told)
    try:
        await until(lambda: "Everything is ready" in told.read_text(), "the collector is ready", 60)
        for number, endpoint in enumerate((f"grpc://{listen[0]}", f"http://{listen[1]}"), 1):
            async with exporting(endpoint) as exports:
                exports.spans.offer(ended())
                await until(lambda: exports.counted("exported") == 1, "the span is out")
            await until(lambda: told.read_text().count(PARENT) == number, "it shows the span")  # noqa: B023
    finally:
        running.terminate()
        running.wait(30)
    text = told.read_text()
    assert f"Trace ID       : {TRACE}" in text and "Name           : shop.Orders/Get" in text
    assert "service.name: Str(web)" in text and "rpc.response.status_code: Str(UNAVAILABLE)" in text


def start(program: str, config: Path, told: Path) -> subprocess.Popen[bytes]:
    with told.open("wb") as output:
        return subprocess.Popen([program, "--config", f"file:{config}"], stdout=output, stderr=output)

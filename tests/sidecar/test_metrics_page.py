"""docs/metrics.md says what /metrics has, and Prometheus' own tools take it."""

import asyncio
import json
import subprocess
import urllib.parse
import urllib.request
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from sidecar.admin import Admin, Page
from sidecar.events import EVENTS
from sidecar.exposition import CONTENT_TYPE, Exposition
from sidecar.telemetry import OUTCOME, Direction, Telemetry
from tests.support import peers
from tests.support.processes import free_port
from tests.support.sources import PROJECT
from tests.support.waiting import until
from weft.histogram import BOUNDS_S

PAGE = PROJECT / "docs" / "metrics.md"
BEGIN, END = "<!-- metrics -->\n", "<!-- /metrics -->\n"


def used() -> Telemetry:
    """One of everything."""
    telemetry = Telemetry()
    series = telemetry.series(Direction.OUTBOUND, "web", "orders", "default", "orders.default.default.dc1")
    series.requests += 1
    series.ended[OUTCOME[200]] += 1
    series.buckets[bisect_left(BOUNDS_S, 0.002)] += 1
    series.sum_s += 0.002
    series.refuse("denied")
    mesh = telemetry.connections(Direction.INBOUND, "mesh")
    mesh.opened = 1
    mesh.refuse("untrusted")
    telemetry.pool("orders").instances = 1
    for event in EVENTS:
        telemetry.count(event, *event.labels).value += 1
    telemetry.config_version = "abc"
    return telemetry


def row(family: Metric) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    labels = sorted({name for sample in family.samples for name in sample.labels} - {"le"})
    told = ", ".join(f"`{name}`" for name in labels) or "–"
    return f"| `{family.name}{suffix}` | {family.type} | {told} | {family.documentation} |\n"


def table() -> str:
    rows = "".join(row(family) for family in Exposition(used()).collect())
    return f"{BEGIN}| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n{rows}{END}"


def test_the_page_lists_what_is_exposed(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    page = before + table() + rest.partition(END)[2]
    if request.config.getoption("--rewrite"):
        PAGE.write_text(page)
    assert page == PAGE.read_text(), "pytest --rewrite tests/sidecar/test_metrics_page.py"


@pytest.mark.peer("promtool")
def test_promtool_has_nothing_to_say() -> None:
    promtool = peers.find("promtool")
    assert promtool
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=Exposition(used()).render(), capture_output=True, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.peer("prometheus")
async def test_prometheus_scrapes_a_sidecar(tmp_path: Path) -> None:
    telemetry = used()
    exposition = Exposition(telemetry)
    admin = Admin({"/metrics": lambda: Page(HTTPStatus.OK, CONTENT_TYPE, exposition.render())})
    address = await admin.start("127.0.0.1", 0)
    query = 'weft_requests_total{source="web",destination="orders",status_class="2xx",grpc_status="0"}'
    listen = f"127.0.0.1:{free_port()}"
    with prometheus(tmp_path, address, listen):
        await until(lambda: asyncio.to_thread(answer, listen, query), "the counter is in Prometheus", 60)
        assert await asyncio.to_thread(answer, listen, query) == ["1"]
        quantile = "histogram_quantile(0.99, weft_request_duration_seconds_bucket)"
        assert await asyncio.to_thread(answer, listen, quantile)
    await admin.close()


@contextmanager
def prometheus(folder: Path, target: str, listen: str) -> Iterator[None]:
    """Scrapes `target` five times a second, and answers on `listen`."""
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "weft", "static_configs": [{"targets": [target]}]}],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    data = f"--storage.tsdb.path={folder / 'data'}"
    command = (peers.require("prometheus"), f"--config.file={file}", data, f"--web.listen-address={listen}")
    running = subprocess.Popen([*command, "--log.level=warn"])
    try:
        yield
    finally:
        running.terminate()
        running.wait(30)


def answer(listen: str, query: str) -> list[str]:
    """The values of an instant query; none while Prometheus starts."""
    url = f"http://{listen}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=5) as found:
            return [series["value"][1] for series in json.load(found)["data"]["result"]]
    except OSError:
        return []

"""Prometheus finds its targets here: its exact calls replayed, and upstream's binary where Go can build it.

Debian's Prometheus is built without consul_sd_configs. `tests/interop/build-prometheus` builds one with it.
"""

import asyncio
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.dev import Dev, running_dev
from tests.support.processes import free_port
from tests.support.registry import Client, running_registry
from tests.support.waiting import until

BUILD = Path(__file__).with_name("build-prometheus")
BUILD_S = 900
WAIT = "wait=120000ms"
SERVICE = {"Name": "web", "ID": "web-1", "Port": 8080, "Tags": ["prod", "v1"], "Meta": {"team": "a"}}


class Replay:
    """What discovery/consul of Prometheus asks and keeps, call for call: the datacenter once, the names of
    the services in a loop, and each service in a loop of its own."""

    def __init__(self, client: Client, tags: str = "") -> None:
        self._client = client
        self._tags = tags
        self.targets: dict[str, set[str]] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        assert (await self._client.get("/v1/agent/self"))["Config"]["Datacenter"] == "dc1"
        index = 0
        while True:
            found, index = await self._ask(f"/v1/catalog/services?index={index}&stale&{WAIT}&dc=dc1", index)
            for name in found.keys() - self._watching.keys():
                self._watching[name] = asyncio.create_task(self._watch(name))
            for name in self._watching.keys() - found.keys():
                self._watching.pop(name).cancel()
                self.targets.pop(name, None)

    async def _watch(self, name: str) -> None:
        index = 0
        while True:
            path = f"/v1/health/service/{name}?index={index}&stale&{WAIT}&dc=dc1{self._tags}"
            rows, index = await self._ask(path, index)
            self.targets[name] = {
                f"{row['Service']['Address'] or row['Node']['Address']}:{row['Service']['Port']}"
                for row in rows
            }

    async def _ask(self, path: str, before: int) -> tuple[Any, int]:
        status, headers, body = await self._client.call("GET", path)
        assert status == 200, body
        int(headers["X-Consul-LastContact"])
        assert headers["X-Consul-KnownLeader"] == "true"
        after = int(headers["X-Consul-Index"])
        return json.loads(body), after if after >= before else 0

    def close(self) -> None:
        for task in self._watching.values():
            task.cancel()


@pytest.mark.parametrize("tags", ["", "&tag=prod&tag=v1"])
async def test_targets_appear_and_vanish_by_prometheus_s_calls(tags: str) -> None:
    async with running_registry() as client:
        replay = Replay(client, tags)
        task = asyncio.create_task(replay.run())
        try:
            await client.register(SERVICE)
            await until(lambda: replay.targets.get("web") == {"127.0.0.1:8080"}, "a target")
            second = SERVICE | {"ID": "web-2", "Address": "127.0.0.2"}
            await client.register(second)
            await until(
                lambda: replay.targets["web"] == {"127.0.0.1:8080", "127.0.0.2:8080"},
                "another one",
            )
            await client.put("/v1/agent/service/deregister/web-1")
            await until(lambda: replay.targets["web"] == {"127.0.0.2:8080"}, "the first one gone")
            await client.put("/v1/agent/service/deregister/web-2")
            await until(lambda: "web" not in replay.targets, "none")
            assert not task.done()
        finally:
            task.cancel()
            replay.close()


@pytest.fixture(scope="module")
def upstream() -> str:
    """The path of a Prometheus that knows Consul."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed, so Prometheus cannot be built; its calls are replayed")
    try:
        built = subprocess.run([BUILD], stdout=subprocess.PIPE, text=True, check=True, timeout=BUILD_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"Prometheus could not be built here, its calls are replayed: {error}")
    return built.stdout.strip()


CONFIG = """\
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: mesh
    consul_sd_configs:
      - server: {server}
        refresh_interval: 1s
        filter: 'ServiceMeta.team == "a"'
    relabel_configs:
      - {{source_labels: [__meta_consul_service], target_label: service}}
      - {{source_labels: [__meta_consul_service_id], target_label: id}}
      - {{source_labels: [__meta_consul_tags], target_label: tags}}
      - {{source_labels: [__meta_consul_service_metadata_team], target_label: team}}
      - {{source_labels: [__meta_consul_health], target_label: health}}
      - {{source_labels: [__meta_consul_node], target_label: node}}
      - {{source_labels: [__meta_consul_dc], target_label: dc}}
"""


@contextmanager
def prometheus(program: str, folder: Path, dev: Dev) -> Iterator[Callable[[], dict[str, dict[str, str]]]]:
    """Runs; answers its targets: instance id -> labels."""
    port, config = free_port(), folder / "prometheus.yml"
    config.write_text(CONFIG.format(server=dev.http))
    command = [
        *(program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def targets() -> dict[str, dict[str, str]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/targets", timeout=5) as answer:
                active = json.load(answer)["data"]["activeTargets"]
        except OSError:
            return {}
        return {it["labels"]["id"]: it["labels"] for it in active}

    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield targets
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.long
async def test_upstream_prometheus_finds_targets_and_loses_them(upstream: str, tmp_path: Path) -> None:
    with running_dev("--node-name", "n1") as dev, prometheus(upstream, tmp_path, dev) as targets:
        register = "/v1/agent/service/register"
        dev.ok("PUT", register, SERVICE | {"Check": {"TTL": "1h", "Status": "passing"}})
        dev.ok("PUT", register, {"Name": "other", "Port": 1, "Meta": {"team": "b"}})
        await until(lambda: targets().keys() == {"web-1"}, "its target", 60)
        assert targets()["web-1"] == {
            "instance": "127.0.0.1:8080",
            "job": "mesh",
            "service": "web",
            "id": "web-1",
            "tags": ",prod,v1,",
            "team": "a",
            "health": "passing",
            "node": "n1",
            "dc": "dc1",
        }
        dev.ok("PUT", register, SERVICE | {"ID": "web-2", "Address": "127.0.0.2"})
        await until(lambda: targets().keys() == {"web-1", "web-2"}, "a second one", 60)
        dev.ok("PUT", "/v1/agent/service/maintenance/web-2?enable=true")
        await until(lambda: targets()["web-2"]["health"] == "maintenance", "maintenance is seen", 60)
        dev.ok("PUT", "/v1/agent/service/deregister/web-1")
        await until(lambda: targets().keys() == {"web-2"}, "the first one gone", 60)
        dev.ok("PUT", "/v1/agent/service/deregister/web-2")
        await until(lambda: not targets(), "none", 60)

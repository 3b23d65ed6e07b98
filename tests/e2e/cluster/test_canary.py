"""A canary while the registry's leader is lost: another server goes on with it, from what the log says."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from examples.demo.processes import Processes
from tests.support.mesh import in_thread
from tests.support.processes import free_port
from tests.support.servers import Cluster, Server, eventually, running_servers
from tests.support.versions import HOST, Version, application, calling
from tests.support.waiting import until
from weft.credential import Credential

pytestmark = pytest.mark.long

INTERVAL_S = 4.0


@dataclass
class Shop:
    cluster: Cluster
    home: Server  # the node of all instances; it does not lead
    url: str
    v2: Version


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        cluster = stack.enter_context(running_servers(tmp_path, 3))
        processes = stack.enter_context(Processes(tmp_path))
        home = cluster.followers()[0]
        port = free_port()
        apps = [stack.enter_context(application(Version(name))) for name in ("v1", "v2")]
        for number, app in enumerate(apps, 1):
            sidecar(processes, home, f"sale-{number}", "sale", app.port, {}, version=app.name)
        upstream = {"DestinationName": "sale", "LocalBindPort": port, "Config": {"protocol": "http"}}
        sidecar(processes, home, "shopper", "shopper", 1, {"Upstreams": [upstream]})
        intention = "/v1/connect/intentions/exact?source=shopper&destination=sale"
        home.ok("PUT", intention, {"Action": "allow"})
        subsets = {name: {"Filter": f"Service.Meta.version == {name}"} for name in ("v1", "v2")}
        resolver = {"Kind": "service-resolver", "Name": "sale", "DefaultSubset": "v1", "Subsets": subsets}
        home.ok("PUT", "/v1/config", resolver)
        yield Shop(cluster, home, f"http://{HOST}:{port}/", apps[1])


def sidecar(
    processes: Processes, home: Server, name: str, service: str, port: int, proxy: dict[str, Any], **meta: str
) -> None:
    connect = {"SidecarService": {"Port": free_port(), "Checks": [], "Proxy": proxy}}
    definition = {
        "ID": name,
        "Name": service,
        "Address": HOST,
        "Port": port,
        "Meta": meta,
        "Connect": connect,
    }
    told = home.ok("PUT", "/v1/agent/service/register?credential", definition)
    path = home.folder / f"{name}.credential"
    Credential.from_json(json.dumps(told)).write(path)
    admin = f"{HOST}:{free_port()}"
    processes.start_weft(name, "sidecar", "--credential", str(path), "--admin-address", admin)


def canary(server: Server) -> Any:
    """None while nobody leads."""
    status, _, body = server.call("GET", "/v1/mesh/canaries")
    return json.loads(body)[0] if status == 200 else None


def history(server: Server) -> list[tuple[str, float, datetime]]:
    found = canary(server)
    lines = found["Status"]["History"] if found else []
    return [(it["Event"], it.get("Weight", 0), datetime.fromisoformat(it["Time"])) for it in lines]


async def test_a_canary_goes_on_under_the_next_leader(shop: Shop) -> None:
    """It is promoted, and no step was shorter than its interval, whoever watched it."""
    home, killed = shop.home, shop.cluster.leader()
    entry = {
        "Kind": "service-canary",
        "Name": "sale",
        "ServiceSubset": "v2",
        "Steps": [20, 60, 100],
        "Interval": f"{INTERVAL_S:g}s",
        "MinRequests": 10,
        "Patience": "120s",
    }
    async with calling(shop.url) as calls:
        await until(lambda: calls.latest(40) == {"v1"}, "calls to v1", 60)
        before = calls.failed  # while the sidecars started
        await in_thread(home.ok, "PUT", "/v1/config", entry)
        await until(lambda: "v2" in calls.latest(40), "calls to v2", 60)
        known = await in_thread(history, home)
        killed.kill()
        leader = await in_thread(shop.cluster.leader)
        assert leader is not killed
        await until(lambda: calls.latest(40) == {"v2"}, "all calls go to v2", 90)
        await in_thread(eventually, lambda: canary(home)["Status"]["Phase"] == "promoted", "its end")
    assert calls.failed == before
    lines = await in_thread(history, leader)
    assert lines[: len(known)] == known
    assert [(event, weight) for event, weight, _ in lines] == [
        ("start", 0),
        ("step", 20),
        ("step", 60),
        ("step", 100),
        ("promoted", 100),
    ]
    times = [at for _, _, at in lines[1:]]
    watched = [(later - at).total_seconds() for at, later in pairwise(times)]
    assert min(watched) >= INTERVAL_S


async def test_a_version_that_turns_bad_under_the_next_leader_is_taken_back(shop: Shop) -> None:
    home, killed = shop.home, shop.cluster.leader()
    entry = {
        "Kind": "service-canary",
        "Name": "sale",
        "ServiceSubset": "v2",
        "Steps": [50, 100],
        "Interval": "1h",
    }
    async with calling(shop.url) as calls:
        await until(lambda: calls.latest(40) == {"v1"}, "calls to v1", 60)
        await in_thread(home.ok, "PUT", "/v1/config", entry)
        await until(lambda: "v2" in calls.latest(40), "calls to v2", 60)
        killed.kill()
        shop.v2.status = 500
        await in_thread(shop.cluster.leader)
        await until(lambda: calls.latest(60) == {"v1"}, "all calls go to v1 again", 90)
    reason = (await in_thread(canary, home))["Status"]["History"][-1]["Reason"]
    assert "calls failed" in reason
    assert home.call("GET", "/v1/config/service-splitter/sale")[0] == 404

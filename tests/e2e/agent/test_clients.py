"""Consul's client against an agent, as programs on its machine use it."""

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import consul
import pytest

from tests.support.agents import Agent, running_agents
from tests.support.servers import TOKEN, Cluster, eventually, running_servers
from weft.cli import run


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_servers(tmp_path_factory.mktemp("cluster"), 1) as found:
        yield found


@pytest.fixture(scope="module")
def agent(cluster: Cluster) -> Iterator[Agent]:
    with running_agents(cluster, 1) as (found,):
        yield found


@pytest.fixture
def client(agent: Agent) -> Any:
    host, _, port = agent.told["http"].partition(":")
    return consul.Consul(host=host, port=int(port), token=TOKEN)


def test_https_serves_other_machines_and_proves_itself(cluster: Cluster, tmp_path: Path) -> None:
    assert run(["tls", "cert", "create", "--node", "agent", "--directory", str(cluster.folder)]) == 0
    files = [str(cluster.folder / f"dc1-server-agent{end}") for end in (".pem", "-key.pem")]
    flags = ("--https-port", "0", "--tls-cert", files[0], "--tls-key", files[1])
    with running_agents(cluster, 1, *flags, names=("secure",)) as (agent,):
        trusting = ssl.create_default_context(cafile=str(cluster.folder / "weft-server-ca.pem"))
        url = f"https://{agent.told['https']}/v1/catalog/nodes?token={TOKEN}"
        with urllib.request.urlopen(url, context=trusting, timeout=30) as answer:
            assert {row["Node"] for row in json.load(answer)} >= {"secure"}
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url, context=ssl.create_default_context(), timeout=30)


def passing(client: Any, service: str, **how: Any) -> list[str]:
    _, found = client.health.service(service, passing=True, **how)
    return [row["Service"]["ID"] for row in found]


def test_py_consul_registers_and_finds(client: Any) -> None:
    check = consul.Check.ttl("600s")
    assert client.agent.service.register("web", service_id="web-1", port=80, tags=["v1"], check=check)
    assert client.agent.services()["web-1"]["Port"] == 80
    eventually(lambda: client.catalog.service("web")[1], "in the catalog")
    assert passing(client, "web") == []
    assert client.agent.check.ttl_pass("service:web-1")
    eventually(lambda: passing(client, "web") == ["web-1"], "passing")
    assert passing(client, "web", tag="v1") == ["web-1"]
    assert passing(client, "web", near="_agent") == ["web-1"]
    index, nodes = client.catalog.nodes()
    assert int(index) >= 1
    assert {row["Node"] for row in nodes} >= {"s1", "a1"}
    assert client.agent.service.maintenance("web-1", True, "moving")
    eventually(lambda: passing(client, "web") == [], "in maintenance")
    assert client.agent.service.maintenance("web-1", False)
    eventually(lambda: passing(client, "web") == ["web-1"], "back")
    assert client.agent.service.deregister("web-1")
    eventually(lambda: client.catalog.service("web")[1] == [], "gone")


def test_py_consul_keeps_keys_locks_and_sessions(client: Any) -> None:
    assert client.kv.put("a/b", "one")
    assert client.kv.get("a/b")[1]["Value"] == b"one"
    assert client.kv.get("a/", keys=True)[1] == ["a/b"]
    session = client.session.create(ttl=10, behavior="delete")
    assert client.kv.put("lock", "mine", acquire=session)
    assert client.kv.get("lock")[1]["Session"] == session
    assert client.session.renew(session)["ID"] == session
    assert client.session.destroy(session)
    assert client.kv.delete("a/", recurse=True)


def test_py_consul_watches_through_the_agent(client: Any) -> None:
    index, _ = client.kv.get("watched")
    seen: list[Any] = []
    watcher = threading.Thread(target=lambda: seen.append(client.kv.get("watched", index=index, wait="30s")))
    watcher.start()
    assert client.kv.put("watched", "now")
    watcher.join(30)
    assert seen[0][1]["Value"] == b"now"


def test_a_snapshot_goes_through_whole(client: Any, agent: Agent, tmp_path: Path) -> None:
    status, headers, archive = agent.call("GET", "/v1/snapshot")
    assert (status, archive[:2]) == (200, b"\x1f\x8b")
    client.kv.put("after", "the snapshot")
    assert agent.call("PUT", "/v1/snapshot", archive)[0] == 200
    eventually(lambda: client.kv.get("after")[1] is None, "as the snapshot has it")
    assert "Transfer-Encoding" not in headers or "Content-Length" not in headers

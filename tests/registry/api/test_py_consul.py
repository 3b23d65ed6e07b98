"""The public Python client for Consul, on the endpoints in scope."""

import asyncio
from typing import Any

import consul
import pytest

from tests.support.registry import Client


@pytest.fixture
def py_consul(client: Client) -> Any:
    host, _, port = client.registry.http.partition(":")
    return consul.Consul(host=host, port=int(port))


async def test_py_consul_registers_and_finds_a_service(py_consul: Any) -> None:
    def story() -> None:
        agent, catalog, health = py_consul.agent, py_consul.catalog, py_consul.health
        assert agent.service.register("foo", service_id="foo:1", port=80, check=consul.Check.ttl("60s"))
        assert set(agent.services()) == {"foo:1"}
        assert set(agent.checks()) == {"service:foo:1"}
        index, services = catalog.services()
        assert set(services) == {"consul", "foo"}
        assert int(index) > 0
        assert health.service("foo", passing=True)[1] == []
        assert agent.check.ttl_pass("service:foo:1")
        index, nodes = health.service("foo", passing=True)
        assert [node["Service"]["ID"] for node in nodes] == ["foo:1"]
        assert [check["CheckID"] for check in nodes[0]["Checks"]] == ["serfHealth", "service:foo:1"]
        assert agent.check.ttl_warn("service:foo:1")
        assert agent.check.ttl_fail("service:foo:1")
        assert [check["Status"] for check in health.checks("foo")[1]] == ["critical"]
        assert [row["ServiceID"] for row in catalog.service("foo")[1]] == ["foo:1"]
        assert health.service("foo", index=index, wait="10ms")[0]
        assert agent.service.deregister("foo:1")
        assert catalog.service("foo")[1] == []

    await asyncio.to_thread(story)


async def test_py_consul_registers_checks_of_every_kind(py_consul: Any) -> None:
    def story() -> None:
        agent = py_consul.agent
        assert agent.service.register(
            "foo1", check=consul.Check.http("http://127.0.0.1:1", "10s", timeout="1s")
        )
        assert agent.service.register("foo2", check=consul.Check.tcp("127.0.0.1", 1, "10s"))
        assert agent.check.register("own", check=consul.Check.ttl("100ms"))
        assert {row["Type"] for row in agent.checks().values()} == {"http", "tcp", "ttl"}
        assert agent.check.deregister("own")
        assert "own" not in agent.checks()

    await asyncio.to_thread(story)


async def test_py_consul_meets_errors_it_knows(py_consul: Any) -> None:
    def story() -> None:
        with pytest.raises(consul.ConsulException):
            py_consul.catalog.services(dc="dc2")
        with pytest.raises(consul.exceptions.BadRequest):
            py_consul.agent.service.register("")
        assert py_consul.status.leader()
        assert py_consul.status.peers()
        assert py_consul.agent.self()["Config"]["NodeName"] == "n1"
        assert [node["Node"] for node in py_consul.catalog.nodes()[1]] == ["n1"]
        assert py_consul.catalog.datacenters() == ["dc1"]

    await asyncio.to_thread(story)

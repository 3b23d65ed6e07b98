"""Connect.SidecarService expands as in Consul."""

import asyncio

import pytest

from registry.agent.errors import InvalidDefinition
from registry.agent.service_definition import Home, parse_service
from registry.agent.sidecar_service import PORTS, expand
from tests.support.registry import Client

HOME = Home("n1", "dc1")


def spec(body: bytes):  # type: ignore[no-untyped-def]
    return parse_service(body, HOME)


def test_defaults_come_from_the_application() -> None:
    parent = spec(
        b'{"Name":"web","ID":"w1","Port":8080,"Tags":["a"],"Meta":{"k":"v"},"Connect":{"SidecarService":{}}}'
    )
    row = expand(parent, 21000).service
    assert (row.id, row.name, row.kind, row.port) == (
        "w1-sidecar-proxy",
        "web-sidecar-proxy",
        "connect-proxy",
        21000,
    )
    assert (row.tags, row.meta) == (("a",), {"k": "v"})
    assert row.proxy is not None
    assert (row.proxy.destination_service, row.proxy.destination_service_id) == ("web", "w1")
    assert (row.proxy.local_address, row.proxy.local_port) == ("127.0.0.1", 8080)


def test_default_checks_are_the_listener_and_the_application() -> None:
    parent = spec(b'{"Name":"web","Port":8080,"Connect":{"SidecarService":{}}}')
    listening, aliasing = expand(parent, 21000).checks
    assert (listening.id, listening.name) == ("service:web-sidecar-proxy:1", "Connect Sidecar Listening")
    assert listening.definition.tcp == "127.0.0.1:21000"
    assert (aliasing.id, aliasing.name) == ("service:web-sidecar-proxy:2", "Connect Sidecar Aliasing web")
    assert aliasing.definition.alias_service == "web"


def test_checks_and_proxy_that_are_given_are_kept() -> None:
    parent = spec(
        b'{"Name":"web","SocketPath":"/run/web.sock","Connect":{"SidecarService":{"Checks":[],"Proxy":'
        b'{"Upstreams":[{"DestinationName":"orders","LocalBindPort":9191}]}}}}'
    )
    found = expand(parent, 21000)
    assert found.checks == ()
    assert found.service.proxy is not None
    assert found.service.proxy.local_socket_path == "/run/web.sock"
    assert [row.destination_name for row in found.service.proxy.upstreams] == ["orders"]


@pytest.mark.parametrize(
    "sidecar",
    [
        b'{"ID":"x"}',
        b'{"Connect":{"SidecarService":{}}}',
        b'{"Kind":"connect-proxy","Port":1}',
        b'{"Proxy":{"DestinationServiceName":"other"}}',
        b'{"Proxy":{"DestinationServiceID":"other"}}',
        b'{"Proxy":{"Mode":"transparent"}}',
        b'{"Proxy":{"Upstreams":[{"LocalBindPort":1}]}}',
        b'{"Proxy":{"Upstreams":[{"DestinationName":"a"}]}}',
        b'{"Proxy":{"Upstreams":[{"DestinationName":"a","LocalBindPort":1,"LocalBindAddress":"0.0.0.0"}]}}',
        b'{"Proxy":{"Upstreams":[{"DestinationName":"a","LocalBindPort":1,"DestinationPeer":"p"}]}}',
        b'{"Proxy":{"Upstreams":[{"DestinationName":"a","LocalBindPort":1},{"DestinationName":"b","LocalBindPort":1}]}}',
    ],
)
def test_what_a_sidecar_cannot_be_is_refused(sidecar: bytes) -> None:
    with pytest.raises(InvalidDefinition):
        expand(spec(b'{"Name":"web","Port":8080,"Connect":{"SidecarService":' + sidecar + b"}}"), 21000)


async def test_ports_are_chosen_once_and_never_twice(client: Client) -> None:
    async def port(name: str) -> int:
        await client.register({"Name": name, "Connect": {"SidecarService": {}}})
        found: int = (await client.get("/v1/agent/services"))[f"{name}-sidecar-proxy"]["Port"]
        return found

    first, second = await port("a"), await port("b")
    assert first in PORTS
    assert second in PORTS
    assert first != second
    assert await port("a") == first


async def test_registrations_at_the_same_time_choose_different_ports(client: Client) -> None:
    names = [f"s{n}" for n in range(12)]
    registering = (client.register({"Name": name, "Connect": {"SidecarService": {}}}) for name in names)
    await asyncio.gather(*registering)
    found = await client.get("/v1/agent/services")
    assert len({found[f"{name}-sidecar-proxy"]["Port"] for name in names}) == len(names)


async def test_deregistering_takes_the_sidecar_along(client: Client) -> None:
    await client.register({"Name": "web", "Connect": {"SidecarService": {}}})
    assert len(await client.get("/v1/health/connect/web")) == 1
    await client.put("/v1/agent/service/deregister/web")
    assert await client.get("/v1/agent/services") == {}
    assert await client.get("/v1/agent/checks") == {}

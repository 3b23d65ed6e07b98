"""`/v1/mesh/graph`: what sidecars have measured, to those who may read the services."""

import json
from typing import Any

import pytest

from registry.measurements.tally import Edge, Tally
from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.support.registry import Client, running_registry

V2 = "v2.orders.default.default.dc1"


def measured(client: Client) -> None:
    counted = {
        Edge(False, "web", "orders", "default", V2): Tally(200, 4, [0, 0, 198, 0, 0, 0, 2], 0.5),
        Edge(False, "orders", "stock"): Tally(10, 0, [10], 0.001),
    }
    client.registry.measuring.take(iter(counted.items()))


def rows(document: Any) -> list[tuple[str, str]]:
    return [(edge["Source"], edge["Destination"]) for edge in document["Edges"]]


async def test_edges_carry_rate_errors_and_latency(client: Client) -> None:
    await client.register({"Name": "web", "Connect": {"SidecarService": {}}})
    await client.register({"Name": "idle", "Port": 1, "Connect": {"SidecarService": {}}})
    await client.register({"Name": "outside", "Port": 2})
    measured(client)
    found = await client.get("/v1/mesh/graph")
    assert found["Window"] == "30s"
    assert rows(found) == [("orders", "stock"), ("web", "orders")]
    edge = found["Edges"][1]
    assert (edge["Requests"], edge["Errors"], edge["ErrorRate"]) == (200, 4, 0.02)
    assert edge["P50Ms"] <= 2.5
    assert edge["P99Ms"] <= 2.5, "198 of 200 are faster"
    (target,) = edge["Targets"]
    assert (target["Subset"], target["Requests"]) == ("v2", 200)
    assert {it["Name"]: it["Instances"] for it in found["Services"]} == {
        "web": 1,
        "orders": 0,
        "stock": 0,
        "idle": 1,
    }


async def test_the_rate_is_over_the_time_that_was_heard(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = client.registry.measuring._now()
    monkeypatch.setattr(client.registry.measuring, "_hears_since", now - 20)
    monkeypatch.setattr(client.registry.measuring, "_now", lambda: now)
    measured(client)
    (edge,) = (await client.get("/v1/mesh/graph?service=web"))["Edges"]
    assert edge["RequestsPerSecond"] == 10.0
    (edge,) = (await client.get("/v1/mesh/graph?service=web&window=10s"))["Edges"]
    assert edge["RequestsPerSecond"] == 20.0


async def test_one_service_has_what_calls_it_and_what_it_calls(client: Client) -> None:
    measured(client)
    found = await client.get("/v1/mesh/graph?service=stock")
    assert rows(found) == [("orders", "stock")]
    assert {it["Name"] for it in found["Services"]} == {"orders", "stock"}


@pytest.mark.parametrize("window", ["0s", "61s", "soon", "-1s"])
async def test_the_window_is_bounded(client: Client, window: str) -> None:
    status, _, body = await client.call("GET", f"/v1/mesh/graph?window={window}")
    assert status == 400
    assert b"window" in body


async def test_nobody_sees_edges_of_services_that_the_token_may_not_read() -> None:
    async with running_registry(acl=AclSettings()) as client:
        management = await bootstrap(client)
        rules = 'service "orders" { policy = "read" }\nservice "stock" { policy = "read" }'
        await make(client, management, "/v1/acl/policy", {"Name": "some", "Rules": rules})
        token = await make(client, management, "/v1/acl/token", {"Policies": [{"Name": "some"}]})
        measured(client)
        _, headers, body = await client.call("GET", "/v1/mesh/graph", X_Consul_Token=token["SecretID"])
        found = json.loads(body)
        assert rows(found) == [("orders", "stock")]
        assert {it["Name"] for it in found["Services"]} == {"orders", "stock"}
        assert headers["X-Consul-Results-Filtered-By-ACLs"] == "true"
        assert b"web" not in body
        _, _, body = await client.call("GET", "/v1/mesh/graph", X_Consul_Token=management)
        assert len(rows(json.loads(body))) == 2

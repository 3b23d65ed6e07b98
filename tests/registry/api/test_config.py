"""Config entries over HTTP: shapes and refusals as Consul's clients know them."""

import asyncio
import json
from typing import Any

import consul
import pytest

from tests.support.registry import Client

RESOLVER = {
    "kind": "service-resolver",
    "name": "orders",
    "default_subset": "v1",
    "subsets": {"v1": {"filter": "Service.Meta.version == v1"}, "v2": {"only_passing": True}},
    "connect_timeout": "250ms",
    "Failover": {"*": {"Datacenters": ["dc2"]}},
}
SPLITTER = {
    "Kind": "service-splitter",
    "Name": "orders",
    "Splits": [{"Weight": 99.5, "ServiceSubset": "v1"}, {"Weight": 0.5, "ServiceSubset": "v2"}],
}
ROUTER = {
    "Kind": "service-router",
    "Name": "orders",
    "Routes": [
        {
            "Match": {"HTTP": {"PathPrefix": "/x"}},
            "Destination": {"ServiceSubset": "v2", "Mirrors": [{"Service": "audit", "Percent": 5}]},
        }
    ],
}


async def test_an_entry_is_written_read_listed_and_deleted(client: Client) -> None:
    assert await client.put("/v1/config", RESOLVER) == b"true"
    found = await client.get("/v1/config/service-resolver/orders")
    assert found == {
        "Kind": "service-resolver",
        "Name": "orders",
        "DefaultSubset": "v1",
        "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"OnlyPassing": True}},
        "ConnectTimeout": "250ms",
        "Failover": {"*": {"Datacenters": ["dc2"]}},
        "CreateIndex": found["ModifyIndex"],
        "ModifyIndex": found["ModifyIndex"],
    }
    assert await client.get("/v1/config/service-resolver") == [found]
    assert await client.get("/v1/config/service-resolver?filter=Name+==+nope") == []
    assert await client.put("/v1/config", found) == b"true"  # as a client sends back what it got
    assert await client.get("/v1/config/service-resolver/orders") == found
    status, _, body = await client.call("DELETE", "/v1/config/service-resolver/orders")
    assert (status, body) == (200, b"{}")
    status, headers, body = await client.call("GET", "/v1/config/service-resolver/orders")
    assert (status, body) == (404, b'Config entry not found for "service-resolver" / "orders"')
    assert int(headers["X-Consul-Index"]) > found["ModifyIndex"]


async def test_cas_compares_the_modify_index(client: Client) -> None:
    entry = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}
    assert await client.put("/v1/config?cas=0", entry) == b"true"
    assert await client.put("/v1/config?cas=0", entry) == b"false"
    index = (await client.get("/v1/config/service-defaults/web"))["ModifyIndex"]
    assert await client.put(f"/v1/config?cas={index}", entry | {"Protocol": "grpc"}) == b"true"
    assert await client.put(f"/v1/config?cas={index}", entry) == b"false"
    assert (await client.call("DELETE", f"/v1/config/service-defaults/web?cas={index}"))[2] == b"false"
    index = (await client.get("/v1/config/service-defaults/web"))["ModifyIndex"]
    assert (await client.call("DELETE", f"/v1/config/service-defaults/web?cas={index}"))[2] == b"true"
    status, _, body = await client.call("PUT", "/v1/config?cas=x", entry)
    assert (status, body) == (500, b'strconv.ParseUint: parsing "x": invalid syntax')


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "Request decoding failed: "),
        ({"Kind": "nope", "Name": "x"}, 400, "Request decoding failed: invalid config entry kind: nope"),
        ({"Kind": "api-gateway", "Name": "x"}, 400, "not supported yet"),
        ({"Name": "x"}, 400, "Request decoding failed: Payload does not contain a kind/Kind key"),
        ({"Kind": "service-defaults", "Name": "x", "Nope": 1}, 400, 'invalid config key "Nope"'),
        ({"Kind": "service-defaults", "Name": "x", "Protocol": 1}, 400, "Protocol: must be a string"),
        ({"Kind": "service-defaults", "Name": "x", "Protocol": "udp"}, 400, "Protocol: 'udp' is none of"),
        ({"Kind": "service-defaults", "Name": ""}, 400, "Name: is missing"),
        (
            SPLITTER | {"Splits": [{"Weight": 50}]},
            400,
            "Splits: the sum of all split weights must be 100, not 50",
        ),
        (SPLITTER, 500, 'service "orders" does not have a subset named "v1"'),
    ],
)
async def test_what_is_refused_names_the_field_and_the_reason(
    client: Client, body: Any, status: int, says: str
) -> None:
    found, _, text = await client.call("PUT", "/v1/config", body)
    assert (found, says in text.decode()) == (status, True), text


async def test_a_chain_cannot_be_made_impossible_from_any_side(client: Client) -> None:
    for entry in (RESOLVER, SPLITTER, ROUTER):
        await client.put("/v1/config", entry)
    defaults = {"Kind": "service-defaults", "Name": "orders", "Protocol": "tcp"}
    status, _, body = await client.call("PUT", "/v1/config", defaults)
    assert (status, body.decode()) == (
        500,
        'discovery chain "orders" uses a protocol "tcp" that does not permit advanced routing or splitting '
        "behavior",
    )
    everywhere = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "tcp"}}
    assert (await client.call("PUT", "/v1/config", everywhere))[0] == 500
    status, _, body = await client.call("DELETE", "/v1/config/service-resolver/orders")
    assert (status, body) == (500, b'service "orders" does not have a subset named "v2"')
    assert await client.put("/v1/config", defaults | {"Protocol": "grpc"}) == b"true"


async def test_intentions_are_one_thing_with_two_views(client: Client) -> None:
    await client.put("/v1/connect/intentions/exact?source=web&destination=orders", {"Action": "allow"})
    entry = await client.get("/v1/config/service-intentions/orders")
    assert [(it["Name"], it["Action"], it["Precedence"]) for it in entry["Sources"]] == [("web", "allow", 9)]
    entry["Sources"].append(
        {"Name": "*", "Permissions": [{"Action": "allow", "HTTP": {"PathExact": "/x", "Methods": ["GET"]}}]}
    )
    assert await client.put(f"/v1/config?cas={entry['ModifyIndex']}", entry) == b"true"
    assert await client.put(f"/v1/config?cas={entry['ModifyIndex']}", entry) == b"false"
    rows = await client.get("/v1/connect/intentions")
    assert [(row["SourceName"], row["Action"], row.get("Permissions", [])) for row in rows] == [
        ("web", "allow", []),
        ("*", "", [{"Action": "allow", "HTTP": {"PathExact": "/x", "Methods": ["GET"]}}]),
    ]
    await client.call("DELETE", "/v1/connect/intentions/exact?source=web&destination=orders")
    entry = await client.get("/v1/config/service-intentions/orders")
    assert [it["Name"] for it in entry["Sources"]] == ["*"]
    assert [it["Name"] for it in await client.get("/v1/config/service-intentions")] == ["orders"]
    await client.call("DELETE", "/v1/config/service-intentions/orders")
    assert await client.get("/v1/connect/intentions") == []


async def test_a_provider_that_intentions_need_comes_first_and_stays(client: Client) -> None:
    entry = {
        "Kind": "service-intentions",
        "Name": "orders",
        "Sources": [{"Name": "*", "Action": "allow"}],
        "JWT": {"Providers": [{"Name": "okta", "VerifyClaims": [{"Path": ["aud"], "Value": "x"}]}]},
    }
    status, _, body = await client.call("PUT", "/v1/config", entry)
    assert (status, b"'okta' does not exist" in body) == (400, True)
    provider = {
        "Kind": "jwt-provider",
        "Name": "okta",
        "JSONWebKeySet": {"Remote": {"URI": "https://a.example/k"}},
    }
    assert await client.put("/v1/config", provider) == b"true"
    assert await client.put("/v1/config", entry) == b"true"
    status, _, body = await client.call("DELETE", "/v1/config/jwt-provider/okta")
    assert (status, b"intentions of 'orders'" in body) == (400, True)


async def test_a_chain_is_shown_compiled(client: Client) -> None:
    plain = (await client.get("/v1/discovery-chain/orders"))["Chain"]
    assert plain["Default"] is True
    assert plain["StartNode"] == "resolver:orders.default.default.dc1"
    for entry in (RESOLVER, SPLITTER, ROUTER):
        await client.put("/v1/config", entry)
    chain = (await client.get("/v1/discovery-chain/orders"))["Chain"]
    assert chain["StartNode"] == "router:orders.default.default"
    assert {node["Type"] for node in chain["Nodes"].values()} == {"router", "splitter", "resolver"}
    first, last = chain["Nodes"][chain["StartNode"]]["Routes"]
    assert first["NextNode"] == "resolver:v2.orders.default.default.dc1"
    assert last["NextNode"] == "splitter:orders.default.default"
    assert set(chain["Targets"]) == {
        "audit.default.default.dc1",
        *(f"{subset}.orders.default.default.{dc}" for subset in ("v1", "v2") for dc in ("dc1", "dc2")),
    }
    v1 = chain["Nodes"]["resolver:v1.orders.default.default.dc1"]["Resolver"]
    assert v1 == {
        "Default": False,
        "ConnectTimeout": "250ms",
        "Target": "v1.orders.default.default.dc1",
        "Failover": {"Targets": ["v1.orders.default.default.dc2"]},
    }
    asked = {"OverrideProtocol": "tcp", "OverrideConnectTimeout": "7s"}
    _, _, body = await client.call("POST", "/v1/discovery-chain/orders", asked)
    other = json.loads(body)["Chain"]
    assert other["Protocol"] == "tcp"
    assert other["StartNode"] == "resolver:v1.orders.default.default.dc1"
    assert other["Nodes"][other["StartNode"]]["Resolver"]["ConnectTimeout"] == "7s"


async def test_a_watch_of_a_chain_wakes_for_its_entries_only(client: Client) -> None:
    await client.put("/v1/config", RESOLVER)
    index = await client.index("/v1/discovery-chain/orders")
    waiting = asyncio.create_task(client.get(f"/v1/discovery-chain/orders?index={index}&wait=30s"))
    await client.put("/v1/config", {"Kind": "service-defaults", "Name": "other", "Protocol": "http"})
    assert await client.index("/v1/discovery-chain/orders") == index
    await client.put("/v1/config", SPLITTER)
    assert "splitter" in (await waiting)["Chain"]["StartNode"]


async def test_py_consul_writes_entries_and_reads_chains(client: Client) -> None:
    host, _, port = client.registry.http.partition(":")
    known = consul.Consul(host=host, port=int(port))

    def story() -> None:
        body = {key: value for key, value in RESOLVER.items() if key not in ("kind", "name")}
        assert known.config.set("service-resolver", "orders", body)
        found = known.config.get("service-resolver", "orders")
        assert found["DefaultSubset"] == "v1"
        assert not known.config.set("service-resolver", "orders", body, cas=1)
        assert [it["Name"] for it in known.config.list("service-resolver", filter_expr="Name == orders")] == [
            "orders"
        ]
        assert known.discovery_chain.get("orders")["Chain"]["ServiceName"] == "orders"
        assert known.discovery_chain.get("orders", override_protocol="grpc")["Chain"]["Protocol"] == "grpc"
        assert known.config.delete("service-resolver", "orders", cas=found["ModifyIndex"])
        assert known.config.delete("service-resolver", "orders")
        with pytest.raises(consul.ConsulException):
            known.config.set("service-splitter", "orders", {"Splits": SPLITTER["Splits"]})

    await asyncio.to_thread(story)

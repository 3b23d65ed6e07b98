"""Intentions by id, gateways, exports, usage, keyring, and the OpenAPI document."""

import json

from registry.api.routes import ROUTES
from tests.support.registry import Client

PAIR = {"SourceName": "web", "DestinationName": "db", "Action": "deny"}
PATH = "/v1/connect/intentions"


async def test_an_intention_by_its_id(client: Client) -> None:
    status, _, body = await client.call("POST", PATH, PAIR)
    assert status == 200
    made = json.loads(body)["ID"]
    shown = await client.get(f"{PATH}/{made}")
    assert (shown["SourceName"], shown["DestinationName"], shown["Action"]) == ("web", "db", "deny")
    assert json.loads(await client.put(f"{PATH}/{made}", {**shown, "Action": "allow"})) == {"ID": made}
    exact = await client.get(f"{PATH}/exact?source=web&destination=db")
    assert (exact["ID"], exact["Action"]) == (made, "allow")
    assert (await client.call("DELETE", f"{PATH}/{made}"))[::2] == (200, b"true")
    for method in ("GET", "DELETE"):
        assert (await client.call(method, f"{PATH}/{made}"))[::2] == (404, b"Intention not found")


async def test_the_old_forms_refuse(client: Client) -> None:
    made = json.loads((await client.call("POST", PATH, PAIR))[2])["ID"]
    status, _, body = await client.call("POST", PATH, PAIR)
    assert (status, body) == (400, b"duplicate intention found: web => db")
    assert (await client.call("POST", PATH, {"SourceName": "web", "Action": "deny"}))[0] == 400
    other = await client.call("PUT", f"{PATH}/{made}", {"SourceName": "other", "Action": "deny"})
    assert other[0] == 400
    assert (await client.get(f"{PATH}/{made}"))["SourceName"] == "web"


async def test_a_node_with_its_services_as_a_list(client: Client) -> None:
    await client.register({"Name": "web", "ID": "web-1"})
    found = await client.get("/v1/catalog/node-services/n1")
    assert found["Node"]["Node"] == "n1"
    assert "web-1" in [row["ID"] for row in found["Services"]]
    assert await client.get("/v1/catalog/node-services/x") is None


async def test_there_are_no_gateways(client: Client) -> None:
    for path in ("/v1/health/ingress/web", "/v1/catalog/gateway-services/edge"):
        status, headers, body = await client.call("GET", path)
        assert (status, body) == (200, b"[]")
        assert int(headers["X-Consul-Index"]) >= 1


async def test_what_is_exported(client: Client) -> None:
    assert await client.get("/v1/exported-services") == []
    for name in ("api", "web"):
        await client.register({"Name": name})
    services = [
        {"Name": "*", "Consumers": [{"Peer": "east"}]},
        {"Name": "web", "Consumers": [{"Peer": "west"}]},
    ]
    await client.put("/v1/config", {"Kind": "exported-services", "Name": "default", "Services": services})
    assert await client.get("/v1/exported-services") == [
        {"Service": "api", "Consumers": {"Peers": ["east"], "Partitions": []}},
        {"Service": "web", "Consumers": {"Peers": ["east", "west"], "Partitions": []}},
    ]
    assert (await client.get("/v1/imported-services"))["ImportedServices"] == []


async def test_usage_counts(client: Client) -> None:
    await client.register({"Name": "web", "ID": "web-1", "Connect": {"SidecarService": {}}})
    found = (await client.get("/v1/operator/usage"))["Usage"]["dc1"]
    assert (found["Nodes"], found["BillableServiceInstances"]) == (1, 1)
    assert found["ConnectServiceInstances"]["connect-proxy"] == 1


async def test_a_keyring_is_refused_in_words(client: Client) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        status, _, body = await client.call(method, "/v1/operator/keyring")
        assert (status, b"no gossip keyring" in body) == (400, True)


async def test_the_document_names_every_route(client: Client) -> None:
    found = await client.get("/v1/openapi.json")
    named = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    routes = {
        (route.method, route.path.replace(":", "{") + ("}" if ":" in route.path else "")) for route in ROUTES
    }
    assert named == routes
    service = found["paths"]["/v1/health/service/{service}"]["get"]
    assert {"index", "wait", "stale", "filter", "dc", "service"} <= {
        row["name"] for row in service["parameters"]
    }
    ids = [one["operationId"] for methods in found["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))

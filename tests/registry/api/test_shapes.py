"""Bodies, field by field: reference section 7."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support.registry import Client, until

WEB = {
    "Name": "web",
    "ID": "web-1",
    "Tags": ["v1", "blue"],
    "Address": "10.0.0.7",
    "Port": 8080,
    "Meta": {"env": "prod"},
    "Weights": {"Passing": 10, "Warning": 1},
    "Check": {"HTTP": "http://127.0.0.1:1/health", "Interval": "1m", "Timeout": "1500ms"},
}


def without_indexes(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_indexes(v) for k, v in value.items() if k not in ("CreateIndex", "ModifyIndex")}
    return [without_indexes(each) for each in value] if isinstance(value, list) else value


async def test_health_service(client: Client) -> None:
    await client.register(WEB)
    (entry,) = without_indexes(await client.get("/v1/health/service/web"))
    assert set(entry) == {"Node", "Service", "Checks"}
    assert {key: entry["Node"][key] for key in ("Node", "Address", "Datacenter", "Meta")} == {
        "Node": "n1",
        "Address": "127.0.0.1",
        "Datacenter": "dc1",
        "Meta": {},
    }
    assert entry["Service"] == {
        "ID": "web-1",
        "Service": "web",
        "Tags": ["v1", "blue"],
        "Address": "10.0.0.7",
        "Meta": {"env": "prod"},
        "Port": 8080,
        "Weights": {"Passing": 10, "Warning": 1},
        "EnableTagOverride": False,
        "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}},
        "Connect": {},
        "PeerName": "",
    }
    alive, own = entry["Checks"]
    assert (alive["CheckID"], alive["ServiceID"], alive["Status"]) == ("serfHealth", "", "passing")
    assert own | {"Output": ""} == {
        "Node": "n1",
        "CheckID": "service:web-1",
        "Name": "Service 'web' check",
        "Status": "critical",
        "Notes": "",
        "Output": "",
        "ServiceID": "web-1",
        "ServiceName": "web",
        "ServiceTags": ["v1", "blue"],
        "Type": "http",
        "Interval": "1m0s",
        "Timeout": "1.5s",
        "ExposedPort": 0,
        "Definition": {},
    }


async def test_catalog_service(client: Client) -> None:
    await client.register(WEB)
    (row,) = await client.get("/v1/catalog/service/web")
    nodes = await client.get("/v1/catalog/nodes")
    expected = {
        "ID": nodes[0]["ID"],
        "Node": "n1",
        "ServiceID": "web-1",
        "ServiceName": "web",
        "ServiceTags": ["v1", "blue"],
        "ServiceAddress": "10.0.0.7",
        "ServicePort": 8080,
        "ServiceMeta": {"env": "prod"},
        "ServiceWeights": {"Passing": 10, "Warning": 1},
        "ServiceKind": "",
        "ServiceEnableTagOverride": False,
        "ServiceConnect": {},
        "NodeMeta": {},
    }
    assert {key: row[key] for key in expected} == expected


async def test_absent_things_are_empty_lists_and_a_null_node(client: Client) -> None:
    for path in (
        "health/service/x",
        "catalog/service/x",
        "health/checks/x",
        "health/connect/x",
        "catalog/connect/x",
    ):
        assert await client.get(f"/v1/{path}") == []
    assert await client.get("/v1/catalog/node/x") is None


async def test_tag_node_meta_and_passing_select(client: Client) -> None:
    await client.register(WEB)
    await client.register({"Name": "web", "ID": "web-2", "Tags": ["v2", "blue"]})

    async def ids(query: str) -> list[str]:
        return [row["Service"]["ID"] for row in await client.get(f"/v1/health/service/web{query}")]

    assert await ids("") == ["web-1", "web-2"]
    assert await ids("?tag=blue&tag=V1") == ["web-1"]
    assert await ids("?passing") == ["web-2"]
    assert await ids("?passing=false") == ["web-1", "web-2"]
    assert await ids("?node-meta=a:b") == []


async def test_services_are_names_with_the_union_of_their_tags(client: Client) -> None:
    await client.register(WEB)
    await client.register({"Name": "web", "ID": "web-2", "Tags": ["v2", "blue"]})
    assert await client.get("/v1/catalog/services") == {"consul": [], "web": ["blue", "v1", "v2"]}


async def test_what_nomad_compares_is_echoed_exactly(client: Client) -> None:
    """Reference 8.5: Nomad registers again every 30 s where an answer differs from what it sent."""
    upstream = {"DestinationName": "orders", "LocalBindPort": 9191, "Config": {"protocol": "grpc"}}
    definition = WEB | {
        "EnableTagOverride": True,
        "TaggedAddresses": {"lan": {"Address": "10.0.0.7", "Port": 8080}},
        "Connect": {"SidecarService": {"Port": 20000, "Proxy": {"Upstreams": [upstream]}}},
    }
    await client.register(definition)
    found = await client.get("/v1/agent/services")
    sent = {"Tags": ["v1", "blue"], "Meta": {"env": "prod"}, "EnableTagOverride": True}
    assert {key: found["web-1"][key] for key in sent} == sent
    assert found["web-1"]["TaggedAddresses"] == {"lan": {"Address": "10.0.0.7", "Port": 8080}}
    sidecar = found["web-1-sidecar-proxy"]
    assert (sidecar["Kind"], sidecar["Port"], sidecar["Tags"]) == ("connect-proxy", 20000, ["v1", "blue"])
    (echoed,) = sidecar["Proxy"]["Upstreams"]
    assert {key: echoed[key] for key in upstream} == upstream
    before = await client.index("/v1/health/service/web")
    await client.register(definition)
    assert await client.index("/v1/health/service/web") == before, "registering the same is no change"


async def test_agent_self_names_datacenter_and_node(client: Client) -> None:
    found = await client.get("/v1/agent/self")
    assert found["Config"]["Datacenter"] == "dc1"
    assert found["Config"]["NodeName"] == found["Member"]["Name"] == "n1"


async def test_status(client: Client) -> None:
    leader = await client.get("/v1/status/leader")
    assert ":" in leader
    assert await client.get("/v1/status/peers") == [leader]


@pytest.mark.parametrize("path", ["/v1/connect/ca/roots", "/v1/agent/connect/ca/roots"])
async def test_roots(client: Client, path: str) -> None:
    found = await client.get(path)
    (root,) = found["Roots"]
    assert root["Active"]
    assert root["ID"] == found["ActiveRootID"]
    certificate = x509.load_pem_x509_certificate(root["RootCert"].encode())
    assert root["SerialNumber"] == certificate.serial_number & (2**64 - 1)
    assert found["TrustDomain"].endswith(".consul")
    assert root["NotAfter"].endswith("Z")


async def test_roots_as_pem(client: Client) -> None:
    _, headers, body = await client.call("GET", "/v1/connect/ca/roots?pem=true")
    assert headers["Content-Type"] == "application/pem-certificate-chain"
    assert x509.load_pem_x509_certificate(body)


async def test_trap_2_a_leaf_comes_with_its_key_and_is_not_stored(client: Client) -> None:
    _, headers, _ = await client.call("GET", "/v1/agent/connect/ca/leaf/web")
    assert headers["Cache-Control"] == "no-store"
    found = await client.get("/v1/agent/connect/ca/leaf/web")
    assert int(headers["X-Consul-Index"]) == found["ModifyIndex"], "kept until half its life"
    leaf = x509.load_pem_x509_certificate(found["CertPEM"].encode())
    key = serialization.load_pem_private_key(found["PrivateKeyPEM"].encode(), None)
    assert leaf.public_key() == key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    roots = await client.get("/v1/agent/connect/ca/roots")
    assert uri == found["ServiceURI"] == f"spiffe://{roots['TrustDomain']}/ns/default/dc/dc1/svc/web"
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(roots["Roots"][0]["RootCert"].encode()))


async def test_a_leaf_for_a_name_that_no_identity_can_bear_is_refused(client: Client) -> None:
    assert (await client.call("GET", "/v1/agent/connect/ca/leaf/a%20b"))[0] == 400
    assert (await client.call("GET", "/v1/agent/connect/ca/leaf/"))[0] == 400


async def test_intentions(client: Client) -> None:
    exact = "/v1/connect/intentions/exact?source=web&destination=orders"
    assert await client.put(exact, {"Action": "deny", "Description": "for now"}) == b"true"
    await client.put("/v1/connect/intentions/exact?source=*&destination=orders", {"Action": "allow"})
    found = await client.get(exact)
    assert (found["SourceName"], found["DestinationName"], found["Action"]) == ("web", "orders", "deny")
    assert (found["Precedence"], found["Description"], found["SourceType"]) == (9, "for now", "consul")
    listed = await client.get("/v1/connect/intentions")
    assert [row["SourceName"] for row in listed] == ["web", "*"]
    matched = await client.get("/v1/connect/intentions/match?by=destination&name=default/orders&name=x")
    assert [row["Precedence"] for row in matched["default/orders"]] == [9, 8]
    assert matched["x"] == []
    for source, allowed in (("web", False), ("other", True)):
        path = f"/v1/connect/intentions/check?source={source}&destination=orders"
        assert await client.get(path) == {"Allowed": allowed}
    await client.put(exact, found | {"Action": "allow"})
    assert (await client.get(exact))["ID"] == found["ID"], "what a read answers can be sent back"
    for _ in range(2):
        assert (await client.call("DELETE", exact))[0] == 200
    assert (await client.call("GET", exact))[0] == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"Action": "maybe"}, {"Action": "allow", "Permissions": [{"Action": "allow"}]}, {"Acton": "deny"}],
)
async def test_an_intention_that_is_not_understood_whole_is_refused(client: Client, body: object) -> None:
    exact = "/v1/connect/intentions/exact?source=web&destination=orders"
    assert (await client.call("PUT", exact, body))[0] == 400
    assert await client.get("/v1/connect/intentions") == []


async def test_the_credential_document_is_shown_once_and_only_when_asked_for(client: Client) -> None:
    assert await client.put("/v1/agent/service/register", WEB) == b""
    first = await client.credential(WEB)
    assert first.instance_key == "dc1/n1/web-1"
    assert first.registry_addresses == (client.registry.grpc,)
    assert len(base64.urlsafe_b64decode(first.secret + "=")) == 32
    _, headers, _ = await client.call("PUT", "/v1/agent/service/register?credential", WEB)
    assert headers["Cache-Control"] == "no-store"


async def test_mesh_endpoints_show_the_virtual_address_of_their_service(client: Client) -> None:
    await client.register({"Name": "web", "Port": 80, "Connect": {"SidecarService": {}}})
    await until(lambda: client.registry.log.view().addressing)
    (row,) = client.registry.log.view().addresses.values()
    (found,) = await client.get("/v1/catalog/connect/web")
    expected = {"consul-virtual": {"Address": row.address, "Port": found["ServicePort"]}}
    assert {it: found["ServiceTaggedAddresses"][it] for it in expected} == expected
    for path in ("/v1/health/connect/web", "/v1/health/service/web-sidecar-proxy"):
        (entry,) = await client.get(path)
        assert {it: entry["Service"]["TaggedAddresses"][it] for it in expected} == expected
    services = (await client.get("/v1/catalog/node/n1"))["Services"]
    assert services["web-sidecar-proxy"]["TaggedAddresses"]["consul-virtual"] == expected["consul-virtual"]
    assert "TaggedAddresses" not in services["web"]

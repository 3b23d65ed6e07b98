"""Maintenance, health by status code, hash blocking, and what an agent tells of itself."""

import asyncio
import json

import pytest

from registry.process import AclSettings
from tests.support.registry import Client, running_registry

WEB = {"Name": "web", "ID": "web-1", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}
HEALTH = "/v1/agent/health/service/"


async def test_maintenance_takes_a_service_out_and_lets_it_in_again(client: Client) -> None:
    await client.register(WEB)
    await client.put("/v1/agent/service/maintenance/web-1?enable=true&reason=new+disk")
    checks = await client.get("/v1/agent/checks")
    row = checks["_service_maintenance:web-1"]
    assert (row["Status"], row["Notes"], row["ServiceID"], row["ServiceName"], row["Type"]) == (
        "critical",
        "new disk",
        "web-1",
        "web",
        "maintenance",
    )
    assert await client.get("/v1/health/service/web?passing") == []
    await client.put("/v1/agent/service/maintenance/web-1?enable=true&reason=other")  # the first one stays
    assert (await client.get("/v1/agent/checks"))["_service_maintenance:web-1"]["Notes"] == "new disk"
    await client.put("/v1/agent/service/maintenance/web-1?enable=false")
    await client.put("/v1/agent/service/maintenance/web-1?enable=false")
    assert len(await client.get("/v1/health/service/web?passing")) == 1


async def test_maintenance_of_the_node_takes_everything_out(client: Client) -> None:
    await client.register(WEB)
    await client.put("/v1/agent/maintenance?enable=true")
    assert (await client.get("/v1/agent/checks"))["_node_maintenance"]["Notes"].startswith("Maintenance mode")
    assert await client.get("/v1/health/service/web?passing") == []
    assert (await client.call("GET", HEALTH + "id/web-1?format=text"))[::2] == (503, b"maintenance")
    await client.put("/v1/agent/maintenance?enable=false")
    assert len(await client.get("/v1/health/service/web?passing")) == 1


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/v1/agent/maintenance", 400, b"Missing value for enable"),
        ("/v1/agent/maintenance?enable=maybe", 400, b'Invalid value for enable: "maybe"'),
        ("/v1/agent/service/maintenance/?enable=true", 400, b"Missing service ID"),
        (
            "/v1/agent/service/maintenance/x?enable=true",
            404,
            b'Unknown service ID "x". Ensure that the service ID is passed, not the service name.',
        ),
    ],
)
async def test_maintenance_refuses(client: Client, path: str, status: int, body: bytes) -> None:
    assert (await client.call("PUT", path))[::2] == (status, body)


async def test_the_status_of_an_answer_tells_health(client: Client) -> None:
    await client.register(WEB)
    for verb, code, word in (("pass", 200, "passing"), ("warn", 429, "warning"), ("fail", 503, "critical")):
        await client.put(f"/v1/agent/check/{verb}/service:web-1")
        for path in ("id/web-1", "name/web"):
            status, headers, body = await client.call("GET", HEALTH + path)
            shown = json.loads(body)
            shown = shown[0] if isinstance(shown, list) else shown
            assert (status, headers["X-Consul-Reason"]) == (code, word)
            assert (shown["AggregatedStatus"], shown["Service"]["ID"]) == (word, "web-1")
            assert "service:web-1" in {row["CheckID"] for row in shown["Checks"]}
            assert (await client.call("GET", HEALTH + path, Accept="text/plain"))[::2] == (
                code,
                word.encode(),
            )


async def test_health_of_the_unknown(client: Client) -> None:
    assert (await client.call("GET", HEALTH + "id/x?format=text"))[::2] == (404, b"ServiceId x not found")
    assert (await client.call("GET", HEALTH + "name/x?format=text"))[::2] == (404, b"ServiceName x Not Found")
    assert (await client.call("GET", HEALTH + "name/x"))[::2] == (404, b"[]")
    assert (await client.call("GET", HEALTH + "id/"))[::2] == (400, b"Missing serviceID")


async def test_a_client_waits_until_a_service_is_another(client: Client) -> None:
    await client.register(WEB)
    _, headers, _ = await client.call("GET", "/v1/agent/service/web-1")
    digest = headers["X-Consul-ContentHash"]
    assert "X-Consul-Index" not in headers
    path = f"/v1/agent/service/web-1?hash={digest}"
    _, headers, _ = await client.call("GET", path + "&wait=10ms")
    assert headers["X-Consul-ContentHash"] == digest
    parked = asyncio.create_task(client.call("GET", path + "&wait=20s"))
    await client.put("/v1/agent/check/warn/service:web-1")  # health is no part of it
    await client.register({**WEB, "Port": 81})
    _, headers, body = await parked
    assert headers["X-Consul-ContentHash"] != digest
    assert json.loads(body)["Port"] == 81
    assert json.loads(body)["ContentHash"] == headers["X-Consul-ContentHash"]


async def test_trap_26_a_parked_hash_resolves_its_token_again() -> None:
    async with running_registry(acl=AclSettings()) as client:
        secret = json.loads((await client.call("PUT", "/v1/acl/bootstrap"))[2])["SecretID"]
        web = {"ServiceIdentities": [{"ServiceName": "web"}]}
        token = json.loads((await client.call("PUT", "/v1/acl/token", web, X_Consul_Token=secret))[2])
        await client.call("PUT", "/v1/agent/service/register", WEB, X_Consul_Token=secret)
        mine = token["SecretID"]
        _, headers, _ = await client.call("GET", "/v1/agent/service/web-1", X_Consul_Token=mine)
        path = f"/v1/agent/service/web-1?wait=20s&hash={headers['X-Consul-ContentHash']}"
        parked = asyncio.create_task(client.call("GET", path, X_Consul_Token=mine))
        await client.call("DELETE", f"/v1/acl/token/{token['AccessorID']}", X_Consul_Token=secret)
        await client.call("PUT", "/v1/agent/service/register", {**WEB, "Port": 2}, X_Consul_Token=secret)
        assert (await parked)[::2] == (403, b"ACL not found")


async def test_what_an_agent_tells_of_itself(client: Client) -> None:
    assert (await client.get("/v1/agent/version"))["HumanVersion"]
    machine = await client.get("/v1/agent/host")
    assert machine["Memory"]["total"] >= machine["Memory"]["available"] > 0
    assert machine["CPU"]
    gauges = {row["Name"]: row["Value"] for row in (await client.get("/v1/agent/metrics"))["Gauges"]}
    assert gauges["consul.state.nodes"] == 1
    _, headers, body = await client.call("GET", "/v1/agent/metrics?format=prometheus")
    assert headers["Content-Type"].startswith("text/plain")
    assert b"\nconsul_server_isLeader 1\n" in body
    assert (await client.call("PUT", "/v1/agent/reload"))[::2] == (200, b"")


async def test_the_agents_own_token_stands_for_none() -> None:
    async with running_registry(acl=AclSettings()) as client:
        secret = json.loads((await client.call("PUT", "/v1/acl/bootstrap"))[2])["SecretID"]
        put = "/v1/agent/token/"
        given = {"Token": secret}
        assert (await client.call("GET", "/v1/agent/self"))[0] == 403
        assert (await client.call("PUT", put + "default", given, X_Consul_Token=secret))[::2] == (200, b"")
        assert (await client.call("GET", "/v1/agent/self"))[0] == 200
        assert (await client.call("PUT", put + "default", {"Token": ""}, X_Consul_Token=secret))[0] == 200
        assert (await client.call("GET", "/v1/agent/self"))[0] == 403
        unknown = await client.call("PUT", put + "x", given, X_Consul_Token=secret)
        assert unknown[::2] == (404, b'Token "x" is unknown')


async def test_a_default_token_that_may_write_the_list_is_set_only_by_who_may() -> None:
    async with running_registry(acl=AclSettings()) as client:
        secret = json.loads((await client.call("PUT", "/v1/acl/bootstrap"))[2])["SecretID"]
        policy = {"Name": "p", "Rules": 'agent_prefix "" { policy = "write" }'}
        await client.call("PUT", "/v1/acl/policy", policy, X_Consul_Token=secret)
        made = await client.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "p"}]}, X_Consul_Token=secret)
        mine = json.loads(made[2])["SecretID"]
        put = "/v1/agent/token/"
        for name in ("default", "acl_token"):
            status, _, body = await client.call("PUT", put + name, {"Token": secret}, X_Consul_Token=mine)
            assert (status, b"lacks permission 'acl:write'" in body) == (403, True)
        assert (await client.call("PUT", put + "agent", {"Token": secret}, X_Consul_Token=mine))[0] == 200
        for harmless in (mine, "nobody-has-this", ""):
            given = {"Token": harmless}
            assert (await client.call("PUT", put + "default", given, X_Consul_Token=mine))[0] == 200


async def test_an_agents_token_needs_access_control(client: Client) -> None:
    answer = await client.call("PUT", "/v1/agent/token/default", {"Token": "x"})
    assert answer[::2] == (401, b"ACL support disabled")


async def test_authorize_goes_by_intentions_and_trust_domain(client: Client) -> None:
    roots = await client.get("/v1/connect/ca/roots")
    path = "/v1/agent/connect/authorize"

    async def ask(uri: str, target: str = "db") -> tuple[int, bytes]:
        status, _, body = await client.call("POST", path, {"Target": target, "ClientCertURI": uri})
        return status, body

    mine = f"spiffe://{roots['TrustDomain']}/ns/default/dc/dc1/svc/web"
    assert json.loads((await ask(mine))[1])["Authorized"] is True
    exact = "/v1/connect/intentions/exact?source=web&destination=db"
    await client.put(exact, {"Action": "deny"})
    status, body = await ask(mine)
    assert (status, json.loads(body)) == (
        200,
        {"Authorized": False, "Reason": "Matched L4 intention: DENY web => db"},
    )
    await client.put(exact, {"Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/"}}]})
    assert json.loads((await ask(mine))[1])["Authorized"] is False
    assert json.loads((await ask("spiffe://other/ns/default/dc/dc1/svc/web"))[1])["Authorized"] is False
    assert await ask("x") == (400, b"ClientCertURI not a valid Connect identifier")
    assert await ask(mine, "") == (400, b"Target service must be specified")

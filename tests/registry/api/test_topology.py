"""What a service calls and who calls it, for tools that know Consul's UI."""

import asyncio
import json
from typing import Any

from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.support.registry import Client, running_registry

PATH = "/v1/internal/ui/service-topology"


def service(name: str, *upstreams: str, **more: Any) -> dict[str, Any]:
    proxy = {
        "Upstreams": [{"DestinationName": it, "LocalBindPort": 9000 + at} for at, it in enumerate(upstreams)]
    }
    return {"Name": name, "Port": 80, "Connect": {"SidecarService": {"Checks": [], "Proxy": proxy}}, **more}


async def test_neighbours_have_health_and_what_intentions_say(client: Client) -> None:
    await client.register(service("web", "orders"))
    await client.register(service("orders", "stock", "ledger"))
    await client.register(service("stock", Tags=["eu"], Check={"TTL": "10s", "Status": "passing"}))
    exact = "/v1/connect/intentions/exact?source=web&destination=orders"
    await client.put(exact, {"Action": "deny"})
    await client.put("/v1/config", {"Kind": "service-defaults", "Name": "orders", "Protocol": "grpc"})
    found = await client.get(f"{PATH}/orders?kind=")
    assert (found["Protocol"], found["TransparentProxy"], found["FilteredByACLs"]) == ("grpc", False, False)
    ledger, stock = found["Upstreams"]
    assert (ledger["Name"], ledger["InstanceCount"]) == ("ledger", 0)
    assert {key: stock[key] for key in ("Name", "InstanceCount", "Tags", "Nodes", "ChecksPassing")} == {
        "Name": "stock",
        "InstanceCount": 1,
        "Tags": ["eu"],
        "Nodes": ["n1"],
        "ChecksPassing": 2,  # its own and its node's
    }
    assert stock["ConnectedWithProxy"]
    assert stock["Intention"]["Allowed"]
    assert not stock["Intention"]["HasExact"]
    (web,) = found["Downstreams"]
    assert (web["Name"], web["Source"]) == ("web", "proxy-registration")
    assert web["Intention"] == {
        "DefaultAllow": True,
        "Allowed": False,
        "HasPermissions": False,
        "ExternalSource": "",
        "HasExact": True,
    }
    assert (await client.get(f"{PATH}/stock?kind="))["Upstreams"] == []
    index = await client.index(f"{PATH}/stock?kind=")
    waiting = asyncio.create_task(client.get(f"{PATH}/stock?kind=&index={index}&wait=30s"))
    await client.register(service("web", "orders", "stock"))
    assert {row["Name"] for row in (await waiting)["Downstreams"]} == {"orders", "web"}
    assert (await client.call("GET", f"{PATH}/stock"))[::2] == (400, b"Missing service kind")


async def test_neighbours_that_the_token_may_not_read_are_left_out() -> None:
    async with running_registry(acl=AclSettings()) as client:
        management = await bootstrap(client)
        rules = 'service "orders" { policy = "read" }'
        await make(client, management, "/v1/acl/policy", {"Name": "some", "Rules": rules})
        token = await make(client, management, "/v1/acl/token", {"Policies": [{"Name": "some"}]})
        register = "/v1/agent/service/register"
        await client.call("PUT", register, service("orders", "stock"), X_Consul_Token=management)
        _, _, body = await client.call("GET", f"{PATH}/orders?kind=", X_Consul_Token=token["SecretID"])
        found = json.loads(body)
        assert (found["Upstreams"], found["FilteredByACLs"]) == ([], True)
        status, _, _ = await client.call("GET", f"{PATH}/stock?kind=", X_Consul_Token=token["SecretID"])
        assert status == 403

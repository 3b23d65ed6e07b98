"""Who subscribes, and what became of what they were sent: told by `/v1/mesh/proxies`."""

import json
from typing import Any

import grpc
import pytest

from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.registry.rpc.test_mesh import ORDERS, WEB, Sidecar, code_of
from tests.support.registry import Client, running_registry
from tests.support.waiting import until
from weft.pb.server.v1.server_pb2 import ProxiesRequest
from weft.pb.server.v1.server_pb2_grpc import ServersStub


async def proxies(client: Client, query: str = "") -> Any:
    found = await client.get(f"/v1/mesh/proxies{query}")
    assert found["Silent"] == []
    return found["Proxies"]


async def state(client: Client) -> tuple[str, str]:
    (row,) = await proxies(client, "?service=web")
    return row["State"], row["Refused"]


async def gauges(client: Client) -> tuple[float, float]:
    found = {it["Name"]: it["Value"] for it in (await client.get("/v1/agent/metrics"))["Gauges"]}
    return found["weft.mesh.proxies"], found["weft.mesh.proxies.refused"]


async def test_a_sidecar_is_there_from_its_hello_to_its_end(client: Client) -> None:
    assert await proxies(client) == []
    credential = await client.credential(WEB)
    assert await state(client) == ("absent", "")
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        delta = await sidecar.delta(ack=False)
        assert await state(client) == ("waiting", "")
        await sidecar.ack(delta.nonce)

        async def synced() -> bool:
            return await state(client) == ("synced", "")

        await until(synced, "the answer is taken in")
        (row,) = await proxies(client, "?service=web")
        assert (row["Instance"], row["Service"], row["Server"]) == ("dc1/n1/web", "web", "n1")
        assert row["Index"] == row["SentIndex"] == delta.index
        assert await gauges(client) == (1, 0)

    async def gone() -> bool:
        return await state(client) == ("absent", "")

    await until(gone, "it has gone")


async def test_a_refusal_is_shown_until_something_else_is_taken(client: Client) -> None:
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        first = await sidecar.delta()
        await client.register(ORDERS)
        second = await sidecar.delta(ack=False)
        await sidecar.ack(second.nonce, "resource 'proxy' has port 70000")

        async def refused() -> bool:
            return await state(client) == ("refused", "resource 'proxy' has port 70000")

        await until(refused, "the refusal is told")
        (row,) = await proxies(client, "?state=refused")
        assert (row["Index"], row["SentIndex"]) == (first.index, second.index)
        assert await proxies(client, "?state=synced") == []
        assert [row["State"] for row in await proxies(client, "?service=orders")] == ["absent"]
        assert await gauges(client) == (1, 1)
        intention = "/v1/connect/intentions/exact?source=orders&destination=web"
        await client.put(intention, {"Action": "deny"})
        await sidecar.delta()

        async def mended() -> bool:
            return await state(client) == ("synced", "")

        await until(mended, "what came after was taken")
        assert await gauges(client) == (1, 0)


async def test_a_refusal_of_what_was_taken_back_is_over(client: Client) -> None:
    """No delta follows: the sidecar holds what it should."""
    credential = await client.credential(WEB)
    async with client.channel() as channel:
        sidecar = await Sidecar(channel, credential.metadata()).hello()
        await sidecar.delta()
        await client.register(ORDERS)
        await sidecar.ack((await sidecar.delta(ack=False)).nonce, "not this")

        async def refused() -> bool:
            return await state(client) == ("refused", "not this")

        await until(refused, "the refusal is told")
        await client.put("/v1/agent/service/deregister/orders")

        async def over() -> bool:
            return await state(client) == ("synced", "")

        await until(over, "it is over")


async def test_a_token_sees_the_sidecars_of_services_that_it_may_read() -> None:
    async with running_registry(acl=AclSettings()) as client:
        management = await bootstrap(client)
        rules = 'service "web" { policy = "read" }'
        await make(client, management, "/v1/acl/policy", {"Name": "some", "Rules": rules})
        token = await make(client, management, "/v1/acl/token", {"Policies": [{"Name": "some"}]})
        subscribed = client.registry.proxies.subscribed
        with subscribed("dc1/n1/web", "web", "1"), subscribed("dc1/n1/orders", "orders", "1"):
            secret = token["SecretID"]
            _, headers, body = await client.call("GET", "/v1/mesh/proxies", X_Consul_Token=secret)
        assert [row["Service"] for row in json.loads(body)["Proxies"]] == ["web"]
        assert headers["X-Consul-Results-Filtered-By-ACLs"] == "true"


@pytest.mark.parametrize("metadata", [(), (("weft-server", "guess"),)])
async def test_only_servers_ask_a_server_for_its_sidecars(client: Client, metadata: Any) -> None:
    async with client.channel() as channel:
        stub: Any = ServersStub(channel)
        refused = stub.Proxies(ProxiesRequest(), metadata=metadata)
        assert await code_of(refused) is grpc.StatusCode.UNAUTHENTICATED
        proof = client.registry.measuring._proof.metadata()
        answer = await stub.Proxies(ProxiesRequest(), metadata=(proof,))
        assert list(answer.proxies) == []

"""`/v1/mesh/tap/:service`: what sidecars tell comes to who asked, by the rules of now, and bounded."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from registry.operator.tapping import QUEUE_MAX, READERS_MAX, Reader
from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.registry.rpc.test_mesh import ORDERS
from tests.registry.rpc.test_observe import begun, ended
from tests.support.registry import Client, running_registry, until
from weft.pb.mesh.v1.observe_pb2 import Observation, ObservationRequest, Tapped

SOON_S = 15.0


class Lines:
    """An answer that goes on."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(SOON_S):
            while not (line := (await self.answer.content.readline()).strip()):
                assert not self.answer.content.at_eof(), "it has ended"
            return dict(json.loads(line))

    async def rest(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(SOON_S):
            return [json.loads(line) for line in (await self.answer.read()).splitlines() if line.strip()]


@asynccontextmanager
async def tap(client: Client, query: str = "", token: str = "") -> AsyncIterator[Lines]:
    headers = {"X-Consul-Token": token} if token else {}
    async with client.http.get(client.url(f"/v1/mesh/tap/orders?{query}"), headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        yield Lines(answer)


async def asked(stream: Any) -> ObservationRequest:
    async with asyncio.timeout(SOON_S):
        request = await stream.read()
    assert isinstance(request, ObservationRequest)
    return request


def tapped(number: int, *requests: bytes, **more: Any) -> Observation:
    return Observation(tapped=Tapped(id=number, requests=requests, **more))


@asynccontextmanager
async def sidecar(client: Client) -> AsyncIterator[Any]:
    credential = await client.credential(ORDERS)
    async with client.channel() as channel:
        yield await begun(channel, credential.metadata())


async def test_what_a_sidecar_tells_comes_to_who_asked(client: Client) -> None:
    async with sidecar(client) as stream, tap(client, "status=UNAVAILABLE&path=/x&limit=2") as lines:
        assert await lines.next() == {"tap": {"sidecars": 1}}
        request = await asked(stream)
        assert request.tap.query == "direction=inbound&status=UNAVAILABLE&path=%2Fx"
        await stream.write(tapped(request.tap.id, b'{"path":"/x","sidecar":"forged"}', lost=3))
        assert await lines.next() == {"tap": {"lost": 3}}
        assert await lines.next() == {"path": "/x", "sidecar": "dc1/" + _node(client) + "/orders"}
        await stream.write(tapped(request.tap.id, b'{"n":2}', b'{"n":3}'))
        assert [it["n"] for it in await lines.rest()] == [2], "there were enough"
        assert (await asked(stream)).end_tap.id == request.tap.id


def _node(client: Client) -> str:
    return client.registry.node


async def test_one_that_connects_meanwhile_is_asked_too(client: Client) -> None:
    async with tap(client) as lines:
        assert await lines.next() == {"tap": {"sidecars": 0}}
        async with sidecar(client) as stream:
            assert await lines.next() == {"tap": {"sidecars": 1}}
            assert (await asked(stream)).WhichOneof("kind") == "tap"
        assert await lines.next() == {"tap": {"sidecars": 0}}


async def test_it_ends_when_its_time_is_over_or_the_reader_has_gone(client: Client) -> None:
    tapping = client.registry.mesh._tapping
    async with tap(client, "seconds=0.2") as lines:
        assert await lines.rest() == [{"tap": {"sidecars": 0}}]
    async with tap(client) as lines:
        await lines.next()
        assert tapping._readers
    await until(lambda: not tapping._readers)


async def test_nobody_speaks_for_a_service_that_he_is_not(client: Client) -> None:
    """Another service's sidecar that guesses the number of a tap is not heard."""
    other = await client.credential({**ORDERS, "Name": "other", "ID": "other"})
    async with sidecar(client) as stream, client.channel() as channel, tap(client, "limit=1") as lines:
        await lines.next()
        number = (await asked(stream)).tap.id
        stranger = await begun(channel, other.metadata())
        await stranger.write(tapped(number, b'{"forged":1}'))
        await stream.write(tapped(number, b'{"true":1}'))
        assert "true" in await lines.next()


@pytest.mark.parametrize("request_", [b"", b"[]", b"{", b'{"a":"' + b"x" * 70_000 + b'"}'])
async def test_what_no_sidecar_sends_ends_its_stream(client: Client, request_: bytes) -> None:
    async with sidecar(client) as stream:
        await stream.write(tapped(1, request_))
        assert (await ended(stream)).name == "INVALID_ARGUMENT"


async def test_queries_are_judged_before_anybody_is_asked(client: Client) -> None:
    for query, says in (
        ("status=nonsense", "status 'nonsense' is none: give UNAVAILABLE, 503 or 5xx"),
        ("seconds=3601", "seconds is '3601', and may be a number above 0, 3600 at most"),
        ("limit=0", "limit '0': use 1 to 100000"),
        ("direction=up", "direction is 'up', and may be inbound or outbound"),
    ):
        status, _, body = await client.call("GET", f"/v1/mesh/tap/orders?{query}")
        assert (status, body.decode()) == (400, says)


async def test_it_takes_the_right_to_write_the_service_and_ends_with_it() -> None:
    async with running_registry(acl=AclSettings()) as client:
        management = await bootstrap(client)
        for name, rules in (("w", 'service "orders" { policy = "write" }'), ("o", 'operator = "write"')):
            await make(client, management, "/v1/acl/policy", {"Name": name, "Rules": rules})
        await make(
            client,
            management,
            "/v1/acl/policy",
            {"Name": "r", "Rules": 'service "orders" { policy = "read" }'},
        )
        may, sees, operates = [
            await make(client, management, "/v1/acl/token", {"Policies": [{"Name": name}]}) for name in "wro"
        ]
        status, _, _ = await client.call("GET", "/v1/mesh/tap/orders", X_Consul_Token=sees["SecretID"])
        assert status == 403, "who may read the service may not read its requests"
        async with tap(client, "seconds=0.1", operates["SecretID"]) as lines:
            await lines.rest()
        async with tap(client, token=may["SecretID"]) as lines:
            await lines.next()
            path = f"/v1/acl/token/{may['AccessorID']}"
            assert (await client.call("DELETE", path, X_Consul_Token=management))[0] == 200
            assert await lines.rest() == [], "trap 26: the token is gone, and so is the tap"


async def test_taps_of_a_server_are_few(client: Client) -> None:
    tapping = client.registry.mesh._tapping
    opened = [tapping.here("orders", "") for _ in range(READERS_MAX)]
    for one in opened:
        one.__enter__()
    status, _, body = await client.call("GET", "/v1/mesh/tap/orders")
    assert (status, body) == (429, b"32 taps are open on this server already; end one")
    for one in opened:
        one.__exit__(None, None, None)


async def test_a_slow_reader_loses_and_is_told_how_many() -> None:
    reader = Reader(1, "orders", "")
    reader.take([b"{}"] * (QUEUE_MAX + 7), lost=2)
    batch = await reader.next(SOON_S)
    assert (batch.lost, len(batch.requests)) == (9, 100)
    for _ in range(QUEUE_MAX // 100 - 1):
        batch = await reader.next(SOON_S)
    assert (batch.lost, len(batch.requests)) == (0, 100)
    assert (await reader.next(0.01)).requests == []

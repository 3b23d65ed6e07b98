"""Limits of the HTTP face, by real sockets: floods, and clients that take their time."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from registry.limits.refusals import Limit
from registry.limits.settings import LimitSettings, Mode, RequestRates
from registry.process import AclSettings
from tests.support.registry import Client, running_registry, until

PARK = "/v1/kv/never?index=1000000&wait=60s"


@asynccontextmanager
async def limited(acl: AclSettings | None = None, **settings: Any) -> AsyncIterator[Client]:
    async with running_registry(acl=acl, limits=LimitSettings(**settings)) as client:
        yield client


def count(client: Client, limit: Limit) -> int:
    return client.registry.limits.counts()[limit]


class Raw:
    """A client that sends and reads as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """All until the server hangs up."""
        async with asyncio.timeout(20):
            found = bytearray()
            try:
                while some := await self.reader.read(65536):
                    found += some
            except ConnectionError:
                pass
            return bytes(found)


@asynccontextmanager
async def raw(address: str, **options: Any) -> AsyncIterator[Raw]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), **options)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def head(path: str, method: str = "GET", *more: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *more, "", "")).encode()


async def test_requests_over_an_enforced_rate_get_429_and_no_body() -> None:
    rates = RequestRates(Mode.ENFORCING, source_read=0.2, write=0.1)
    async with limited(rates=rates) as client:
        assert [(await client.call("GET", "/v1/catalog/nodes"))[0] for _ in range(3)] == [200, 200, 429]
        status, headers, body = await client.call("GET", "/v1/catalog/nodes")
        assert (status, body, headers["Retry-After"]) == (429, b"", "1")
        assert [(await client.call("PUT", "/v1/kv/a", b""))[0] for _ in range(2)] == [200, 429]
        assert count(client, Limit.SOURCE_READ_RATE) == 2
        assert count(client, Limit.WRITE_RATE) == 1


async def test_permissive_serves_and_counts_and_metrics_say_so() -> None:
    async with limited(rates=RequestRates(Mode.PERMISSIVE, read=0.1)) as client:
        for _ in range(3):
            assert (await client.call("GET", "/v1/catalog/nodes"))[0] == 200
        counters = (await client.get("/v1/agent/metrics"))["Counters"]
        labels = {row["Labels"]["limit_type"]: row["Count"] for row in counters}
        assert labels == {"global/read": 3}
        _, _, page = await client.call("GET", "/v1/agent/metrics?format=prometheus")
        assert b'consul_rpc_rate_limit_exceeded{limit_type="global/read"} 4' in page
        assert b'consul_rpc_rate_limit_exceeded{limit_type="grpc/calls"} 0' in page


async def test_connections_of_one_address_are_bounded() -> None:
    async with limited(http_connections_per_source=2) as client, AsyncExitStack() as stack:
        first = await stack.enter_async_context(raw(client.registry.http))
        for _ in range(1):
            await stack.enter_async_context(raw(client.registry.http))
        await until(lambda: client.registry.limits.connections.total == 2)
        third = await stack.enter_async_context(raw(client.registry.http))
        assert (await third.rest()).startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        first.writer.transport.abort()
        await until(lambda: client.registry.limits.connections.total == 1)
        again = await stack.enter_async_context(raw(client.registry.http))
        await again.send(head("/v1/status/leader", "GET", "Connection: close"))
        assert (await again.rest()).startswith(b"HTTP/1.1 200 OK")
        assert count(client, Limit.HTTP_CONNECTIONS_OF_SOURCE) == 1


async def test_parked_queries_of_one_address_are_bounded_and_give_their_places_back() -> None:
    async with limited(watches_per_source=3) as client, AsyncExitStack() as stack:
        watches = client.registry.limits.watches
        parked = [await stack.enter_async_context(raw(client.registry.http)) for _ in range(3)]
        for one in parked:
            await one.send(head(PARK))
        await until(lambda: watches.total == 3)
        status, _, body = await client.call("GET", PARK)
        assert (status, b"watches/of-source" in body) == (429, True)
        assert (await client.call("GET", "/v1/kv/never"))[0] == 404  # who does not wait needs no place
        assert (await client.call("GET", "/v1/agent/service/none?hash=x"))[0] == 404
        parked[0].writer.transport.abort()
        await until(lambda: watches.total == 2)
        await client.put("/v1/kv/never", b"now")
        await asyncio.gather(*(client.call("GET", "/v1/kv/never?index=1") for _ in range(5)))
        for one in parked[1:]:
            one.writer.transport.abort()
        await until(lambda: watches.total == 0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody has to wait for what takes seconds."""
    for name, value in (("HEAD_TIMEOUT_S", 0.1), ("BODY_TIMEOUT_S", 0.1), ("STALL_S", 0.2)):
        monkeypatch.setattr(f"registry.limits.settings.{name}", value)
    monkeypatch.setattr("registry.api.connection.SWEEP_S", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("first", [b"", head("/v1/status/leader")])
async def test_a_head_that_comes_too_slowly_ends_the_connection(client: Client, first: bytes) -> None:
    async with raw(client.registry.http) as slow:
        await slow.send(first)
        if first:
            assert await slow.reader.readuntil(b"\r\n\r\n")
        dripping = asyncio.create_task(drip(slow))
        await slow.rest()
        dripping.cancel()
    assert count(client, Limit.SLOW_HEAD) == 1


async def drip(slow: Raw) -> None:
    """A header that never ends, byte by byte."""
    await slow.send(b"GET / HTTP/1.1\r\nX-A: ")
    while True:
        await slow.send(b"a")
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("impatient")
async def test_an_idle_connection_and_a_parked_query_are_not_slow(client: Client) -> None:
    async with raw(client.registry.http) as idle, raw(client.registry.http) as parked:
        await parked.send(head("/v1/kv/never?index=1000000&wait=500ms", "GET", "Connection: close"))
        answer = await parked.rest()
        assert answer.startswith(b"HTTP/1.1 404")
        await idle.send(head("/v1/status/leader", "GET", "Connection: close"))
        assert (await idle.rest()).startswith(b"HTTP/1.1 200")
    assert count(client, Limit.SLOW_HEAD) == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["/v1/kv/a", "/v1/snapshot"])
async def test_a_body_that_does_not_come_is_408(client: Client, path: str) -> None:
    async with raw(client.registry.http) as slow:
        await slow.send(head(path, "PUT", "Content-Length: 1000") + b"half of it")
        answer = await slow.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")
    assert (await client.call("GET", "/v1/kv/a"))[0] == 404
    assert count(client, Limit.SLOW_BODY) == 1


async def fill(client: Client, mib: int) -> None:
    """Enough that no kernel's buffers hold it."""
    await asyncio.gather(*(client.put(f"/v1/kv/big/{it}", os.urandom(400_000)) for it in range(mib * 2)))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["/v1/kv/big?recurse", "/v1/snapshot"])
async def test_a_client_that_does_not_read_its_answer_is_let_go(client: Client, path: str) -> None:
    await fill(client, 16)
    async with raw(client.registry.http, limit=1024) as slow:
        await slow.send(head(path))
        await until(lambda: count(client, Limit.SLOW_READER) == 1)
        await until(lambda: client.registry.limits.connections.total <= 32)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_reads_steadily_gets_all_of_it(client: Client) -> None:
    await fill(client, 8)
    async with raw(client.registry.http, limit=4096) as steady:
        await steady.send(head("/v1/kv/big?recurse", "GET", "Connection: close"))
        found = 0
        while some := await steady.reader.read(200_000):
            found += len(some)
            await asyncio.sleep(0.001)
    assert found > 8_000_000
    assert count(client, Limit.SLOW_READER) == 0


async def test_parked_queries_of_one_token_are_bounded_wherever_they_come_from() -> None:
    async with limited(watches_per_token=1, acl=AclSettings()) as client, AsyncExitStack() as stack:
        _, _, body = await client.call("PUT", "/v1/acl/bootstrap")
        secret = json.loads(body)["SecretID"]
        parked = await stack.enter_async_context(raw(client.registry.http, local_addr=("127.0.0.2", 0)))
        await parked.send(head(PARK, "GET", f"X-Consul-Token: {secret}"))
        await until(lambda: client.registry.limits.watches.total == 1)
        status, _, body = await client.call("GET", PARK, X_Consul_Token=secret)
        assert (status, b"watches/of-token" in body) == (429, True)
        assert (await client.call("GET", PARK))[0] == 403  # anonymous: refused for what it is
        policy = {"Name": "p", "Rules": 'key_prefix "" { policy = "read" }'}
        await client.call("PUT", "/v1/acl/policy", policy, X_Consul_Token=secret)
        other = await client.call(
            "PUT", "/v1/acl/token", {"Policies": [{"Name": "p"}]}, X_Consul_Token=secret
        )
        second = await stack.enter_async_context(raw(client.registry.http))
        await second.send(head(PARK, "GET", f"X-Consul-Token: {json.loads(other[2])['SecretID']}"))
        await until(lambda: client.registry.limits.watches.total == 2)

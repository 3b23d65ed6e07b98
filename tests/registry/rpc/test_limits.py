"""Limits of the gRPC face: rates, and calls under way."""

import asyncio

import grpc
import pytest

from registry.limits.refusals import Limit
from registry.limits.settings import LimitSettings, Mode, RequestRates
from registry.rpc import server
from tests.registry.rpc.test_mesh import Sidecar
from tests.registry.rpc.test_permission import call
from tests.support.registry import running_registry, until

WEB: dict[str, object] = {"Name": "web", "Connect": {"SidecarService": {"Checks": []}}}
REVOKE = "/weft.registration.v1.Registration/RevokeCredential"


async def test_calls_over_an_enforced_rate_are_exhausted() -> None:
    rates = RequestRates(Mode.ENFORCING, source_write=0.2)
    async with running_registry(limits=LimitSettings(rates=rates)) as client:
        codes = [(await call(client, REVOKE))[0] for _ in range(3)]
        assert codes == [grpc.StatusCode.NOT_FOUND] * 2 + [grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert client.registry.limits.counts()[Limit.SOURCE_WRITE_RATE] == 1


async def test_calls_under_way_of_one_source_are_bounded_and_give_their_places_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("registry.limits.settings.GRPC_CALLS_PER_SOURCE_MAX", 2)
    async with running_registry() as client:
        credential = await client.credential(WEB)
        calls = client.registry.limits.calls
        async with client.channel() as channel:
            first, second = [await Sidecar(channel, credential.metadata()).hello() for _ in range(2)]
            await asyncio.gather(first.delta(), second.delta())
            third = await Sidecar(channel, credential.metadata()).hello()
            assert await third.ended() is grpc.StatusCode.RESOURCE_EXHAUSTED
            first.call.cancel()
            await until(lambda: calls.total == 1)
            fourth = await Sidecar(channel, credential.metadata()).hello()
            await fourth.delta()
        await until(lambda: calls.total == 0)
        assert client.registry.limits.counts()[Limit.GRPC_CALLS_OF_SOURCE] == 1


def with_option(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    """One of the listener's options with another value, which it must have had before."""
    options = dict(server._OPTIONS)
    assert name in options
    monkeypatch.setattr(server, "_OPTIONS", tuple((options | {name: value}).items()))


async def test_connections_over_the_bound_are_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    with_option(monkeypatch, "grpc.max_allowed_incoming_connections", 1)
    async with running_registry() as client:
        credential = await client.credential(WEB)
        async with client.channel() as channel:
            first = await Sidecar(channel, credential.metadata()).hello()
            await first.delta()
            host, _, port = client.registry.grpc.partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            async with asyncio.timeout(20):
                assert await hung_up(reader)
            writer.close()
            await client.register({"Name": "orders"})  # who was there first goes on


async def test_a_handshake_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with_option(monkeypatch, "grpc.server_handshake_timeout_ms", 100)
    async with running_registry() as client:
        host, _, port = client.registry.grpc.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(20):
            assert await hung_up(reader)
        writer.close()


async def hung_up(reader: asyncio.StreamReader) -> bool:
    """Once the other end has closed the connection, without a word."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True

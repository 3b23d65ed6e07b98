"""Observations over real gRPC and TLS: for whoever holds a credential, and for servers of the cluster."""

import asyncio
from typing import Any

import grpc
import pytest

from registry.measurements.tally import Edge
from registry.rpc import observe
from tests.registry.rpc.test_mesh import ORDERS, WEB, code_of
from tests.support import waiting
from tests.support.registry import Client, mesh, until
from weft.pb.mesh.v1.observe_pb2 import Ended, Measurement, Measurements, Observation, ObservationRequest
from weft.pb.server.v1.server_pb2 import CallTally, ReportRequest
from weft.pb.server.v1.server_pb2_grpc import ServersStub

SOON_S = 15.0


def observation(requests: int = 1, peer: str = "orders") -> Observation:
    call = Measurement(
        side=Measurement.SIDE_OUTBOUND,
        peer=peer,
        ended=[Ended(status_class=2, grpc_status=0, requests=requests)],
        latency=[requests],
    )
    return Observation(measurements=Measurements(calls=[call]))


async def begun(channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> Any:
    """A stream whose first request has come."""
    call = mesh(channel).Observe(metadata=metadata)
    async with asyncio.timeout(SOON_S):
        first = await call.read()
    assert isinstance(first, ObservationRequest)
    assert first.pace.period_ms == 1000
    return call


async def ended(call: Any) -> grpc.StatusCode:
    async with asyncio.timeout(SOON_S):
        code: grpc.StatusCode = await call.code()
        return code


def count(client: Client, edge: Edge) -> int:
    measuring = client.registry.measuring
    tally = measuring.window.edges(measuring._now()).get(edge)
    return tally.ended if tally else 0


async def test_calls_are_counted_to_the_service_that_the_credential_proves(client: Client) -> None:
    web, orders = await client.credential(WEB), await client.credential(ORDERS)
    async with client.channel() as channel:
        first = await begun(channel, web.metadata())
        second = await begun(channel, orders.metadata())
        await first.write(observation(3))
        await first.write(observation(2))
        await second.write(observation(7, peer="stock"))
        await until(lambda: count(client, Edge(False, "web", "orders")) == 5)
        await until(lambda: count(client, Edge(False, "orders", "stock")) == 7)


async def test_trap_1_nobody_is_heard_without_a_credential(client: Client) -> None:
    async with client.channel() as channel:
        assert await ended(mesh(channel).Observe()) is grpc.StatusCode.UNAUTHENTICATED


async def test_trap_4_a_withdrawn_credential_ends_the_stream(client: Client) -> None:
    web = await client.credential(WEB)
    async with client.channel() as channel:
        call = await begun(channel, web.metadata())
        await client.put("/v1/agent/service/deregister/web")
        assert await ended(call) is grpc.StatusCode.UNAUTHENTICATED


async def test_what_no_sidecar_sends_ends_the_stream(client: Client) -> None:
    web = await client.credential(WEB)
    async with client.channel() as channel:
        call = await begun(channel, web.metadata())
        wrong = observation()
        wrong.measurements.calls[0].ended[0].grpc_status = 99
        await call.write(wrong)
        assert await ended(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_kinds_that_are_not_known_are_skipped(client: Client) -> None:
    """Sidecars may be newer than servers."""
    web = await client.credential(WEB)
    async with client.channel() as channel:
        call = await begun(channel, web.metadata())
        await call.write(Observation.FromString(b"\xfa\x01\x00"))  # field 31, empty
        await call.write(observation())
        await until(lambda: count(client, Edge(False, "web", "orders")) == 1)


async def test_one_instance_has_a_bounded_number_of_streams(client: Client) -> None:
    web = await client.credential(WEB)
    async with client.channel() as channel:
        held = [await begun(channel, web.metadata()) for _ in range(4)]
        assert await ended(mesh(channel).Observe(metadata=(web.metadata(),))) is (
            grpc.StatusCode.RESOURCE_EXHAUSTED
        )
        held[0].cancel()

        async def again() -> bool:
            call = mesh(channel).Observe(metadata=(web.metadata(),))
            try:
                return isinstance(await call.read(), ObservationRequest)
            except grpc.aio.AioRpcError:
                return False

        await waiting.until(again, "the place of the stream that ended")


async def test_a_sidecar_that_sends_without_pause_is_not_read_without_pause(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "MEASUREMENTS_EVERY_S", 3600.0)
    web = await client.credential(WEB)
    async with client.channel() as channel:
        call = await begun(channel, web.metadata())
        for _ in range(5):
            await call.write(observation())
        await until(lambda: count(client, Edge(False, "web", "orders")) == 1)
        await client.put("/v1/agent/service/deregister/web")
        assert await ended(call) is grpc.StatusCode.UNAUTHENTICATED
    assert count(client, Edge(False, "web", "orders")) == 1


# Between servers


@pytest.mark.parametrize("metadata", [(), (("weft-server", "guess"),), (("weft-server", ""),)])
async def test_only_servers_report(client: Client, metadata: Any) -> None:
    async with client.channel() as channel:
        stub: Any = ServersStub(channel)
        report = ReportRequest(calls=[CallTally(source="web", destination="orders", ended=1)])
        assert await code_of(stub.Report(report, metadata=metadata)) is grpc.StatusCode.UNAUTHENTICATED
    assert count(client, Edge(False, "web", "orders")) == 0


async def test_what_a_server_reports_is_counted(client: Client) -> None:
    proof = client.registry.measuring._proof.metadata()
    async with client.channel() as channel:
        stub: Any = ServersStub(channel)
        await stub.Report(
            ReportRequest(calls=[CallTally(source="web", destination="orders", ended=4)]), metadata=(proof,)
        )
    assert count(client, Edge(False, "web", "orders")) == 4

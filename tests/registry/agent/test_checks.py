"""Health checks as they run: TTL, HTTP, TCP, gRPC, alias."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from registry.agent.probes import OUTPUT_BYTES_MAX, Prober
from registry.agent.status import Outcome
from registry.catalog.model import CRITICAL, PASSING, WARNING, Check, CheckDefinition
from tests.support.processes import free_port
from tests.support.registry import Client

SOON = {"Interval": "100ms", "Timeout": "2s"}


async def status_of(client: Client, check_id: str) -> str:
    found: str = (await client.get("/v1/agent/checks"))[check_id]["Status"]
    return found


async def becomes(client: Client, check_id: str, status: str) -> None:
    """Waits on health/state until the check has the status."""
    async with asyncio.timeout(15):
        index = 0
        while True:
            _, headers, _ = await client.call("GET", f"/v1/health/state/any?index={index}&wait=5s")
            if await status_of(client, check_id) == status:
                return
            index = int(headers["X-Consul-Index"])


@asynccontextmanager
async def http_server(handle: Callable[[web.BaseRequest], web.StreamResponse]) -> AsyncIterator[str]:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return handle(request)

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def prober() -> AsyncIterator[Callable[..., "asyncio.Future[Outcome]"]]:
    subject = Prober()

    def probe(kind: str, **definition: object) -> "asyncio.Future[Outcome]":
        given = CheckDefinition(timeout_ms=5000, **definition)  # type: ignore[arg-type]
        return asyncio.ensure_future(subject.probe(Check("n", "c", "c", type=kind, definition=given)))

    try:
        yield probe
    finally:
        await subject.close()


async def test_a_ttl_check_turns_critical_when_nobody_reports(client: Client) -> None:
    await client.register({"Name": "web", "Check": {"TTL": "150ms"}})
    await client.put("/v1/agent/check/pass/service:web?note=well")
    await becomes(client, "service:web", CRITICAL)
    row = (await client.get("/v1/agent/checks"))["service:web"]
    assert row["Output"] == "TTL expired"
    await client.put("/v1/agent/check/update/service:web", {"Status": "warning", "Output": "slow"})
    assert (await client.get("/v1/health/checks/web"))[0]["Status"] == WARNING


async def test_a_status_is_reported_for_ttl_checks_only(client: Client) -> None:
    await client.register({"Name": "web", "Check": {"TCP": "127.0.0.1:1", "Interval": "10s"}})
    status, _, text = await client.call("PUT", "/v1/agent/check/pass/service:web")
    assert (status, text) == (500, b'CheckID "service:web" does not have associated TTL')
    status, _, text = await client.call("PUT", "/v1/agent/check/pass/none")
    assert status == 404
    assert text.startswith(b'Unknown check ID "none"')


async def test_an_http_check_follows_the_service(client: Client) -> None:
    answers = {"status": 200}
    async with http_server(lambda _: web.Response(status=answers["status"], text="hello")) as url:
        await client.register({"Name": "web", "Check": {"HTTP": url, **SOON}})
        await becomes(client, "service:web", PASSING)
        assert "200 OK Output: hello" in (await client.get("/v1/agent/checks"))["service:web"]["Output"]
        answers["status"] = 429
        await becomes(client, "service:web", WARNING)
        answers["status"] = 500
        await becomes(client, "service:web", CRITICAL)


async def test_a_tcp_check_follows_the_port(client: Client) -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await client.register({"Name": "web", "Check": {"TCP": f"127.0.0.1:{port}", **SOON}})
    await becomes(client, "service:web", PASSING)
    server.close()
    await server.wait_closed()
    await becomes(client, "service:web", CRITICAL)


async def test_a_grpc_check_asks_grpc_health_v1(client: Client) -> None:
    server = grpc.aio.server()
    servicer = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await servicer.set("shop", health_pb2.HealthCheckResponse.SERVING)
    await client.register({"Name": "web", "Check": {"GRPC": f"127.0.0.1:{port}/shop", **SOON}})
    await becomes(client, "service:web", PASSING)
    await servicer.set("shop", health_pb2.HealthCheckResponse.NOT_SERVING)
    await becomes(client, "service:web", CRITICAL)
    await server.stop(None)


async def test_an_alias_check_follows_the_application(client: Client) -> None:
    sidecar = {"Checks": [{"AliasService": "web"}], "Port": 21000}
    definition = {"Name": "web", "Check": {"TTL": "60s"}, "Connect": {"SidecarService": sidecar}}
    await client.register(definition)
    await client.put("/v1/agent/check/pass/service:web")
    await becomes(client, "service:web-sidecar-proxy", PASSING)
    assert len(await client.get("/v1/health/connect/web?passing")) == 1
    await client.put("/v1/agent/check/fail/service:web")
    await becomes(client, "service:web-sidecar-proxy", CRITICAL)
    assert await client.get("/v1/health/connect/web?passing") == []


async def test_registering_again_keeps_the_status(client: Client) -> None:
    definition = {"Name": "web", "Check": {"TTL": "60s"}}
    await client.register(definition)
    await client.put("/v1/agent/check/pass/service:web?note=well")
    await client.register(definition | {"Tags": ["new"]})
    row = (await client.get("/v1/health/checks/web"))[0]
    assert (row["Status"], row["Output"], row["ServiceTags"]) == (PASSING, "well", ["new"])


async def test_checks_that_are_not_named_again_stay_unless_replaced(client: Client) -> None:
    await client.register(
        {"Name": "web", "Checks": [{"CheckID": "a", "TTL": "9s"}, {"CheckID": "b", "TTL": "9s"}]}
    )
    definition = {"Name": "web", "Checks": [{"CheckID": "a", "TTL": "9s"}]}
    await client.register(definition)
    assert set(await client.get("/v1/agent/checks")) == {"a", "b"}
    await client.put("/v1/agent/service/register?replace-existing-checks", definition)
    assert set(await client.get("/v1/agent/checks")) == {"a"}


async def test_a_check_of_the_node_counts_for_every_service_on_it(client: Client) -> None:
    await client.register({"Name": "web"})
    await client.put("/v1/agent/check/register", {"Name": "disk", "TTL": "60s", "Status": "critical"})
    assert await client.get("/v1/health/service/web?passing") == []
    await client.put("/v1/agent/check/deregister/disk")
    assert len(await client.get("/v1/health/service/web?passing")) == 1


async def test_trap_28_a_probe_never_reaches_a_metadata_service() -> None:
    async with prober() as probe:
        for kind, field, target in (
            ("http", "http", "http://169.254.169.254/latest/meta-data/"),
            ("http", "http", "http://[::ffff:169.254.169.254]/"),
            ("tcp", "tcp", "169.254.169.254:80"),
            ("grpc", "grpc", "169.254.169.254:80"),
        ):
            outcome = await probe(kind, **{field: target})
            assert outcome.status == CRITICAL
            assert "metadata address" in outcome.output


async def test_trap_28_a_redirect_does_not_lead_there_either() -> None:
    def redirect(_: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/"})

    async with http_server(redirect) as url, prober() as probe:
        outcome = await probe("http", http=url)
    assert outcome.status == CRITICAL
    assert "metadata address" in outcome.output


async def test_trap_28_an_answer_is_read_up_to_its_bound() -> None:
    async with http_server(lambda _: web.Response(body=b"x" * 1_000_000)) as url, prober() as probe:
        outcome = await probe("http", http=url)
    assert outcome.status == PASSING
    assert outcome.output.count("x") == OUTPUT_BYTES_MAX


async def test_trap_28_a_probe_ends_when_its_time_is_over() -> None:
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    subject = Prober()
    definition = CheckDefinition(http=f"http://127.0.0.1:{port}/", timeout_ms=50)
    outcome = await subject.probe(Check("n", "c", "c", type="http", definition=definition))
    await subject.close()
    server.close()
    for writer in silent:
        writer.close()
        await writer.wait_closed()
    assert outcome == Outcome(CRITICAL, "timed out after 0.05 s")


async def test_a_refused_connection_is_critical_and_says_so() -> None:
    async with prober() as probe:
        for kind in ("http", "tcp", "grpc"):
            port = free_port()
            target = f"http://127.0.0.1:{port}/" if kind == "http" else f"127.0.0.1:{port}"
            outcome = await probe(kind, **{kind: target})
            assert outcome.status == CRITICAL
            assert outcome.output == f"connection refused on 127.0.0.1:{port}"

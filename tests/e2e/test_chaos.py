"""`weft chaos` against real sidecars: what it does, and that it always ends."""

import contextlib
import io

import grpc
import pytest

from tests.support.grpc_matrix import Client, connect
from tests.support.mesh import Member, Mesh, in_thread
from tests.support.processes import free_port
from tests.support.waiting import until
from weft.cli import run


async def weft(mesh: Mesh, *arguments: str, code: int = 0) -> str:
    """What the command prints."""
    out = io.StringIO()

    def call() -> int:
        with contextlib.redirect_stdout(out):
            return run([*arguments, "--http-addr", mesh.registry.http])

    assert await in_thread(call) == code
    return out.getvalue()


async def pair(mesh: Mesh, service: str, caller: str) -> tuple[Member, Member]:
    server = await in_thread(mesh.add, service)
    client = await in_thread(lambda: mesh.add(caller, upstreams=[service], app_port=free_port()))
    await in_thread(mesh.registry.intend, caller, service, "allow")
    await in_thread(mesh.wait, server, client)
    return server, client


async def status(client: Client) -> grpc.StatusCode:
    try:
        await client.name()
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def becomes(client: Client, wanted: grpc.StatusCode) -> None:
    async def ten_times() -> bool:
        return {await status(client) for _ in range(10)} == {wanted}

    await until(ten_times, f"every call ends with {wanted.name}", 60)


async def test_an_experiment_begins_and_is_stopped_at_once(mesh: Mesh) -> None:
    _, caller = await pair(mesh, "brittle", "prober")
    what = ("--abort", "RESOURCE_EXHAUSTED", "--from", "prober")
    async with connect(caller.to("brittle")) as client:
        await becomes(client, grpc.StatusCode.OK)
        assert "Started: exp1 on brittle, ends at " in await weft(
            mesh, "chaos", "start", "brittle", "--name", "exp1", *what
        )
        await becomes(client, grpc.StatusCode.RESOURCE_EXHAUSTED)
        listed = await weft(mesh, "chaos", "list")
        assert 'abort RESOURCE_EXHAUSTED on 100 % of {"Sources":["prober"]}' in listed
        explained = await weft(mesh, "explain", "prober", "brittle", "--grpc", "a.B/C")
        assert "fault exp1 on 100 %: abort 429 / gRPC 8  [experiment exp1]" in explained, explained
        assert await weft(mesh, "chaos", "stop", "--all") == "Stopped: exp1\n"
        await becomes(client, grpc.StatusCode.OK)
    assert "brittle: ended, stopped (" in await weft(mesh, "chaos", "status", "exp1")


async def test_only_the_calls_that_are_named(mesh: Mesh) -> None:
    """Another caller, another method, another header: nothing is done to them."""
    server, caller = await pair(mesh, "choosy", "chooser")
    for name, what in (
        ("exp1", ("--from", "somebody-else")),
        ("exp2", ("--grpc", "other.Service/Method")),
        ("exp3", ("--header", "x-chaos=1")),
        ("exp4", ("--path", "/other")),
    ):
        await weft(mesh, "chaos", "start", "choosy", "--name", name, "--reset", *what)
    await weft(mesh, "chaos", "start", "choosy", "--name", "exp5", "--delay", "1ms..2ms")
    try:
        async with connect(caller.to("choosy")) as client:

            async def delayed() -> bool:
                await client.name()
                return bool(await in_thread(server.metric, "weft_injected_faults_total"))

            await until(delayed, "the last of them is in force, and so are the others", 60)
            assert {await status(client) for _ in range(20)} == {grpc.StatusCode.OK}
    finally:
        await weft(mesh, "chaos", "stop", "--all")


async def test_it_stops_when_something_else_goes_wrong(mesh: Mesh) -> None:
    """Failures on purpose end nothing; those of the application do, and the leader says why."""
    server, caller = await pair(mesh, "watched", "watcher")
    begin = ("chaos", "start", "watched", "--name", "exp6", "--abort", "503", "--percent", "50",
             "--stop-if", "error-rate>20%")  # fmt: skip
    async with connect(caller.to("watched")) as client:
        await weft(mesh, *begin)

        async def judged() -> bool:
            for _ in range(20):
                await status(client)
            return "error-rate of watched is " in await weft(mesh, "chaos", "status", "exp6")

        await until(judged, "the leader has measurements of it", 60)
        told = await weft(mesh, "chaos", "status", "exp6")
        assert "running" in told and "error-rate of watched is 0% (limit: error-rate>20%)" in told, told
        await in_thread(mesh.kill, server.app)

        async def ended() -> bool:
            for _ in range(20):
                await status(client)
            return "ended, error-rate of watched is " in await weft(mesh, "chaos", "status", "exp6")

        await until(ended, "the failures of the application end it", 60)


async def test_it_ends_without_a_registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The sidecar holds the end: the registry is killed while the experiment runs."""
    mesh = await in_thread(Mesh, tmp_path_factory.mktemp("abandoned"))
    try:
        _, caller = await pair(mesh, "orders", "web")
        async with connect(caller.to("orders")) as client:
            await weft(mesh, "chaos", "start", "orders", "--abort", "503", "--for", "10s")
            await becomes(client, grpc.StatusCode.UNAVAILABLE)
            await in_thread(mesh.kill, mesh.dev)
            assert await status(client) is grpc.StatusCode.UNAVAILABLE, "it goes on, until its end"
            await becomes(client, grpc.StatusCode.OK)
    finally:
        unclean = await in_thread(mesh.close)
    assert unclean == []

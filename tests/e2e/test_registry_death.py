"""Traffic does not need the registry; what it missed it learns when the registry is back."""

import grpc
import pytest

from tests.support.grpc_matrix import Client, connect
from tests.support.load import calling
from tests.support.mesh import Mesh, in_thread
from tests.support.processes import free_port
from tests.support.waiting import until


async def test_sidecars_serve_while_the_registry_is_dead(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("orphans")
    mesh = await in_thread(Mesh, folder, "--data-dir", str(folder / "data"))
    try:
        await _live_through_it(mesh)
    finally:
        unclean = await in_thread(mesh.close)
    assert unclean == []


async def _live_through_it(mesh: Mesh) -> None:
    servers = [await in_thread(mesh.add, "orphan", number) for number in (1, 2)]
    caller = await in_thread(lambda: mesh.add("caller", upstreams=["orphan"], app_port=free_port()))
    await in_thread(mesh.registry.intend, "caller", "orphan", "allow")
    await in_thread(mesh.wait, *servers, caller)
    everyone = {server.id for server in servers}
    async with calling(caller.to("orphan")) as load:
        await load.served_by(everyone)
        mesh.kill(mesh.dev)
        await load.served_by(everyone, count=200)
        assert load.failed == [], load.summary()
        async with connect(caller.to("orphan")) as client:  # a new connection, too
            assert await client.name() in everyone
        await in_thread(mesh.start_registry)
        await load.served_by(everyone, count=200)
        assert load.failed == [], load.summary()
    async with connect(caller.to("orphan")) as client:
        await in_thread(mesh.registry.intend, "caller", "orphan", "deny")

        async def is_denied_by_all() -> bool:
            return {await status(client) for _ in range(20)} == {grpc.StatusCode.PERMISSION_DENIED}

        await until(is_denied_by_all, "both instances hear of an intention again", 15)


async def status(client: Client) -> grpc.StatusCode:
    try:
        await client.name()
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK

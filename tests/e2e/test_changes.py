"""A sidecar lives through changes: of its own registration, of the registry's presence."""

import json
from pathlib import Path

import pytest

from tests.support.grpc_matrix import connect
from tests.support.load import calling
from tests.support.mesh import HOST, Member, Mesh, in_thread
from tests.support.processes import free_port
from tests.support.waiting import until


async def test_registering_again_disturbs_nothing(mesh: Mesh) -> None:
    """Consul's clients do so every few seconds. Without `?credential` the credential stays."""
    server = await in_thread(mesh.add, "again")
    caller = await in_thread(lambda: mesh.add("again-caller", upstreams=["again"], app_port=free_port()))
    await in_thread(mesh.registry.intend, "again-caller", "again", "allow")
    await in_thread(mesh.wait, server, caller)
    async with calling(caller.to("again")) as load:
        await load.served_by({server.id})
        for member in (server, caller) * 3:
            await in_thread(mesh.register_again, member)
        await load.served_by({server.id}, count=200)
        assert load.failed == [], load.summary()
    assert server.running.exit_code is None and caller.running.exit_code is None


async def test_an_upstream_comes_and_goes_while_the_sidecar_runs(mesh: Mesh) -> None:
    first, second = [await in_thread(mesh.add, name) for name in ("old-way", "new-way")]
    caller = await in_thread(lambda: mesh.add("mover", upstreams=["old-way"], app_port=free_port()))
    for name in ("old-way", "new-way"):
        await in_thread(mesh.registry.intend, "mover", name, "allow")
    await in_thread(mesh.wait, first, second, caller)
    async with calling(caller.to("old-way")) as load:
        await load.served_by({first.id})
        caller.upstreams["new-way"] = free_port()
        await in_thread(mesh.register_again, caller)
        await in_thread(mesh.wait, first, second, caller)
        async with connect(caller.to("new-way")) as client:
            assert await client.name() == second.id
        assert load.failed == [], load.summary()
    gone = caller.upstreams.pop("old-way")
    await in_thread(mesh.register_again, caller)
    await until(lambda: not _listens(caller, gone), "the old listener is gone")
    async with connect(caller.to("new-way")) as client:
        assert await client.name() == second.id


def _listens(caller: Member, port: int) -> bool:
    return f"{HOST}:{port}" in caller.admin("/config").decode()


async def test_a_sidecar_starts_from_its_cache_while_the_registry_is_down(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("cached")
    mesh = await in_thread(Mesh, folder, "--data-dir", str(folder / "data"))
    try:
        await _restart_without_registry(mesh, folder / "state")
    finally:
        unclean = await in_thread(mesh.close)
    assert unclean == []


async def _restart_without_registry(mesh: Mesh, state: Path) -> None:
    server = await in_thread(mesh.add, "kept")
    caller = await in_thread(
        lambda: mesh.add("kept-caller", upstreams=["kept"], app_port=free_port(), sidecar=False)
    )
    late = await in_thread(lambda: mesh.add("late", app_port=free_port(), sidecar=False))
    await in_thread(mesh.registry.intend, "kept-caller", "kept", "allow")
    mesh.start_sidecar(caller, "--state-dir", str(state))
    await in_thread(mesh.wait, server, caller)
    async with connect(caller.to("kept")) as client:
        assert await client.name() == server.id
    mesh.kill(mesh.dev, caller.running)

    mesh.start_sidecar(caller, "--state-dir", str(state))
    await until(caller.is_ready, "it serves from its cache")
    assert json.loads(caller.admin("/config"))["registry_connected"] is False
    async with connect(caller.to("kept")) as client:
        assert await client.name() == server.id

    mesh.start_sidecar(late)
    await in_thread(mesh.start_registry)
    await until(late.is_ready, "one without a cache serves once the registry is back", 30)
    assert late.running.exit_code is None

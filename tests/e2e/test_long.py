"""A minute in the life of a mesh: leaves renew, an intention flips, an instance dies, no call is lost."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from tests.support.load import calling
from tests.support.mesh import Mesh, in_thread
from tests.support.processes import free_port

LOAD_S = 60.0
KILL_AFTER_S = 30.0
LEAF_TTL = "40s"  # renewed before half of it is left: every 20 s or sooner
DENIED = grpc.StatusCode.PERMISSION_DENIED


@contextlib.asynccontextmanager
async def flipping(mesh: Mesh, source: str, destination: str) -> AsyncIterator[None]:
    """The intention turns round each second."""

    async def flip() -> None:
        for action in itertools.cycle(("deny", "allow")):
            await in_thread(mesh.registry.intend, source, destination, action)
            await asyncio.sleep(1)

    task = asyncio.create_task(flip())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.long
async def test_a_minute_of_renewals_flips_and_a_death(tmp_path_factory: pytest.TempPathFactory) -> None:
    mesh = await in_thread(Mesh, tmp_path_factory.mktemp("minute"), "--leaf-ttl", LEAF_TTL)
    try:
        await _minute(mesh)
    finally:
        unclean = await in_thread(mesh.close)
    assert unclean == []


async def _minute(mesh: Mesh) -> None:
    servers = [await in_thread(mesh.add, "steady", number) for number in (1, 2, 3)]
    other = await in_thread(mesh.add, "flipped")
    caller = await in_thread(
        lambda: mesh.add("caller", upstreams=["steady", "flipped"], app_port=free_port())
    )
    await in_thread(mesh.registry.intend, "caller", "steady", "allow")
    await in_thread(mesh.wait, *servers, other, caller)
    expiries = set()
    async with (
        calling(caller.to("steady"), callers=8) as load,
        calling(caller.to("flipped"), callers=1, pause_s=0.02) as flipped,
        flipping(mesh, "caller", "flipped"),
    ):
        await load.served_by({server.id for server in servers})
        start, killed = time.monotonic(), None
        while time.monotonic() < start + LOAD_S:
            await asyncio.sleep(0.5)
            expiries.add(await in_thread(caller.metric, "weft_certificate_expiry_timestamp_seconds"))
            if not killed and time.monotonic() > start + KILL_AFTER_S:
                killed = mesh.kill(servers[0].running, servers[0].app)
        await load.served_by({server.id for server in servers[1:]})
    print(f"{len(load.outcomes)} calls, {len(load.failed)} failed; {len(expiries)} leaves of the caller")
    assert killed
    assert load.lost(killed) == [], load.summary()
    assert len(load.failed) <= 8, "more failed than were in flight"
    assert len(expiries) >= 3, "the leaf was not renewed"
    # The flipped pair saw both, and nothing else.
    assert {outcome.status for outcome in flipped.outcomes} == {grpc.StatusCode.OK, DENIED}, flipped.summary()

"""A sidecar is replaced by another process while it carries calls, and nobody notices."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests.support.grpc_eof import EOF
from tests.support.grpc_matrix import Client, connect
from tests.support.http_load import HttpLoad, http_app, http_calling
from tests.support.load import Load, calling
from tests.support.mesh import HOST, Member, Mesh, in_thread
from tests.support.processes import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.long

DRAIN_S = "20"
STREAM_S = 4.0  # longer than a replacement takes
PATIENCE_S = 40.0


@dataclass
class World:
    mesh: Mesh
    web: Member
    orders: Member
    shop: Member

    def state(self, member: Member) -> Path:
        return self.mesh.folder / f"{member.id}.state"

    def start(self, member: Member, *flags: str) -> None:
        options = ("--state-dir", str(self.state(member)), "--drain-timeout", DRAIN_S)
        self.mesh.start_sidecar(member, *options, *flags)

    async def replace(self, member: Member, *flags: str) -> None:
        """Another process takes over; the old one ends by itself, with 0."""
        old = member.running
        await in_thread(self.start, member, "--takeover", *flags)
        new = member.running
        await until(
            lambda: b'"ready"' in new.log.read_bytes()[-4000:] or new.exit_code is not None, "it serves"
        )
        assert new.exit_code is None, new.said()
        await until(lambda: old.exit_code is not None, "the old one drains", PATIENCE_S)
        assert old.exit_code == 0, old.said()
        self.mesh.processes.forget(old)


@contextlib.asynccontextmanager
async def world(folder: Path, *flags: str) -> AsyncIterator[World]:
    mesh = await in_thread(Mesh, folder)
    try:
        orders = await in_thread(lambda: mesh.add("orders", sidecar=False))
        shop = await in_thread(lambda: mesh.add("shop", app_port=free_port(), sidecar=False))
        web = await in_thread(
            lambda: mesh.add(
                "web", upstreams=["orders", "shop"], app_port=free_port(), sidecar=False,
                upstream_config={"protocol": "http"},
            )
        )  # fmt: skip
        made = World(mesh, web, orders, shop)
        for member in (orders, shop, web):
            await in_thread(made.start, member, *flags)
        for called in ("orders", "shop"):
            await in_thread(mesh.registry.intend, "web", called, "allow")
        async with http_app(shop.app_port):
            await in_thread(mesh.wait, orders, shop, web)
            yield made
    finally:
        unclean = await in_thread(mesh.close)
    assert unclean == []


async def _stream(client: Client) -> None:
    """A message there and back now and then, for STREAM_S."""
    call = client.bidi(timeout=PATIENCE_S)
    for _ in range(int(STREAM_S / 0.1)):
        await call.write(b"on")
        assert await call.read() == b"on"
        await asyncio.sleep(0.1)
    await call.done_writing()
    assert await call.read() is EOF


async def _streams(client: Client, over: asyncio.Event, ended: list[str]) -> None:
    while not over.is_set():
        try:
            await _stream(client)
            ended.append("")
        except grpc.aio.AioRpcError as error:
            ended.append(f"{error.code()} {error.details()}")
        except asyncio.InvalidStateError as error:  # a write to a call that has ended
            ended.append(str(error))


@contextlib.asynccontextmanager
async def everything(there: World) -> AsyncIterator[tuple[Load, HttpLoad, list[str]]]:
    """Unary calls, long streams and HTTP/1.1, all at once."""
    over, ended = asyncio.Event(), list[str]()
    async with (
        connect(there.web.to("orders")) as client,
        calling(there.web.to("orders"), callers=4) as load,
        http_calling(there.web.upstreams["shop"], callers=4) as http_load,
    ):
        await load.served_by({there.orders.id})
        streams = [asyncio.ensure_future(_streams(client, over, ended)) for _ in range(4)]
        yield load, http_load, ended
        over.set()
        await asyncio.gather(*streams)


async def test_five_upgrades_under_load_lose_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as there, everything(there) as (load, http_load, streams):
        for upgraded in (there.web, there.orders, there.web, there.shop, there.web):
            before = len(load.outcomes), http_load.answered
            await there.replace(upgraded)
            await until(
                lambda: len(load.outcomes) > before[0] + 50 and http_load.answered > before[1] + 50,  # noqa: B023
                "calls go on",
            )
        assert there.web.is_ready()
    assert load.failed == []
    assert http_load.failed == []
    assert [it for it in streams if it] == []
    assert len(streams) >= 8 and http_load.answered > 500


async def test_sigusr2_starts_the_successor(tmp_path: Path) -> None:
    """As a service manager's reload does, whose main process it then is."""
    async with world(tmp_path) as there:
        old = there.web.running
        async with calling(there.web.to("orders"), callers=2) as load:
            await load.served_by({there.orders.id})
            old.signal(signal.SIGUSR2)
            await until(lambda: old.exit_code is not None, "the old one drains", PATIENCE_S)
            assert old.exit_code == 0, old.said()
            count = len(load.outcomes)
            await until(lambda: len(load.outcomes) > count + 50, "calls go on")
        assert load.failed == []
        there.mesh.processes.forget(old)
        (pid,) = map(int, re.findall(r'"pid":(\d+),"event":"a successor is started"', old.log.read_text()))
        assert there.web.is_ready()
        os.kill(pid, signal.SIGTERM)
        await until(lambda: not Path(f"/proc/{pid}/exe").exists(), "it ends on SIGTERM", PATIENCE_S)
        assert not (there.state(there.web) / "handover.sock").exists()


@pytest.mark.parametrize("flags", [("--admin-address", "192.0.2.1:1"), ("--registry", "127.0.0.1:1")])
async def test_a_successor_that_fails_changes_nothing(tmp_path: Path, flags: tuple[str, str]) -> None:
    """It has the sockets, and does not come to serve: wrong flags, or killed while it asks the registry."""
    async with world(tmp_path) as there, calling(there.web.to("orders"), callers=2) as load:
        await load.served_by({there.orders.id})
        old = there.web.running
        (there.state(there.web) / "config").unlink()  # with it, it would serve without the registry
        await in_thread(there.start, there.web, "--takeover", *flags)
        new = there.web.running
        there.web.sidecar = old
        if flags[0] == "--registry":
            await until(lambda: "registry not" in new.said(), "it asks")
            new.kill()
        await until(lambda: new.exit_code is not None, "it ends")
        there.mesh.processes.forget(new)
        count = len(load.outcomes)
        await until(lambda: len(load.outcomes) > count + 50, "calls go on")
        assert old.exit_code is None and there.web.is_ready()
        await there.replace(there.web)
    assert load.failed == []


async def test_without_a_predecessor_it_just_starts(tmp_path: Path) -> None:
    async with world(tmp_path, "--takeover") as there:
        assert there.web.is_ready()
        assert HOST in there.web.to("orders")

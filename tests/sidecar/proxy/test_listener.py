"""Where connections are accepted: addresses that can be bound, and those that cannot."""

import asyncio
import dataclasses
import socket
import stat
from pathlib import Path

import pytest

from sidecar.proxy.listener import Listener
from sidecar.snapshot import Address
from tests.support.switch import Mesh, inbound_port, outbound_port, to
from tests.support.waiting import until
from tests.support.wire import PREFACE as CLIENT_PREFACE
from tests.support.wire import App, EchoApp, Wire, dial, settings
from weft.errors import EnvironmentProblem, PortTaken


async def test_a_taken_port_is_named(mesh: Mesh) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        listener = Listener(Address("127.0.0.1", port), asyncio.Protocol)
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port} is taken by another process"):
            await listener.start(None)


async def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(EnvironmentProblem, match=r"cannot listen on 192\.0\.2\.1:80"):
        await Listener(Address("192.0.2.1", 80), asyncio.Protocol).start(None)


async def test_trap_5_upstreams_on_unix_sockets_have_their_mode(
    mesh: Mesh, echo: EchoApp, tmp_path: Path
) -> None:
    """A socket left behind is replaced, one that answers is not; closing removes it."""
    path = tmp_path / "orders.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    orders = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", echo.port)))
    upstream = mesh.upstream("orders", [orders]).at(Address(path=str(path), mode=0o660))
    web = await mesh.engine(mesh.snapshot("web", upstreams=[upstream]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    wire = Wire(CLIENT_PREFACE + settings())
    await asyncio.get_running_loop().create_unix_connection(lambda: wire, str(path))
    wire.headers(1, end=True)
    assert (await wire.over(1)).blocks[-1]["grpc-status"] == "0"
    with pytest.raises(PortTaken):
        await Listener(Address(path=str(path)), asyncio.Protocol).start(None)
    wire.close()
    await web.close()
    assert not path.exists()


async def test_a_new_inbound_address_replaces_the_old(mesh: Mesh, app: App) -> None:
    orders = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", app.port)))
    before = inbound_port(orders)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inbound = dataclasses.replace(orders.snapshot.inbound, listen=Address("127.0.0.1", port))
    orders.swap(dataclasses.replace(orders.snapshot, inbound=inbound))
    await until(lambda: inbound_port(orders) == port, "the new listener")
    wire = await dial(port, ssl=mesh.tls("web").client)
    await wire.pinged()
    wire.close()
    with pytest.raises(ConnectionRefusedError):
        await dial(before, ssl=mesh.tls("web").client)


async def test_a_listener_that_moves_keeps_its_connections(mesh: Mesh, echo: EchoApp) -> None:
    orders = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", echo.port)))
    web = await mesh.engine(mesh.snapshot("web", upstreams=[mesh.upstream("orders", [orders])]))
    caller = await dial(outbound_port(web))
    caller.headers(1, end=True)
    await caller.over(1)
    before = outbound_port(web)
    moved = dataclasses.replace(web.snapshot.upstreams["orders"], listen=Address("127.0.0.2", 0))
    web.swap(dataclasses.replace(web.snapshot, upstreams={"orders": moved}))
    await until(lambda: outbound_port(web) != before, "the new listener")
    caller.headers(3, end=True)
    assert (await caller.over(3)).blocks[-1]["grpc-status"] == "0"
    caller.close()


async def test_a_port_that_was_taken_is_bound_once_it_is_free(mesh: Mesh, echo: EchoApp) -> None:
    orders = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", echo.port)))
    web = await mesh.engine(mesh.snapshot("web"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        wanted = mesh.upstream("orders", [orders]).at(Address("127.0.0.1", port))
        web.swap(to(web.snapshot, wanted))
        await until(lambda: web.unbound() == {"orders": f"127.0.0.1:{port}"}, "the attempt")
    await until(lambda: web.unbound() == {}, "another attempt")
    caller = await dial(port)
    caller.headers(1, end=True)
    assert (await caller.over(1)).blocks[-1]["grpc-status"] == "0"
    caller.close()

"""Instances, connections to them, requests that wait, and what is tried once more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar.h2.errors import ErrorCode
from sidecar.proxy.engine import Engine
from sidecar.snapshot import Address, Balance, EjectionPolicy
from tests.support.switch import Mesh, inbound_port, outbound_port, to
from tests.support.waiting import until
from tests.support.wire import (
    GOAWAY,
    GRPC,
    HEAD_OK,
    TRAILERS_OK,
    WINDOW_UPDATE,
    App,
    EchoApp,
    Wire,
    dial,
    frame,
    u32,
)

UNAVAILABLE = "14"


@pytest.fixture(params=["plain", "featured"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """All of this holds whatever else routes and targets ask for."""
    running = Mesh(featured=request.param == "featured")
    yield running
    await running.close()


async def _orders(mesh: Mesh, port: int) -> Engine:
    return await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", port)))


async def _web(mesh: Mesh, *peers: Engine | int, **settings: object) -> Engine:
    upstream = mesh.upstream("orders", peers, **settings)
    return await mesh.engine(mesh.snapshot("web", upstreams=[upstream]))


async def _call(caller: Wire, sid: int, body: bytes = b"body") -> str:
    """One unary call; its gRPC status."""
    caller.headers(sid)
    caller.data(sid, body, end=True)
    heard = await caller.over(sid)
    assert heard.blocks, f"reset with {heard.reset}"
    return heard.blocks[-1]["grpc-status"]


def _peer(mesh: Mesh, *values: tuple[int, int]) -> App:
    """A hand-driven orders sidecar."""
    return App(*values, ssl=mesh.tls("orders").server)


def _free_port() -> int:
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


async def test_no_instance_is_a_clear_answer(mesh: Mesh) -> None:
    web = await _web(mesh)
    caller = await dial(outbound_port(web))
    caller.headers(1)
    caller.headers(3, GRPC[:4])
    heard = await caller.over(1)
    assert heard.blocks[0]["grpc-status"] == UNAVAILABLE
    assert heard.blocks[0]["grpc-message"] == "weft: no healthy instance of orders"
    assert (await caller.over(3)).blocks[0][":status"] == "503"
    caller.close()


async def test_a_dead_instance_costs_a_retry_and_leaves_the_pool(mesh: Mesh, echo: EchoApp) -> None:
    """No call fails: each goes once more, to the other instance."""
    alive = await _orders(mesh, echo.port)
    ejection = EjectionPolicy(consecutive_failures=2, base_s=30)
    web = await _web(mesh, alive, _free_port(), balance=Balance.ROUND_ROBIN, ejection=ejection)
    caller = await dial(outbound_port(web))
    assert [await _call(caller, sid) for sid in range(1, 21, 2)] == ["0"] * 10
    series = web.outbound["orders"].pool.series
    assert (series.retries, series.ejections, series.ejected) == (2, 1, 1)
    caller.close()


async def test_trap_17_a_dead_application_behind_a_live_sidecar_leaves_the_pool(
    mesh: Mesh, echo: EchoApp
) -> None:
    """Its sidecar answers REFUSED_STREAM, which is safe to send elsewhere and counts."""
    alive, dead = await _orders(mesh, echo.port), await _orders(mesh, _free_port())
    ejection = EjectionPolicy(consecutive_failures=2, base_s=30)
    web = await _web(mesh, alive, dead, balance=Balance.ROUND_ROBIN, ejection=ejection)
    caller = await dial(outbound_port(web))
    assert [await _call(caller, sid) for sid in range(1, 21, 2)] == ["0"] * 10
    assert web.outbound["orders"].pool.series.ejected == 1
    direct = await dial(inbound_port(dead), ssl=mesh.tls("web").client)
    direct.headers(1, end=True)
    assert (await direct.over(1)).reset == ErrorCode.REFUSED_STREAM
    for wire in (caller, direct):
        wire.close()


async def test_a_single_dead_instance_is_unavailable(mesh: Mesh) -> None:
    web = await _web(mesh, await _orders(mesh, _free_port()))
    caller = await dial(outbound_port(web))
    assert await _call(caller, 1) == UNAVAILABLE
    caller.close()


async def test_failing_answers_eject_and_the_instance_returns(mesh: Mesh, echo: EchoApp) -> None:
    """UNAVAILABLE from the application reaches the caller, and counts."""
    sick = await App().start()
    alive, failing = await _orders(mesh, echo.port), await _orders(mesh, sick.port)
    ejection = EjectionPolicy(consecutive_failures=3, base_s=0.2, max_s=0.2)
    web = await _web(mesh, alive, failing, balance=Balance.ROUND_ROBIN, ejection=ejection)
    answered: list[int] = []

    async def answer() -> None:
        wire = await sick.wire()
        while True:
            for sid in wire.requests():
                if sid not in answered:
                    answered.append(sid)
                    wire.headers(sid, [*HEAD_OK, ("grpc-status", UNAVAILABLE)], end=True)
            await asyncio.sleep(0.001)

    answering = asyncio.get_running_loop().create_task(answer())
    caller = await dial(outbound_port(web))
    statuses = [await _call(caller, sid) for sid in range(1, 31, 2)]
    assert statuses.count(UNAVAILABLE) == 3
    pool = web.outbound["orders"].pool
    assert pool.series.ejected == 1
    await until(lambda: len(pool.live) == 2, "it returns")
    answering.cancel()
    sick.close()
    caller.close()


async def test_refused_streams_above_goaway_go_elsewhere(mesh: Mesh, echo: EchoApp) -> None:
    """Trap 16, RFC 9113 section 6.8: with the body that was sent already."""
    leaving, alive = await _peer(mesh).start(), await _orders(mesh, echo.port)
    web = await _web(mesh, leaving.port, balance=Balance.ROUND_ROBIN)
    caller = await dial(outbound_port(web))
    caller.headers(1)
    first = b"first half, " * 3000
    for at in range(0, len(first), 16_000):
        caller.data(1, first[at : at + 16_000])
    behind = await leaving.wire()
    sid = (await behind.asked())[0]
    await until(lambda: behind.heard(sid).data == first, "the body arrives")
    upstream = mesh.upstream("orders", [leaving.port, alive])
    web.swap(to(web.snapshot, upstream))
    leaving.close_listener()
    behind.send(frame(GOAWAY, 0, 0, u32(0) + u32(0)))
    await until(lambda: echo.wires and echo.wires[0].heard(1).data == first, "it is sent again")
    await caller.pinged()
    updates = [payload for kind, _, stream, payload in caller.frames if (kind, stream) == (WINDOW_UPDATE, 1)]
    credited = sum(int.from_bytes(payload, "big") for payload in updates)
    assert 0 < credited <= len(first), "what is sent again is credited once"
    caller.data(1, b"second half", end=True)
    heard = await caller.over(1)
    assert (len(heard.data), heard.blocks[-1]["grpc-status"]) == (16_000, "0")
    assert echo.wires[0].heard(1).data == first + b"second half"
    leaving.close()
    caller.close()


async def test_trap_17_a_body_that_is_not_held_whole_is_not_sent_again(mesh: Mesh, echo: EchoApp) -> None:
    refusing, alive = await _peer(mesh).start(), await _orders(mesh, echo.port)
    web = await _web(mesh, refusing.port)
    caller = await dial(outbound_port(web))
    caller.headers(1)
    behind = await refusing.wire()
    sid = (await behind.asked())[0]
    for _ in range(8):
        caller.data(1, bytes(16_000))
        await behind.pinged()
        await caller.pinged()
    web.swap(to(web.snapshot, mesh.upstream("orders", [refusing.port, alive])))
    behind.reset(sid, ErrorCode.REFUSED_STREAM)
    assert (await caller.over(1)).blocks[0]["grpc-status"] == UNAVAILABLE
    assert web.outbox.held == 0
    refusing.close()
    caller.close()


async def test_a_lost_connection_is_not_retried(mesh: Mesh, echo: EchoApp) -> None:
    """The instance may have processed the request."""
    breaking, alive = await _peer(mesh).start(), await _orders(mesh, echo.port)
    web = await _web(mesh, breaking.port, alive, balance=Balance.ROUND_ROBIN)
    caller = await dial(outbound_port(web))
    caller.headers(1, end=True)
    caller.headers(3, end=True)
    behind = await breaking.wire()
    await behind.asked()
    behind.close()
    answers = [(await caller.over(sid)).blocks[-1]["grpc-status"] for sid in (1, 3)]
    assert sorted(answers) == ["0", UNAVAILABLE]
    breaking.close()
    caller.close()


async def test_requests_queue_at_max_concurrent_streams(mesh: Mesh) -> None:
    """Four connections of two streams; the rest waits in order, and beyond the bound is refused."""
    app = await App((3, 2)).start()
    engine = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", app.port)))
    engine.app.pending_max = 3
    caller = await dial(inbound_port(engine), ssl=mesh.tls("web").client)
    for sid in range(1, 17, 2):
        caller.headers(sid, end=True)
        await until(lambda: app.requests() + engine.app.series.pending >= (sid + 1) // 2, "it is placed")  # noqa: B023
        await until(lambda: engine.app.series.pending == 0, "a connection takes it")
    assert (len(app.wires), app.requests()) == (4, 8)
    for sid in range(17, 25, 2):
        caller.headers(sid, end=True)
    assert "too many requests wait" in (await caller.over(23)).blocks[0]["grpc-message"]
    assert engine.app.series.pending == 3
    caller.reset(19)
    await until(lambda: engine.app.series.pending == 2, "who leaves makes room")
    wire = app.wires[0]
    for sid in wire.requests():
        wire.headers(sid, HEAD_OK, end=True)
    await until(lambda: app.requests() == 10, "those that waited are served")
    assert engine.app.series.pending == 0
    app.close()
    caller.close()


@pytest.mark.parametrize("body", [b"", b"x" * 40_000])
async def test_a_body_waits_with_its_request(mesh: Mesh, body: bytes) -> None:
    """The application comes up only later; nothing of the request is lost meanwhile."""
    app = EchoApp((3, 1))
    await app.start()
    engine = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", app.port)))
    caller = await dial(inbound_port(engine), ssl=mesh.tls("web").client)
    for sid in range(1, 41, 2):
        caller.headers(sid)
        for at in range(0, len(body), 16_000):
            caller.data(sid, body[at : at + 16_000])
        caller.data(sid, b"", end=True)
    for sid in range(1, 41, 2):
        heard = await caller.over(sid)
        assert heard.blocks[-1] == dict(TRAILERS_OK)
        assert heard.data == body[:16_000]
    assert engine.outbox.held == 0
    app.close()
    caller.close()


async def test_trap_16_drain_is_two_goaways(mesh: Mesh, app: App) -> None:
    """What is open ends well, what comes between the two is served, what comes after may go elsewhere."""
    orders = await _orders(mesh, app.port)
    caller = await dial(inbound_port(orders), ssl=mesh.tls("web").client)
    caller.headers(1, end=True)
    behind = await app.wire()
    await behind.asked()
    caller.acknowledge = False
    draining = asyncio.get_running_loop().create_task(orders.drain(10))
    await until(lambda: caller.goaways, "the first GOAWAY")
    assert caller.goaways == [(0x7FFF_FFFF, 0)]
    caller.headers(3, end=True)
    first, second = await behind.asked(2)
    ping = next(payload for kind, _, _, payload in caller.frames if kind == 6)
    caller.send(frame(6, 1, 0, ping))
    await until(lambda: len(caller.goaways) == 2, "the second GOAWAY")
    assert caller.goaways[1] == (3, 0)
    caller.headers(5)
    for sid in (first, second):
        behind.headers(sid, HEAD_OK)
        behind.headers(sid, TRAILERS_OK, end=True)
    assert (await caller.over(1)).blocks[-1] == dict(TRAILERS_OK)
    assert (await caller.over(3)).blocks[-1] == dict(TRAILERS_OK)
    await draining
    await until(lambda: caller.closed, "the connection ends")
    assert app.requests() == 2


async def test_connections_roll_before_stream_ids_run_out(mesh: Mesh, echo: EchoApp) -> None:
    orders = await _orders(mesh, echo.port)
    caller = await dial(inbound_port(orders), ssl=mesh.tls("web").client)
    assert await _call(caller, 1) == "0"
    (target,) = orders.app.endpoints.values()
    (old,) = target.conns
    old.next_sid = 0x7FFF_FF01
    await until(lambda: old not in target.conns, "the old connection is left")
    assert await _call(caller, 3) == "0"
    assert target.conns != [old] and len(echo.wires) == 2
    caller.close()


async def test_a_dropped_upstream_is_unbound_and_a_new_one_bound(mesh: Mesh, echo: EchoApp) -> None:
    orders = await _orders(mesh, echo.port)
    web = await _web(mesh, orders)
    caller = await dial(outbound_port(web))
    assert await _call(caller, 1) == "0"
    web.swap(to(web.snapshot, mesh.upstream("orders", [orders]).named("other")))
    await until(lambda: "other" in web.listening(), "the new listener")
    assert "orders" not in web.listening()
    await until(lambda: caller.closed, "the old one's connections go")
    again = await dial(outbound_port(web, "other"))
    assert await _call(again, 1) == "0"
    again.close()


async def test_trap_10_an_upstream_is_usable_only_after_its_settings(mesh: Mesh, echo: EchoApp) -> None:
    """A TLS 1.3 handshake that succeeded for us says nothing: the server may refuse our certificate yet."""
    mute = _peer(mesh)
    mute.setup = lambda wire: setattr(wire, "_preface", b"")
    await mute.start()
    alive = await _orders(mesh, echo.port)
    web = await _web(mesh, mute.port, alive, balance=Balance.ROUND_ROBIN, connect_timeout_s=0.3)
    caller = await dial(outbound_port(web))
    assert [await _call(caller, sid) for sid in (1, 3)] == ["0", "0"]
    assert (await mute.wire()).requests() == []
    assert web.outbound["orders"].pool.series.retries == 1
    mute.close()
    caller.close()


async def test_the_process_holds_no_more_than_its_cap(mesh: Mesh, app: App) -> None:
    """Over it, the stream that would park more is ended; what it held is given back."""
    orders = await _orders(mesh, app.port)
    orders.outbox.held_max = 100_000
    app.setup = lambda wire: setattr(wire, "credit", False)
    caller = await dial(inbound_port(orders), ssl=mesh.tls("web").client)
    for sid in range(1, 13, 2):
        caller.headers(sid)
        for _ in range(3):
            caller.data(sid, bytes(16_384))
        await caller.pinged()
        assert orders.outbox.held <= 100_000
    resets = [caller.heard(sid).reset for sid in range(1, 13, 2)]
    assert ErrorCode.ENHANCE_YOUR_CALM in resets and None in resets
    assert not caller.goaways
    caller.close()
    await until(lambda: orders.outbox.held == 0, "all is given back")

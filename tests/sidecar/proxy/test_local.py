"""What a service's sidecar takes from peers, and how long its application may take, on the real listener."""

import asyncio
import dataclasses

from sidecar.snapshot import Address, AppPolicy, Protocol
from tests.support.http1 import aiohttp_app, pair, raw_app
from tests.support.scripted import Calls, answers, get, grpc, serves, silent
from tests.support.service import Service, rule
from tests.support.switch import Mesh, outbound_port
from tests.support.waiting import until
from tests.support.wire import HEAD_OK, TRAILERS_OK, Wire, dial

KB = 1024
LARGE = 70 * KB
REFUSED_STREAM = 7


def large(octets: int = LARGE) -> tuple[tuple[str, str], ...]:
    """A request with so large a head, in fields that each are taken."""
    return (*get(), *((f"x-{at}", "v" * KB) for at in range(octets // KB)))


async def http_status(calls: Calls, fields: tuple[tuple[str, str], ...]) -> str:
    """Of an answer that may bear a gRPC status beside it."""
    return (await calls.make(fields)).blocks[0][":status"]


async def test_connections_above_the_bound_are_closed_and_those_that_are_there_stay(service: Service) -> None:
    service.change(connections_max=2)
    first, second = await service.caller(), await service.caller("billing")
    assert [await it.status(get()) for it in (first, second)] == ["0", "0"]
    third = await service.caller()
    await until(lambda: third.wire.closed, "the third is closed")
    assert service.engine.inbound.counted.refused == {"too_many": 1}
    service.change(connections_max=1)
    assert [await it.status(get()) for it in (first, second)] == ["0", "0"]
    first.wire.close()
    second.wire.close()
    await until(lambda: not service.engine.inbound.connections, "they go")
    assert await (await service.caller()).status(get()) == "0"


async def test_an_answer_that_takes_too_long_is_cut(service: Service) -> None:
    service.app.answer = silent
    service.change(app_policy=AppPolicy(request_timeout_s=0.05))
    calls = await service.caller()
    assert [await calls.status(it) for it in (get(), grpc())] == ["504", "4"]
    behind = service.app.wires[0]
    await until(
        lambda: {behind.heard(sid).reset for sid in behind.requests()} == {8}, "the application knows"
    )
    service.change(app_policy=AppPolicy(request_timeout_s=30.0))
    service.app.answer = serves()
    assert [await calls.status(it) for it in (get(), grpc())] == ["0", "0"]
    assert service.engine.outbox.held == 0


async def test_a_stream_ends_with_its_time_and_one_without_limit_does_not(service: Service) -> None:
    def begins(wire: Wire, sid: int) -> None:
        wire.headers(sid, HEAD_OK)

    service.app.answer = begins
    calls = await service.caller()
    free = calls.begin(grpc())
    await until(lambda: calls.wire.heard(free).blocks, "it is answered")
    service.change(app_policy=AppPolicy(request_timeout_s=0.05))
    heard = await calls.make(grpc())
    assert heard.blocks[-1]["grpc-status"] == "4"
    assert not calls.wire.heard(free).ended
    behind = service.app.wires[0]
    behind.headers(behind.requests()[0], TRAILERS_OK, end=True)
    assert (await calls.wire.over(free)).blocks[-1]["grpc-status"] == "0"


async def test_a_tunnel_must_open_in_time_and_lasts_then() -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        writer.write(await reader.readexactly(4))

    ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
    async with raw_app(upgrade) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        old = there.orders.snapshot
        inbound = dataclasses.replace(old.inbound, app_policy=AppPolicy(request_timeout_s=0.5))
        there.orders.swap(dataclasses.replace(old, inbound=inbound))
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(ask)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        (stream,) = there.orders.inbound.connections.copy().pop().streams.values()
        await asyncio.sleep(0.6)  # longer than an answer may take
        assert stream.due == float("inf")  # type: ignore[attr-defined]  # an exchange
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.close()


async def test_the_time_to_connect_to_the_application_is_bounded(service: Service) -> None:
    """Where it does not accept, callers are told that nothing was done of it."""
    full = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, backlog=1)
    port = full.sockets[0].getsockname()[1]
    service.change(app_policy=AppPolicy(connect_timeout_s=0.05), app=Address("127.0.0.1", port))
    pool = service.engine.app

    async def never(*_: object) -> None:
        await asyncio.sleep(30)

    pool.dialer.dial = never  # type: ignore[assignment, method-assign]  # a peer that drops SYNs
    calls = await service.caller()
    heard = await calls.make(get())
    assert heard.reset == REFUSED_STREAM
    assert pool.series.connect_failures == 1
    full.close()


async def test_an_application_that_connects_at_once_may_be_slow_to_show_what_it_speaks() -> None:
    """The time to connect is not that of the question what it speaks."""
    async with aiohttp_app() as app, pair(app) as there:
        old = there.orders.snapshot
        inbound = dataclasses.replace(old.inbound, app_policy=AppPolicy(connect_timeout_s=0.3))
        there.orders.swap(dataclasses.replace(old, inbound=inbound))
        request = b"GET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert b" 200 " in await there.ask(request)


async def test_larger_heads_are_taken_where_that_is_said_and_smaller_ones_refused(service: Service) -> None:
    service.app.answer = answers(204)
    service.configure(rule(source="*"))
    calls = await service.caller()
    assert await http_status(calls, large()) == "431"
    service.engine.swap(dataclasses.replace(service.engine.snapshot, header_list_max=200 * KB))
    await until(lambda: calls.wire.closed, "the old connection has drained")
    more = await service.caller()
    assert await http_status(more, large()) == "204"
    assert len(service.app.heads[0]) > LARGE // KB
    await until(lambda: service.engine.outbox.held == 0, "nothing is kept of it")
    assert await http_status(more, large(250 * KB)) == "431"
    service.engine.swap(dataclasses.replace(service.engine.snapshot, header_list_max=2 * KB))
    await until(lambda: more.wire.closed, "the old connection has drained")
    least = await service.caller()
    assert [await http_status(least, it) for it in (large(3 * KB), large(60 * KB), get())] == [
        "431",
        "431",
        "204",
    ]


async def test_the_bound_on_heads_holds_for_http1_and_for_what_the_application_sends(mesh: Mesh) -> None:
    async with aiohttp_app() as app, pair(app, app_protocol=Protocol.HTTP) as there:
        lines = b"".join(b"x-%d: %s\r\n" % (at, b"v" * KB) for at in range(5))
        request = b"GET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + lines + b"\r\n"
        assert b" 200 " in await there.ask(request)
        there.web.swap(dataclasses.replace(there.web.snapshot, header_list_max=4 * KB))
        assert b" 431 " in await there.ask(request)
        wire = await dial(outbound_port(there.web))
        wire.headers(1, large(5 * KB), end=True)
        assert (await wire.over(1)).blocks[0][":status"] == "431"
        wire.close()

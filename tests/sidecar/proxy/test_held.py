"""What callers make this process keep: bounded for each and for all, and paid by who has most of it."""

import asyncio

import pytest

from sidecar.h2.errors import ErrorCode
from sidecar.h2.flow import JOIN_BYTES
from sidecar.proxy import downstream
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import GRPC, HEAD_OK, HEADERS, Wire, frame, settings, u32

CALM = ErrorCode.ENHANCE_YOUR_CALM


async def test_large_heads_have_a_bound_per_caller(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9113 section 10.5.1: they are kept while requests are open; other callers go on."""
    monkeypatch.setattr(downstream, "LARGE_HEADS_BYTES_MAX", 200_000)
    caller, app, sid = await plain.opened()
    for number in range(1, 20):
        caller.headers(2 * number + 1, [*GRPC, ("x-large", f"{number % 10}" * 15_000)], end=True)
    await caller.pinged()
    refused = [sid for sid, heard in caller.streams.items() if heard.reset == ErrorCode.REFUSED_STREAM]
    assert refused and plain.conn.held() <= 200_000
    assert plain.engine.outbox.held == plain.conn.held()
    other = await plain.caller()
    other.headers(1, end=True)
    await until(lambda: plain.app.requests() == 20 - len(refused) + 1, "the other caller's request")
    assert len(app.requests()) == 2, "whose way is free of large heads"
    app.headers(sid, [(":status", "200"), ("grpc-status", "0")], end=True)
    caller.close()
    await until(lambda: plain.engine.outbox.held == 0, "nothing is held for who has gone")


async def test_large_heads_beyond_some_come_one_at_a_time(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen references to a field of 3.5 kB in the table are sixteen octets and a head of 56 kB."""
    monkeypatch.setattr(downstream, "SLOW_S", 3600.0)
    monkeypatch.setattr(downstream, "LARGE_HEADS_BYTES_CALM", 150_000)
    caller = await plain.caller()
    fields = [*GRPC, *[("x-bomb", "v" * 3500)] * 16]
    for number in range(6):
        caller.headers(2 * number + 1, fields)
    for count in (3, 4, 5):
        await until(lambda: plain.app.requests() == count, "so many are asked")  # noqa: B023
        conn = plain.conn
        assert conn.waits and len(conn.streams) == count
        conn.go_on()
    conn.abort()  # it would rest on


async def test_the_caller_that_holds_most_makes_room_for_the_others(plain: Plain) -> None:
    """Process-wide bound: an abuser with many stalled streams loses them, a slow reader keeps its own."""
    plain.engine.outbox.held_max = 400_000
    plain.engine.outbound["plain"] = plain.side
    slow, abuser = await plain.caller(), await plain.caller()
    app = await _stalled(plain, slow, 1)
    answers = await _stalled(plain, abuser, 8)
    await until(lambda: any(heard.reset == CALM for heard in abuser.streams.values()), "streams end")
    assert plain.engine.outbox.held <= 400_000
    assert not slow.closed and slow.heard(1).reset is None and answers
    slow.send(frame(8, 0, 1, u32(1 << 20)))
    await until(lambda: len(slow.heard(1).data) == 60_000, "the slow reader gets all")
    assert app


async def test_room_is_made_by_what_holds_most_not_by_the_callers_next_to_it(plain: Plain) -> None:
    """A sidecar calls for many on one connection: a small answer that waits behind large ones stays."""
    plain.engine.outbox.held_max = 400_000
    plain.engine.outbound["plain"] = plain.side
    caller = await plain.caller()
    caller.send(settings((4, 0)))
    await caller.pinged()
    caller.headers(101, end=True)
    app = await plain.app.wire(0)
    await until(app.requests, "the request")
    app.headers(small := app.requests()[0], HEAD_OK)
    app.data(small, b"hello")
    await until(lambda: plain.conn.held() == 5, "the small answer waits")
    await _stalled(plain, caller, 8, first=103)
    await until(lambda: any(heard.reset == CALM for heard in caller.streams.values()), "streams end")
    assert plain.engine.outbox.held <= 400_000
    caller.send(frame(8, 0, 101, u32(10)))
    await until(lambda: caller.heard(101).data == b"hello", "the small answer comes")


async def _stalled(plain: Plain, caller: Wire, count: int, first: int = 1) -> list[int]:
    """Requests whose answers of 60,000 octets wait for their windows."""
    caller.send(settings((4, 0)))
    await caller.pinged()
    known = plain.app.requests()
    for number in range(count):
        caller.headers(first + 2 * number, end=True)
    await until(lambda: plain.app.requests() == known + count, "the requests")
    app = plain.app.wires[0]
    fresh = app.requests()[known:]
    for sid in fresh:
        app.headers(sid, HEAD_OK)
        for _ in range(4):
            app.data(sid, bytes(15_000))
        await app.pinged()
    await asyncio.sleep(0)
    return fresh


async def test_a_few_octets_do_not_become_megabytes_at_once(plain: Plain) -> None:
    """RFC 9113 section 10.5.1, RFC 7541 section 7.3: 16 octets of indices mean 60 KiB for the next hop, which
    is not asked for more than its socket takes."""
    caller, app, _ = await plain.opened()
    app.transport.pause_reading()
    bomb = [*GRPC, *[("x-a", "v" * 3000)] * 15]
    first = caller.block(bomb)
    assert len(caller.block(bomb)) < 60
    caller.send(frame(HEADERS, 5, 3, first))
    for number in range(2, 1000):
        caller.headers(2 * number + 1, bomb, end=True)
    await caller.pinged()
    conns = [conn.transport for conn in plain.engine.app.connections()]
    assert sum(transport.get_write_buffer_size() for transport in conns if transport) < 8 * 1024 * 1024
    app.transport.resume_reading()
    caller.close()


async def test_octet_by_octet_waits_as_pieces(plain: Plain) -> None:
    """CVE-2019-9511, CVE-2019-9517: 65,535 waiting pieces of an octet would cost 10 MB."""
    plain.app.setup = lambda wire: setattr(wire, "credit", False)
    caller, app, sid = await plain.opened()
    app.send(settings((4, 0)))
    await app.pinged()
    for _ in range(20_000):
        caller.data(1, b"x")
    caller.data(1, b"y", end=True)
    await caller.pinged()
    (half,) = plain.engine.app.connections()[0].streams.values()
    assert half.parked is not None and half.parked_bytes == 20_001
    assert len(half.parked) <= 20_001 // JOIN_BYTES + 2
    exchange = plain.conn.streams[1]
    assert exchange.replay is None or len(exchange.replay) <= 20_001 // JOIN_BYTES + 2
    app.send(settings((4, 65_535)))
    assert (await app.over(sid)).data == b"x" * 20_000 + b"y"

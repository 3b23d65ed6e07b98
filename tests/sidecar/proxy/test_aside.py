"""Callers that ask for much: apart from the others, and what it costs before they have read any of it."""

import pytest

from sidecar.h2.control import second_passed
from sidecar.h2.settings import INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES
from sidecar.h2.stream import Stream
from sidecar.proxy import downstream, pool
from sidecar.proxy.aside import APP_FIRST_WINDOW_BYTES, FIRST_WINDOW_BYTES, UNREAD_BYTES
from sidecar.proxy.downstream import APART_RESETS, CROWD, GROWN_FIRST, GROWTH_PER_TURN
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import HEAD_OK, SETTINGS, WINDOW_UPDATE, Wire, frame, settings, u32

SMALL_FIRST = (INITIAL_WINDOW_SIZE, APP_FIRST_WINDOW_BYTES)


async def test_a_callers_crowd_goes_apart_from_what_others_ask(plain: Plain) -> None:
    """What a caller has beyond its part waits behind itself: others' answers stand behind none of it."""
    caller = await plain.caller()
    for number in range(CROWD + 20):
        caller.headers(2 * number + 1, end=True)
    shared, apart = await plain.app.wire(0), await plain.app.wire(1)
    await until(lambda: plain.app.requests() == CROWD + 20, "all are asked")
    assert sorted((len(shared.requests()), len(apart.requests()))) == [20, CROWD]
    other = await plain.caller()
    other.headers(1, end=True)
    await until(lambda: plain.app.requests() == CROWD + 21, "the other is asked")
    wire = max(plain.app.wires, key=lambda wire: len(wire.requests()))
    assert len(wire.requests()) == CROWD + 1, "with the caller's first"
    (endpoint,) = plain.engine.app.endpoints.values()
    assert len(endpoint.conns) == len(endpoint.aside.conns) == 1
    caller.close()
    await until(lambda: endpoint.active == 1, "both lanes are counted")


async def test_who_resets_much_is_apart_and_comes_back(plain: Plain) -> None:
    caller, app, _ = await plain.opened()
    for number in range(1, APART_RESETS + 2):
        caller.headers(2 * number + 1)
        caller.reset(2 * number + 1)
    caller.headers(1001, end=True)
    apart = await plain.app.wire(1)
    await apart.asked()
    conn = plain.conn
    for _ in range(2):
        second_passed(conn, probing=False)
        conn.on_second()
    caller.headers(1003, end=True)
    before = APART_RESETS + 2
    await until(lambda: len(app.requests()) == before + 1, "it is among the others again")


async def test_what_cannot_have_a_connection_apart_shares(plain: Plain) -> None:
    """A bound on connections to a destination holds for both lanes."""
    plain.engine.app._connections_max = 1
    caller = await plain.caller()
    for number in range(CROWD + 20):
        caller.headers(2 * number + 1, end=True)
    await (await plain.app.wire(0)).asked(CROWD + 20)
    assert len(plain.app.wires) == 1


async def test_what_waited_is_sent_a_little_at_a_time(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand large heads that waited for a connection are not written in one turn of the loop."""
    monkeypatch.setattr(pool, "SERVING_S", -1.0)  # not even one fits
    caller = await plain.caller()
    caller.headers(1, end=True)
    (endpoint,) = plain.engine.app.endpoints.values()
    await until(lambda: endpoint.later, "it waits for the next turn")
    assert plain.app.requests() == 0
    monkeypatch.undo()
    await until(lambda: plain.app.requests() == 1, "it is sent")


async def opened_apart(plain: Plain, caller: Wire) -> tuple[Wire, int, int]:
    """The last of a caller's streams: the connection to the application, the id there and at the caller."""
    for number in range(CROWD + 1):
        caller.headers(2 * number + 1, end=True)
    wires = [await plain.app.wire(number) for number in range(2)]
    await until(lambda: plain.app.requests() == CROWD + 1, "all are asked")
    apart = min(wires, key=lambda wire: len(wire.requests()))
    (sid,) = apart.requests()
    apart.headers(sid, HEAD_OK)
    found = await until(
        lambda: [own for own, heard in caller.streams.items() if own and heard.blocks], "the head arrives"
    )
    return apart, sid, found[0]


def granted(wire: Wire, sid: int) -> list[int]:
    return [
        int.from_bytes(it, "big") for kind, _, on, it in wire.frames if (kind, on) == (WINDOW_UPDATE, sid)
    ]


async def test_an_answer_apart_gets_a_whole_window_once_it_is_read(plain: Plain) -> None:
    caller = await plain.caller()
    apart, sid, own = await opened_apart(plain, caller)
    first = next(payload for kind, _, _, payload in apart.frames if kind == SETTINGS)
    assert settings(SMALL_FIRST)[9:] in first
    apart.data(sid, bytes(APP_FIRST_WINDOW_BYTES))
    await until(lambda: len(caller.heard(own).data) == APP_FIRST_WINDOW_BYTES, "it is read")
    (more,) = await until(lambda: granted(apart, sid), "more is granted")
    assert STREAM_WINDOW_BYTES // 2 < more < STREAM_WINDOW_BYTES
    for _ in range(more // 10_000):
        apart.data(sid, bytes(10_000))
    apart.data(sid, bytes(more % 10_000))
    await until(lambda: len(caller.heard(own).data) == APP_FIRST_WINDOW_BYTES + more, "all of it is taken")
    assert not caller.goaways and caller.heard(own).reset is None


async def test_what_nobody_reads_is_not_asked_for(plain: Plain) -> None:
    """What sidecars before us let through without anybody reading it gets no more either."""
    caller = await plain.caller()
    caller.send(settings((INITIAL_WINDOW_SIZE, FIRST_WINDOW_BYTES)))
    caller.credit = False
    apart, sid, own = await opened_apart(plain, caller)
    apart.data(sid, bytes(APP_FIRST_WINDOW_BYTES))
    await until(lambda: len(caller.heard(own).data) == FIRST_WINDOW_BYTES, "its window is full")
    await apart.pinged()
    assert granted(apart, sid) == []
    assert plain.engine.outbox.held == APP_FIRST_WINDOW_BYTES - FIRST_WINDOW_BYTES
    caller.send(frame(WINDOW_UPDATE, 0, own, u32(UNREAD_BYTES)))
    await until(lambda: granted(apart, sid), "it reads, and more is granted")


async def test_who_asks_for_more_than_ever_before_does_so_a_little_at_a_time(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "SLOW_S", 3600.0)
    caller = await plain.caller()
    block = caller.block([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
    caller.send(b"".join(frame(1, 5, 2 * number + 1, block) for number in range(GROWN_FIRST + 20)))
    open_now = GROWN_FIRST
    for _ in range(3):
        open_now += GROWTH_PER_TURN
        await until(lambda: plain.app.requests() == open_now, "some more are asked")  # noqa: B023
        conn = plain.conn
        assert conn.waits and len(conn.streams) == open_now
        conn.go_on()
    other = await plain.caller()
    other.headers(1, end=True)
    await until(lambda: plain.app.requests() == open_now + GROWTH_PER_TURN + 1, "another is served meanwhile")
    conn.abort()  # it would rest on


async def test_who_has_had_as_many_may_have_them_again(plain: Plain) -> None:
    caller = await plain.caller()
    count = GROWN_FIRST + 40
    for number in range(count):
        caller.headers(2 * number + 1, end=True)
    await until(lambda: plain.app.requests() == count, "all are asked")
    conn = plain.conn
    assert conn.grown == count
    for number in range(count):
        caller.reset(2 * number + 1)
    await caller.pinged()
    conn.abuse.resets = 0
    for number in range(count, 2 * count):
        caller.headers(2 * number + 1, end=True)
    await until(lambda: plain.app.requests() == 2 * count, "all are asked")
    assert conn.grown == count


async def test_what_a_caller_leaves_is_ended_some_at_a_time(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream, "LOST_PER_TURN", 2)
    ended: list[int] = []
    lose = downstream.Downstream._lose

    def watched(conn: downstream.Downstream, streams: list[Stream]) -> None:
        before = len(conn.streams)
        lose(conn, streams)
        ended.append(before - len(conn.streams))

    monkeypatch.setattr(downstream.Downstream, "_lose", watched)
    caller = await plain.caller()
    for number in range(9):
        caller.headers(2 * number + 1, end=True)
    app = await plain.app.wire(0)
    sids = await app.asked(9)
    caller.close()
    await until(lambda: all(app.heard(sid).reset is not None for sid in sids), "all are ended")
    assert ended == [2, 2, 2, 2, 1]
    assert next(iter(plain.engine.app.endpoints.values())).active == 0

"""Whose turn it is: a flood is walked in between what others ask, and who is restless gets little time."""

from typing import Any

import pytest

from sidecar.h2 import abuse
from sidecar.h2.abuse import DRIBBLE_BYTES
from sidecar.h2.connection import TURN_BYTES, TURN_FIRST, TURN_MAX, TURN_MIN, TURNS_AT_END_MAX, Connection
from sidecar.h2.control import second_passed
from sidecar.h2.decoder import Decoder
from sidecar.h2.encoder import Encoder
from sidecar.h2.flow import JOIN_BYTES, park, pump, pump_blocked
from sidecar.h2.outbox import REST_MAX_S, RESTS_PER_TURN, Outbox
from sidecar.h2.stream import GONE, Stream
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import DATA, HEAD_OK, frame, settings, u32


def test_turns_are_shorter_where_frames_are_dear() -> None:
    """What makes us work for each frame gets as much time as others do, not as many frames."""
    now, turn_s = 0.0, Connected.turn_s
    conn = Connected(Outbox(lambda: now, lambda later: None), Decoder(requests=True), Encoder())
    for seconds_a_frame, frames in ((turn_s, TURN_MIN), (turn_s / 10.5, 10), (turn_s / 1e6, TURN_MAX)):
        now = conn.outbox.now + seconds_a_frame * len(conn.turn)
        conn.wait_for_turn(len(conn.turn) - 1)
        assert len(conn.turn) == frames
        conn.waits, conn.outbox.now = False, now


@pytest.mark.parametrize("client", [False, True])
def test_a_flood_is_not_walked_to_the_end_of_a_caller_but_answers_are(client: bool) -> None:
    role = Called if client else Connected
    conn = role(Outbox(lambda: 0.0, lambda later: None), Decoder(requests=not client), Encoder())
    conn.greeted = True
    conn.waits, conn.tail = True, frame(8, 0, 0, u32(1)) * 10_000
    before = conn.window
    conn.go_on_to_the_end()
    most = (TURNS_AT_END_MAX + 1) * TURN_MAX
    assert conn.window - before == 10_000 if client else 0 < conn.window - before <= most


class Connected(Connection):
    client = False


class Called(Connection):
    client = True


def test_who_waits_newly_goes_before_those_who_always_do() -> None:
    """RFC 9113 section 5.2: a short answer does not wait for a frame of each of a thousand downloads."""
    conn = Connected(Outbox(lambda: 0.0, lambda later: None), Decoder(requests=True), Encoder())

    def waits(sid: int, pieces: int) -> None:
        stream = Stream(conn, sid, 65_535)
        stream.peer = GONE
        for _ in range(pieces):
            park(stream, DATA, b"x" * JOIN_BYTES, 0)
        pump(stream)

    def served(frames: int) -> list[int]:
        conn.out.clear()
        conn.window = frames * JOIN_BYTES
        pump_blocked(conn)
        return [int.from_bytes(written[5:9], "big") for written in conn.out]

    conn.window = 0
    waits(1, 5)
    waits(3, 5)
    assert served(4) == [1, 3, 1, 3]
    waits(5, 1)
    assert served(2) == [5, 1]
    assert served(3) == [3, 1, 3]
    assert served(9) == [1, 3] and not conn.fresh and not conn.blocked


async def test_a_flood_of_small_frames_is_walked_in_turns(plain: Plain) -> None:
    """A read of 256 KiB holds 20,000 frames: the others are served in between, and nothing is lost by it."""
    await plain.opened()
    conn = plain.conn
    before = conn.window
    conn.data_received(frame(8, 0, 0, u32(1)) * 1000)
    assert conn.waits and conn.window == before + TURN_FIRST
    conn.data_received(frame(8, 0, 0, u32(1)) * 10)  # the transport had some more
    assert conn.window == before + TURN_FIRST
    await until(lambda: not conn.waits, "all had their turn")
    assert conn.window == before + 1010
    conn.data_received(frame(8, 0, 0, u32(1)) * 1000)
    conn.eof_received()
    assert not conn.waits and conn.window == before + 2010


def test_a_full_read_ends_a_turn_and_something_dear_does() -> None:
    """After a read that fills its buffer libuv reads again, 32 times, before anybody else has a turn."""
    now = 0.0
    full = frame(0xAA, 0, 0, bytes(16_000)) * (TURN_BYTES // 16_000 + 1)
    conn = Connected(Outbox(lambda: now, lambda later: None), Decoder(requests=True), Encoder())
    conn.greeted = True
    conn.data_received(full)
    assert not conn.waits
    now = 2 * conn.turn_s
    conn.data_received(full[: len(full) // 2])
    assert not conn.waits, "it was not full: nothing follows"
    conn.tail = b""
    conn.data_received(full)
    assert conn.waits
    conn.waits, now = False, 0.0
    conn.outbox.now = now
    conn.turn, conn.steps = range(TURN_MAX), iter(range(TURN_MAX))
    conn.end_long_turn()
    assert next(conn.steps) == 0
    now = 2 * conn.turn_s
    conn.end_long_turn()
    assert list(conn.steps) == []


async def test_after_turns_a_connection_is_read_on(plain: Plain) -> None:
    caller, app, _ = await plain.opened()
    caller.send(frame(8, 0, 0, u32(1)) * 5000)
    caller.headers(3, end=True)
    await app.asked(2)
    await caller.pinged()
    caller.headers(5, end=True)
    await app.asked(3)


def test_who_is_restless_gets_little_time_and_is_calm_again_later() -> None:
    later: list[Any] = []
    conn = Connected(Outbox(lambda: 0.0, later.append), Decoder(requests=True), Encoder())
    conn.greeted = True
    ping = frame(6, 0, 0, b"12345678")
    for number in range(abuse.RESTLESS_CONTROL + 1):
        assert not conn.waits, number
        conn.data_received(ping)
    assert conn.waits, "each read is followed by a rest"
    conn.go_on()
    assert not conn.waits, "after which it is read again"
    conn.data_received(ping)
    assert conn.waits
    conn.go_on()
    second_passed(conn, probing=False)
    conn.data_received(ping)
    assert not conn.waits


def test_all_that_are_restless_share_a_little_time() -> None:
    """A flood over a hundred connections gets no more than one over one."""
    now = 0.0
    outbox = Outbox(lambda: now, lambda later: None)
    now = 0.001
    first = outbox.rests_s()
    assert first == pytest.approx(0.001 * RESTS_PER_TURN)
    assert outbox.rests_s() == pytest.approx(2 * first)
    for _ in range(1000):
        assert outbox.rests_s() <= REST_MAX_S


async def test_a_restless_caller_is_served_all_the_same(plain: Plain) -> None:
    caller, app, _ = await plain.opened()
    for _ in range(3):
        caller.send(frame(6, 0, 0, b"12345678") * abuse.RESTLESS_CONTROL)
    await until(lambda: plain.conn.abuse.restless, "it is restless")
    caller.headers(3, end=True)
    await app.asked(2)
    await caller.pinged()
    assert not caller.goaways


DRIBBLES = abuse.RESTLESS_DRIBBLES + 1


@pytest.mark.parametrize("octets, restless", [(1, True), (DRIBBLE_BYTES, False)])
async def test_who_sends_octet_by_octet_gets_little_time_and_is_served(
    plain: Plain, octets: int, restless: bool
) -> None:
    """CVE-2019-9511: at the next hop these frames stand before everybody else's."""
    caller, app, sid = await plain.opened()
    for _ in range(DRIBBLES):
        caller.data(1, bytes(octets))
    await until(lambda: len(app.heard(sid).data) == octets * DRIBBLES, "all of it arrives")
    assert plain.conn.abuse.restless is restless
    assert not app.goaways and not caller.goaways
    plain.conn.abuse.second_passed()
    assert not plain.conn.abuse.restless


@pytest.mark.parametrize("waits", [True, False])
async def test_who_takes_answers_octet_by_octet_gets_little_time(plain: Plain, waits: bool) -> None:
    """CVE-2019-9511. Small windows count where an answer waits: some clients return each piece at once."""
    caller = await plain.caller()
    caller.credit = False
    caller.send(settings((4, 0 if waits else 65_535)))
    caller.headers(1, end=True)
    app = await plain.app.wire()
    (sid,) = await app.asked()
    app.headers(sid, HEAD_OK)
    app.data(sid, bytes(DRIBBLES))
    caller.send(frame(8, 0, 1, u32(1)) * DRIBBLES)
    await until(lambda: len(caller.heard(1).data) == DRIBBLES, "all of it arrives")
    await caller.pinged()
    assert plain.conn.abuse.restless is waits
    assert not caller.goaways


async def test_an_application_that_answers_octet_by_octet_is_everybodys(plain: Plain) -> None:
    _, app, sid = await plain.opened()
    app.headers(sid, HEAD_OK)
    for _ in range(DRIBBLES):
        app.data(sid, b"x")
    await app.pinged()
    (endpoint,) = plain.engine.app.endpoints.values()
    assert not endpoint.conns[0].abuse.restless

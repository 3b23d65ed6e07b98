"""Abuse that the RFC's own counters miss: what it may cost is bounded, and other callers do not pay."""

import asyncio
from typing import Any

import pytest

from sidecar.h2 import abuse
from sidecar.h2.abuse import DRIBBLE_BYTES
from sidecar.h2.connection import (
    NO_LIMIT,
    TURN_BYTES,
    TURN_FIRST,
    TURN_MAX,
    TURN_MIN,
    TURNS_AT_END_MAX,
    Connection,
)
from sidecar.h2.control import STUCK_BYTES_MAX, STUCK_S, second_passed
from sidecar.h2.decoder import Decoder
from sidecar.h2.encoder import Encoder
from sidecar.h2.errors import ErrorCode
from sidecar.h2.flow import JOIN_BYTES, park, pump, pump_blocked
from sidecar.h2.outbox import REST_MAX_S, RESTS_PER_TURN, Outbox
from sidecar.h2.settings import STREAM_WINDOW_BYTES, STREAMS_MAX
from sidecar.h2.stream import GONE, Stream
from sidecar.proxy import downstream, pool, upstream
from sidecar.proxy.downstream import APART_RESETS, CROWD
from sidecar.proxy.upstream import (
    APP_STREAMS_MAX,
    PEER_RESETS_PER_S,
    PEER_RESETS_ROLL,
    RESETS_ROLL,
)
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import (
    CONTINUATION,
    DATA,
    GRPC,
    HEAD_OK,
    HEADERS,
    PADDED,
    RST_STREAM,
    SETTINGS,
    TRAILERS_OK,
    Wire,
    frame,
    settings,
    u32,
)

CALM = ErrorCode.ENHANCE_YOUR_CALM


def conn_of(plain: Plain) -> downstream.Downstream:
    return next(iter(plain.side.connections))


async def test_settings_that_repeat_themselves_are_applied_once(plain: Plain) -> None:
    """CVE-2019-9515: 2,730 windows in one frame, over many open streams, end at the last; RFC 9113 section
    6.5.3."""
    caller, app, sid = await plain.opened()
    caller.credit = False
    app.headers(sid, HEAD_OK)
    app.data(sid, b"0123456789")
    await until(lambda: caller.heard(1).data, "the answer")
    caller.send(settings(*[(4, value % 2) for value in range(2700)], (4, 65_545), (1, 0), (1, 4096)))
    await caller.pinged()
    stream = conn_of(plain).streams[1]
    assert stream.window == 65_545 - 10
    assert conn_of(plain).encoder.encode(((b"a", b"b"),)).startswith(b"\x20\x3f\xe1\x1f")


async def test_a_window_may_not_be_too_large_even_in_passing(plain: Plain) -> None:
    """RFC 9113 section 6.9.2."""
    caller, _, _ = await plain.opened()
    caller.send(frame(8, 0, 1, u32(10)))
    caller.send(settings((4, 2**31 - 1), (4, 65_535)))
    await caller.goaway(ErrorCode.FLOW_CONTROL_ERROR)


async def test_many_settings_frames_end_the_connection(plain: Plain) -> None:
    """CVE-2019-9515: a frame counts for what it costs."""
    caller = await plain.caller()
    caller.acknowledge = False
    caller.send(settings() * (abuse.CONTROL_MAX // abuse.SETTINGS_COST + 10))
    await caller.goaway(CALM)


FLOODS = {
    "acknowledgements": frame(SETTINGS, 1),
    "empty DATA on a stream that was reset": frame(DATA, 0, 1),
    "trailers on a stream that was reset": frame(HEADERS, 5, 1, b"\x00\x01a\x01b"),
}


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS.keys())
async def test_stragglers_are_not_endless(plain: Plain, sent: bytes) -> None:
    caller, app, sid = await plain.opened()
    app.reset(sid)
    await caller.over(1)
    caller.acknowledge = False
    caller.send(sent * (abuse.EMPTY_MAX + 600))
    await caller.goaway(CALM)


async def test_resets_of_nothing_end_the_connection_to_an_application(plain: Plain) -> None:
    _, app, sid = await plain.opened()
    app.send(frame(RST_STREAM, 0, sid, u32(8)) * (abuse.EMPTY_MAX + 600))
    await app.goaway(CALM)


@pytest.mark.parametrize("padding", [None, 200], ids=["bare", "padded"])
async def test_empty_data_goes_no_further(plain: Plain, padding: int | None) -> None:
    """CVE-2019-9518: the next hop would count the frames of all callers together."""
    caller, app, sid = await plain.opened()
    flags, payload = (0, b"") if padding is None else (PADDED, bytes((padding,)) + bytes(padding))
    for _ in range(600):
        caller.send(frame(DATA, flags, 1, payload))
    caller.data(1, b"end", end=True)
    heard = await app.over(sid)
    assert heard.data == b"end" and heard.frames == 1
    assert not caller.goaways and caller.heard(1).reset is None


async def test_padding_alone_is_credited(plain: Plain) -> None:
    """RFC 9113 section 6.9.1: it counts in the window, so the window must come back."""
    caller, app, sid = await plain.opened()
    padded = frame(DATA, PADDED, 1, bytes((255,)) + bytes(255))
    for _ in range(3 * STREAM_WINDOW_BYTES // 256):
        caller.send(padded)
    caller.data(1, b"end", end=True)
    assert (await app.over(sid)).data == b"end"


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
    exchange = conn_of(plain).streams[1]
    assert exchange.replay is None or len(exchange.replay) <= 20_001 // JOIN_BYTES + 2
    app.send(settings((4, 65_535)))
    assert (await app.over(sid)).data == b"x" * 20_000 + b"y"


async def test_a_block_that_is_never_finished(plain: Plain) -> None:
    """Slow headers: nothing else may come in between, so the whole connection waits with it."""
    caller = await plain.caller()
    await caller.pinged()
    caller.send(frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"\x86"))
    conn = await until(lambda: plain.side.connections and conn_of(plain), "the connection")
    await until(lambda: conn.partial is not None, "the block has begun")
    for _ in range(abuse.CONTINUATIONS_S + 1):
        second_passed(conn, probing=False)
    plain.engine.outbox.flush()
    await caller.goaway(CALM)


async def test_who_reads_nothing_of_what_waits_is_cut(plain: Plain) -> None:
    """Slow reads: the socket takes nothing for a minute, or control frames pile up behind it."""
    await plain.opened()
    conn = conn_of(plain)
    stuck: Any = Stuck()
    real, conn.transport = conn.transport, stuck
    conn.pause_writing()
    for _ in range(STUCK_S - 1):
        assert second_passed(conn, probing=False)
    assert not second_passed(conn, probing=False)
    conn.stuck_s = 0
    stuck.waits = 10
    assert second_passed(conn, probing=False), "it read something"
    stuck.waits = STUCK_BYTES_MAX + 1
    assert not second_passed(conn, probing=False)
    conn.transport = real


class Stuck:
    waits = 1000

    def get_write_buffer_size(self) -> int:
        return self.waits

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


async def test_windows_are_judged_when_a_full_socket_moves_again(plain: Plain) -> None:
    """RFC 9113 section 6.9.1, while our own brake hides the connection's window."""
    caller, _, _ = await plain.opened()
    conn = conn_of(plain)
    conn.pause_writing()
    for _ in range(3):
        caller.send(frame(8, 0, 0, u32(2**31 - 1)))
    await until(lambda: conn.window > 2**32 - (1 << 40), "the updates")
    conn.resume_writing()
    plain.engine.outbox.flush()
    await caller.goaway(ErrorCode.FLOW_CONTROL_ERROR)


async def test_1xx_answers_are_not_endless(plain: Plain) -> None:
    """They are not flow-controlled: an answer of nothing else is cut off; the connection stays."""
    caller, app, sid = await plain.opened()
    for _ in range(abuse.INFORMATIONAL_MAX + 1):
        app.headers(sid, [(":status", "103")])
    assert (await app.over(sid)).reset == CALM
    assert (await caller.over(1)).blocks[-1]["grpc-status"] == "13"
    assert not app.goaways
    caller.headers(3)
    again = (await app.asked(2))[1]
    for _ in range(abuse.INFORMATIONAL_MAX):
        app.headers(again, [(":status", "103")])
    app.headers(again, HEAD_OK)
    app.data(again, b"12345")
    app.headers(again, TRAILERS_OK, end=True)
    heard = await caller.over(3)
    assert heard.data == b"12345" and len(heard.blocks) == abuse.INFORMATIONAL_MAX + 2


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is set apart: all share connections, as many callers that are within bounds do."""
    for bound in ("CROWD", "SHARED_CROWD", "APART_RESETS"):
        monkeypatch.setattr(downstream, bound, NO_LIMIT)


@pytest.mark.usefixtures("together")
async def test_a_caller_that_cancels_does_not_spoil_the_connection_of_all(plain: Plain) -> None:
    """CVE-2023-44487 through a proxy: nghttp2 and Go end a connection on which so many streams are reset. The
    connection is rolled before, and nothing on it is lost."""
    caller, app, sid = await plain.opened()
    other = await plain.caller()
    other.headers(1)
    patient = (await app.asked(2))[1]
    for number in range(1, RESETS_ROLL + 300):
        caller.headers(2 * number + 1)
        caller.reset(2 * number + 1)
    second = await plain.app.wire(1)
    await caller.pinged()
    for wire in plain.app.wires:
        assert sum(heard.reset is not None for heard in wire.streams.values()) <= RESETS_ROLL + 1
    assert not app.closed and not second.goaways
    app.headers(patient, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await other.over(1)).blocks[0]["grpc-status"] == "0"
    app.headers(sid, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await caller.over(1)).blocks[0]["grpc-status"] == "0"


@pytest.mark.usefixtures("together")
async def test_another_connection_is_there_before_one_is_rolled(plain: Plain) -> None:
    """Nobody waits for a handshake because somebody else cancels."""
    caller, app, _ = await plain.opened()
    for number in range(1, RESETS_ROLL // 2 + 1):
        caller.headers(2 * number + 1)
        caller.reset(2 * number + 1)
    await plain.app.wire(1)
    await caller.pinged()
    (endpoint,) = plain.engine.app.endpoints.values()
    await until(lambda: len(endpoint.conns) == 2, "both are ready")
    assert not app.goaways


def test_a_peer_stands_what_is_reset_on_a_connection_before_and_after_its_roll() -> None:
    assert PEER_RESETS_ROLL + STREAMS_MAX <= abuse.RESETS_MAX
    assert PEER_RESETS_PER_S <= abuse.RESETS_PER_S


async def test_large_heads_have_a_bound_per_caller(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9113 section 10.5.1: they are kept while requests are open; other callers go on."""
    monkeypatch.setattr(downstream, "LARGE_HEADS_BYTES_MAX", 200_000)
    caller, app, sid = await plain.opened()
    for number in range(1, 20):
        caller.headers(2 * number + 1, [*GRPC, ("x-large", f"{number % 10}" * 15_000)], end=True)
    await caller.pinged()
    refused = [sid for sid, heard in caller.streams.items() if heard.reset == ErrorCode.REFUSED_STREAM]
    assert refused and conn_of(plain).held() <= 200_000
    assert plain.engine.outbox.held == conn_of(plain).held()
    other = await plain.caller()
    other.headers(1, end=True)
    await until(lambda: plain.app.requests() == 20 - len(refused) + 1, "the other caller's request")
    assert len(app.requests()) == 2, "whose way is free of large heads"
    app.headers(sid, [(":status", "200"), ("grpc-status", "0")], end=True)
    caller.close()
    await until(lambda: plain.engine.outbox.held == 0, "nothing is held for who has gone")


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
    await until(lambda: conn_of(plain).held() == 5, "the small answer waits")
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


async def test_an_answer_that_was_given_is_not_given_again(plain: Plain) -> None:
    """RFC 9113 section 5.1: after END_STREAM there is nothing to add, whatever the application does then."""
    caller, app, sid = await plain.opened()
    app.headers(sid, HEAD_OK)
    app.headers(sid, TRAILERS_OK, end=True)
    await until(lambda: caller.heard(1).ended, "the answer")
    app.data(sid, b"more")
    assert (await app.over(sid)).reset == ErrorCode.STREAM_CLOSED
    await until(lambda: caller.heard(1).reset is not None, "the rest of the request is not wanted")
    assert caller.heard(1).reset == ErrorCode.NO_ERROR
    assert len(caller.heard(1).blocks) == 2


async def test_answers_without_content_have_none(plain: Plain) -> None:
    """RFC 9113 section 8.1.1, RFC 9110 section 6.4.1: 204 and 304 may say a length, and have no DATA."""
    caller, app, _ = await plain.opened()
    for number, status in enumerate(("204", "304"), 1):
        caller.headers(2 * number + 1, end=True)
        sid = (await app.asked(number + 1))[-1]
        app.headers(sid, [(":status", status), ("content-length", "5")], end=True)
        heard = await caller.over(2 * number + 1)
        assert heard.blocks[0][":status"] == status and heard.ended
    caller.headers(7, end=True)
    sid = (await app.asked(4))[-1]
    app.headers(sid, [(":status", "204")])
    app.data(sid, b"none", end=True)
    await until(lambda: app.heard(sid).reset == ErrorCode.PROTOCOL_ERROR, "the stream is reset")


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
    conn = conn_of(plain)
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
    conn = conn_of(plain)
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
    await until(lambda: conn_of(plain).abuse.restless, "it is restless")
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
    assert conn_of(plain).abuse.restless is restless
    assert not app.goaways and not caller.goaways
    conn_of(plain).abuse.second_passed()
    assert not conn_of(plain).abuse.restless


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
    assert conn_of(plain).abuse.restless is waits
    assert not caller.goaways


async def test_an_application_that_answers_octet_by_octet_is_everybodys(plain: Plain) -> None:
    _, app, sid = await plain.opened()
    app.headers(sid, HEAD_OK)
    for _ in range(DRIBBLES):
        app.data(sid, b"x")
    await app.pinged()
    (endpoint,) = plain.engine.app.endpoints.values()
    assert not endpoint.conns[0].abuse.restless


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
        conn = conn_of(plain)
        assert conn.waits and len(conn.streams) == count
        conn.go_on()
    conn.abort()  # it would rest on


async def test_broken_rules_are_forgiven_less_than_cancelled_calls(plain: Plain) -> None:
    """CVE-2025-8671: who makes us reset streams gives us work without a reset of its own."""
    caller, _, _ = await plain.opened()
    for number in range(1, abuse.RESETS_MAX // abuse.FAULT_COST + 2):
        caller.headers(2 * number + 1, [*GRPC, ("connection", "x")])
    await caller.goaway(CALM)


async def test_what_waits_is_not_sent_on_once_its_caller_has_gone(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "APP_STREAMS_MAX", 1)
    monkeypatch.setattr(pool, "CONNECTIONS_PER_INSTANCE_MAX", 1)
    caller, app, sid = await plain.opened()
    for number in range(1, 5):
        caller.headers(2 * number + 1, end=True)
    await caller.pinged()
    caller.close()
    await until(lambda: app.heard(sid).reset is not None, "the application learns that it has gone")
    other = await plain.caller()
    other.headers(1, end=True)
    await app.asked(2)
    assert len(app.requests()) == 2


async def test_after_turns_a_connection_is_read_on(plain: Plain) -> None:
    caller, app, _ = await plain.opened()
    caller.send(frame(8, 0, 0, u32(1)) * 5000)
    caller.headers(3, end=True)
    await app.asked(2)
    await caller.pinged()
    caller.headers(5, end=True)
    await app.asked(3)


@pytest.mark.usefixtures("together")
async def test_what_was_under_way_on_cancelled_calls_is_no_abuse(plain: Plain) -> None:
    """Answers that cross with the cancellation of 500 calls end no connection that others use."""
    caller, app, _ = await plain.opened()
    other = await plain.caller()
    other.headers(1)
    patient = (await app.asked(2))[1]
    for number in range(1, 500):
        caller.headers(2 * number + 1, end=True)
    asked = await app.asked(501)
    caller.close()
    await until(lambda: app.heard(asked[-1]).reset is not None, "they are cancelled")
    for sid in asked:
        if sid != patient:
            app.headers(sid, HEAD_OK)
            app.headers(sid, TRAILERS_OK, end=True)
            app.reset(sid, ErrorCode.NO_ERROR)
    app.headers(patient, [(":status", "200"), ("grpc-status", "0")], end=True)
    assert (await other.over(1)).blocks[0]["grpc-status"] == "0"
    assert not app.goaways or app.goaways[-1] == ErrorCode.NO_ERROR


async def test_stragglers_on_one_stream_have_an_end(plain: Plain) -> None:
    caller, app, sid = await plain.opened()
    caller.reset(1)
    await app.over(sid)
    for _ in range(abuse.EMPTY_MAX + abuse.STRAGGLERS_MAX + 1):
        app.headers(sid, HEAD_OK)
    await app.goaway(CALM)


@pytest.mark.usefixtures("together")
async def test_an_application_gets_few_enough_streams_to_stand_their_cancellation(plain: Plain) -> None:
    """nghttp2 and Node stand a thousand resets at once on one connection; a caller may have 2048 open."""
    caller, app, _ = await plain.opened()
    for number in range(1, APP_STREAMS_MAX + 10):
        caller.headers(2 * number + 1, end=True)
    second = await plain.app.wire(1)
    assert len(await second.asked(10)) == 10 and len(app.requests()) == APP_STREAMS_MAX
    assert APP_STREAMS_MAX + RESETS_ROLL < 1000

"""Abuse that the RFC's own counters miss: what it may cost is bounded, and other callers do not pay."""

from typing import Any

import pytest

from sidecar.h2 import abuse
from sidecar.h2.control import STUCK_BYTES_MAX, STUCK_S, second_passed
from sidecar.h2.errors import ErrorCode
from sidecar.h2.settings import STREAM_WINDOW_BYTES
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
    frame,
    settings,
    u32,
)

CALM = ErrorCode.ENHANCE_YOUR_CALM


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
    stream = plain.conn.streams[1]
    assert stream.window == 65_545 - 10
    assert plain.conn.encoder.encode(((b"a", b"b"),)).startswith(b"\x20\x3f\xe1\x1f")


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


async def test_a_block_that_is_never_finished(plain: Plain) -> None:
    """Slow headers: nothing else may come in between, so the whole connection waits with it."""
    caller = await plain.caller()
    await caller.pinged()
    caller.send(frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"\x86"))
    conn = await until(lambda: plain.side.connections and plain.conn, "the connection")
    await until(lambda: conn.partial is not None, "the block has begun")
    for _ in range(abuse.CONTINUATIONS_S + 1):
        second_passed(conn, probing=False)
    plain.engine.outbox.flush()
    await caller.goaway(CALM)


async def test_who_reads_nothing_of_what_waits_is_cut(plain: Plain) -> None:
    """Slow reads: the socket takes nothing for a minute, or control frames pile up behind it."""
    await plain.opened()
    conn = plain.conn
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
    conn = plain.conn
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


async def test_broken_rules_are_forgiven_less_than_cancelled_calls(plain: Plain) -> None:
    """CVE-2025-8671: who makes us reset streams gives us work without a reset of its own."""
    caller, _, _ = await plain.opened()
    for number in range(1, abuse.RESETS_MAX // abuse.FAULT_COST + 2):
        caller.headers(2 * number + 1, [*GRPC, ("connection", "x")])
    await caller.goaway(CALM)


async def test_stragglers_on_one_stream_have_an_end(plain: Plain) -> None:
    caller, app, sid = await plain.opened()
    caller.reset(1)
    await app.over(sid)
    for _ in range(abuse.EMPTY_MAX + abuse.STRAGGLERS_MAX + 1):
        app.headers(sid, HEAD_OK)
    await app.goaway(CALM)

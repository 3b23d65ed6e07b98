"""Requests and answers pass as they came, whatever form they take (RFC 9113 section 8)."""

from sidecar.h2.errors import ErrorCode
from sidecar.telemetry import Direction
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GRPC,
    HEAD_OK,
    HEADERS,
    PADDED,
    PRIORITISED,
    TRAILERS_OK,
    frame,
    settings,
)


async def test_a_call_goes_there_and_back(plain: Plain) -> None:
    caller, app, sid = await plain.opened()
    caller.data(1, b"question", end=True)
    heard = await app.over(sid)
    assert (heard.blocks[0], heard.data) == (dict(GRPC), b"question")
    app.headers(sid, HEAD_OK)
    app.data(sid, b"answer")
    app.headers(sid, TRAILERS_OK, end=True)
    back = await caller.over(1)
    assert (back.blocks, back.data) == ([dict(HEAD_OK), dict(TRAILERS_OK)], b"answer")
    assert plain.engine.outbox.held == 0


async def test_interim_answers_and_trailers_of_requests(plain: Plain) -> None:
    """Section 8.1: 1xx before the answer, trailers after the body."""
    caller, app, sid = await plain.opened()
    app.headers(sid, [(":status", "103"), ("link", "</a>")])
    await until(lambda: caller.heard(1).blocks, "103 arrives")
    caller.data(1, b"body")
    caller.headers(1, [("x-sum", "5")], end=True)
    heard = await app.over(sid)
    assert heard.blocks[1] == {"x-sum": "5"}
    app.headers(sid, [(":status", "204")], end=True)
    assert [block[":status"] for block in (await caller.over(1)).blocks] == ["103", "204"]


async def test_long_heads_travel_in_continuation_frames(plain: Plain) -> None:
    """Section 4.3: cut anywhere on the way in, cut to the frame size on the way out."""
    caller = await plain.caller()
    fields = [*GRPC, *((f"x-{number}", "~" * 3000) for number in range(12))]
    block = caller.block(fields)
    caller.send(frame(HEADERS, PADDED | PRIORITISED, 1, bytes((4,)) + bytes(5) + block[:10] + bytes(4)))
    for at in range(10, len(block), 16_000):
        last = END_HEADERS if at + 16_000 >= len(block) else 0
        caller.send(frame(CONTINUATION, last, 1, block[at : at + 16_000]))
    app = await plain.app.wire()
    sid = (await app.asked())[0]
    assert app.heard(sid).blocks[0] == dict(fields)
    assert max(len(payload) for _, _, _, payload in app.frames) <= 16_384
    app.headers(sid, [(":status", "200"), *fields[6:8]], end=True)
    assert (await caller.over(1)).blocks[0]["x-0"] == "~" * 3000


async def test_trap_16_no_error_after_a_full_answer_comes_after_it(plain: Plain) -> None:
    """Section 8.1: the application wants no more of the request; its answer stands."""
    caller, app, sid = await plain.opened()
    caller.credit = False
    caller.send(settings((4, 3)))
    await caller.pinged()
    caller.data(1, b"a body without end")
    app.headers(sid, HEAD_OK)
    app.data(sid, b"answer")
    app.headers(sid, TRAILERS_OK, end=True)
    app.reset(sid, ErrorCode.NO_ERROR)
    await app.pinged()
    assert caller.heard(1).reset is None
    caller.send(settings((4, 100)))
    await until(lambda: caller.heard(1).reset is not None, "the reset follows")
    heard = caller.heard(1)
    assert (heard.data, heard.ended, heard.reset) == (b"answer", True, ErrorCode.NO_ERROR)


async def test_resets_pass_both_ways(plain: Plain) -> None:
    caller, app, sid = await plain.opened()
    caller.reset(1, ErrorCode.CANCEL)
    assert (await app.over(sid)).reset == ErrorCode.CANCEL
    caller.headers(3)
    second = (await app.asked(2))[1]
    app.reset(second, ErrorCode.INTERNAL_ERROR)
    assert (await caller.over(3)).reset == ErrorCode.INTERNAL_ERROR
    assert not caller.goaways and not app.goaways


async def test_a_caller_that_goes_cancels_its_calls(plain: Plain) -> None:
    caller, app, sid = await plain.opened()
    caller.close()
    assert (await app.over(sid)).reset == ErrorCode.CANCEL


async def test_an_application_that_goes_fails_its_calls(plain: Plain) -> None:
    """Before an answer: trailers only. In the middle of one: trailers. Not gRPC: RST_STREAM."""
    caller, app, first = await plain.opened()
    caller.headers(3)
    caller.headers(5, GRPC[:4])
    _, second, third = await app.asked(3)
    app.headers(second, HEAD_OK)
    app.data(second, b"half")
    app.headers(third, [(":status", "200")])
    await until(lambda: caller.heard(5).blocks and caller.heard(3).data, "answers begin")
    app.close()
    assert (await caller.over(1)).blocks[0]["grpc-status"] == "14"
    assert caller.heard(1).blocks[0][":status"] == "200"
    assert (await caller.over(3)).blocks[1]["grpc-status"] == "14"
    assert (await caller.over(5)).reset == ErrorCode.INTERNAL_ERROR
    assert first


async def test_malformed_answers(plain: Plain) -> None:
    """Section 8.1.1: the instance is reset; a gRPC caller learns INTERNAL, and why."""
    caller, app, sid = await plain.opened()
    app.headers(sid, [(":status", "200"), ("connection", "close")])
    heard = await caller.over(1)
    assert heard.blocks[0]["grpc-status"] == "13"
    assert "malformed response" in heard.blocks[0]["grpc-message"]
    assert (await app.over(sid)).reset == ErrorCode.PROTOCOL_ERROR


async def test_answers_to_head_requests_have_no_body(plain: Plain) -> None:
    """RFC 9110 section 9.3.2: content-length without content."""
    caller, app, sid = await plain.opened([(":method", "HEAD"), *GRPC[1:4]])
    app.headers(sid, [(":status", "200"), ("content-length", "42")], end=True)
    assert (await caller.over(1)).blocks[0]["content-length"] == "42"


async def test_trap_12_the_encoder_writes_in_wire_order(plain: Plain) -> None:
    """Trailers that wait behind DATA are encoded when they are written: the table stays in step."""
    caller, app, first = await plain.opened()
    caller.send(settings((4, 0)))
    await caller.pinged()
    caller.headers(3)
    second = (await app.asked(2))[1]
    for sid in (first, second):
        app.headers(sid, [*HEAD_OK, ("x-repeats", "again")])
    app.data(first, b"waits")
    app.headers(first, [("grpc-status", "0"), ("x-late", "trailer")], end=True)
    app.headers(second, [("grpc-status", "0"), ("x-repeats", "again")], end=True)
    assert (await caller.over(3)).blocks[1]["x-repeats"] == "again"
    caller.send(settings((4, 1000)))
    assert (await caller.over(1)).blocks[1]["x-late"] == "trailer"
    caller.headers(5)
    third = (await app.asked(3))[2]
    app.headers(third, [*HEAD_OK, ("x-late", "trailer")], end=True)
    assert (await caller.over(5)).blocks[0]["x-late"] == "trailer"


async def test_nothing_is_left_of_ended_calls(plain: Plain) -> None:
    caller, app, _ = await plain.opened()
    caller.reset(1)
    for number in range(1, 200):
        caller.headers(2 * number + 1, end=True)
    await until(lambda: plain.app.requests() == 200, "all are asked")
    first = app.requests()[0]
    for wire in plain.app.wires:
        for sid in wire.requests():
            if wire is not app or sid != first:
                wire.headers(sid, HEAD_OK)
                wire.headers(sid, TRAILERS_OK, end=True)
    for number in range(1, 200):
        await caller.over(2 * number + 1)
    (conn,) = plain.side.connections
    (target,) = plain.engine.app.endpoints.values()
    assert not conn.streams and not conn.blocked and target.active == 0
    assert not target.conns[0].streams and not target.aside.conns[0].streams
    series = plain.side.telemetry.series(Direction.OUTBOUND, "test", "the application")
    assert series.active == 0 and series.requests == 200
    assert sorted(series.outcomes()) == [("2xx", 0, 199), ("none", 1, 1)]


def test_end_stream_is_the_bit_of_the_state() -> None:
    """`Upstream.open` passes the one as the other."""
    from sidecar.h2.stream import RECV_DONE

    assert RECV_DONE == END_STREAM

"""Both levels of flow control, with back-pressure to the far end (RFC 9113 sections 5.2 and 6.9)."""

import asyncio

from sidecar.h2.errors import ErrorCode
from sidecar.h2.settings import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import DATA, HEAD_OK, PADDED, WINDOW_UPDATE, Wire, frame, settings, u32

CHUNK = bytes(16_384)


async def _settled(plain: Plain, *wires: Wire) -> None:
    for wire in wires:
        await wire.pinged()
    for wire in wires:
        await wire.pinged()


async def test_trap_15_one_stalled_stream_holds_64_kib_and_starves_nobody(plain: Plain) -> None:
    """The application reads nothing of one request: its sender is held back, another request passes."""
    plain.app.setup = lambda wire: setattr(wire, "credit", False)
    caller, app, sid = await plain.opened()
    app.send(frame(WINDOW_UPDATE, 0, 0, u32(1 << 20)))  # the connection is open, stream 1 is not
    for _ in range(3):
        caller.data(1, CHUNK)
    caller.data(1, bytes(STREAM_WINDOW_BYTES - 3 * len(CHUNK)))
    await until(lambda: len(app.heard(sid).data) == STREAM_WINDOW_BYTES, "one window arrives")
    # What was passed on is credited; what comes now stays here.
    await until(lambda: _credit(caller, 1) >= STREAM_WINDOW_BYTES // 2, "credit for what went on")
    credited = _credit(caller, 1)
    for at in range(0, credited, len(CHUNK)):
        caller.data(1, CHUNK[: min(len(CHUNK), credited - at)])
    await _settled(plain, caller, app)
    assert plain.engine.outbox.held <= 2 * STREAM_WINDOW_BYTES
    assert _credit(caller, 1) == credited, "the stalled stream got no more credit"
    caller.headers(3)
    other = (await app.asked(2))[1]
    caller.data(3, b"other", end=True)
    assert (await app.over(other)).data == b"other"
    app.send(frame(WINDOW_UPDATE, 0, sid, u32(1 << 20)))
    await until(lambda: len(app.heard(sid).data) == STREAM_WINDOW_BYTES + credited, "the rest arrives")
    await until(lambda: _credit(caller, 1) > credited, "and is credited")


async def test_data_over_the_stream_window(plain: Plain) -> None:
    """Section 6.9.1: who ignores the window loses the stream."""
    plain.app.setup = lambda wire: setattr(wire, "credit", False)
    caller, app, sid = await plain.opened()
    for _ in range(8):
        caller.data(1, CHUNK)
    assert (await caller.over(1)).reset == ErrorCode.FLOW_CONTROL_ERROR
    assert (await app.over(sid)).reset == ErrorCode.CANCEL
    assert plain.engine.outbox.held == 0


async def test_the_connection_window_is_credited_on_receipt(plain: Plain) -> None:
    """Whatever became of the bytes: here they belong to streams that were reset."""
    caller, app, sid = await plain.opened()
    app.reset(sid, ErrorCode.CANCEL)
    await caller.over(1)
    before = _credit(caller, 0)
    for _ in range(CONNECTION_WINDOW_BYTES // 2 // len(CHUNK) + 2):
        caller.data(1, CHUNK)
    await until(lambda: _credit(caller, 0) - before >= CONNECTION_WINDOW_BYTES // 2, "credit")


async def test_trap_15_padding_is_stripped_and_credited(plain: Plain) -> None:
    """Section 6.1: padding counts in the windows and goes no further."""
    caller, app, sid = await plain.opened()
    padded = bytes((200,)) + b"x" * 100 + bytes(200)
    for _ in range(STREAM_WINDOW_BYTES // len(padded)):
        caller.send(frame(DATA, PADDED, 1, padded))
    await until(lambda: _credit(caller, 1) > STREAM_WINDOW_BYTES // 4, "credit")
    caller.data(1, b"", end=True)
    assert set((await app.over(sid)).data) == {ord("x")}
    assert len(app.heard(sid).data) == 100 * (STREAM_WINDOW_BYTES // len(padded))


async def test_a_window_opens_by_settings(plain: Plain) -> None:
    """Section 6.9.2: INITIAL_WINDOW_SIZE changes open streams, even below zero."""
    caller, app, sid = await plain.opened()
    caller.credit = False
    caller.send(settings((4, 0)))
    await caller.pinged()
    app.headers(sid, HEAD_OK)
    app.data(sid, b"0123456789")
    await until(lambda: caller.heard(1).blocks, "the head is not flow-controlled")
    await _settled(plain, app, caller)
    assert caller.heard(1).data == b""
    caller.send(frame(WINDOW_UPDATE, 0, 1, u32(4)))
    await until(lambda: caller.heard(1).data == b"0123", "four bytes")
    caller.send(settings((4, 1)))
    await until(lambda: caller.heard(1).data == b"01234", "one more")
    caller.send(settings((4, 100)))
    await until(lambda: caller.heard(1).data == b"0123456789", "all")
    app.headers(sid, [("grpc-status", "0")], end=True)
    assert (await caller.over(1)).ended


async def test_the_end_waits_behind_the_data(plain: Plain) -> None:
    """Trailers and END_STREAM never overtake DATA; an empty DATA frame needs no window."""
    caller, app, sid = await plain.opened()
    caller.send(settings((4, 0)))
    await caller.pinged()
    app.headers(sid, HEAD_OK)
    app.data(sid, b"late")
    app.headers(sid, [("grpc-status", "0")], end=True)
    await _settled(plain, app, caller)
    assert not caller.heard(1).ended
    caller.send(frame(WINDOW_UPDATE, 0, 1, u32(4)))
    heard = await caller.over(1)
    assert heard.data == b"late" and heard.blocks[1] == {"grpc-status": "0"}
    caller.headers(3)
    second = (await app.asked(2))[1]
    app.headers(second, HEAD_OK)
    app.data(second, b"", end=True)
    assert (await caller.over(3)).ended


async def test_streams_take_turns_on_the_connection_window(plain: Plain) -> None:
    """Ten answers wait for the connection's window; none gets all of it."""
    caller = await plain.caller()
    caller.credit = False
    for number in range(10):
        caller.headers(2 * number + 1)
    app = await plain.app.wire()
    for sid in await app.asked(10):
        app.headers(sid, HEAD_OK)
        for _ in range(3):
            app.data(sid, CHUNK)
    await until(lambda: sum(len(h.data) for h in caller.streams.values()) == 65_535, "the window is used up")
    got = {sid: len(heard.data) for sid, heard in caller.streams.items() if sid}
    caller.send(frame(WINDOW_UPDATE, 0, 0, u32(5 * len(CHUNK))))
    await until(
        lambda: sum(len(h.data) for h in caller.streams.values()) == 65_535 + 5 * len(CHUNK), "the new credit"
    )
    grew = [sid for sid, heard in caller.streams.items() if len(heard.data) > got.get(sid, 0)]
    assert len(grew) >= 5


async def test_a_full_socket_closes_the_window(plain: Plain) -> None:
    """Who does not read its socket is sent nothing more, whatever windows it gave (a slow reader's RSS)."""
    caller, app, sid = await plain.opened()
    caller.credit = False
    caller.send(settings((4, 2**31 - 1)) + frame(WINDOW_UPDATE, 0, 0, u32(2**30)))
    await caller.pinged()
    caller.transport.pause_reading()
    app.headers(sid, HEAD_OK)
    sent = 0
    limit = 16 * 1024 * 1024
    app_credit = lambda: STREAM_WINDOW_BYTES + _credit(app, sid)  # noqa: E731
    still = 0
    while sent < limit and still < 8:
        if sent + len(CHUNK) <= app_credit():
            app.data(sid, CHUNK)
            sent += len(CHUNK)
            still = 0
        else:
            still += 1
        await app.pinged() if still else await asyncio.sleep(0)
    assert sent < limit, "nobody held the sender back"
    assert plain.engine.outbox.held <= STREAM_WINDOW_BYTES
    caller.transport.resume_reading()
    await until(lambda: len(caller.heard(1).data) == sent, "all arrives once it reads")


def _credit(wire: Wire, sid: int) -> int:
    return sum(
        int.from_bytes(payload, "big")
        for kind, _, stream, payload in wire.frames
        if kind == WINDOW_UPDATE and stream == sid
    )

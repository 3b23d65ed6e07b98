"""RFC 9113 sections 5.2 and 6.9: both windows, in both directions, as the peers see them."""

from sidecar.h2.errors import ErrorCode
from sidecar.h2.settings import STREAM_WINDOW_BYTES
from tests.support.link import Link
from tests.support.waiting import until
from tests.support.wire import DATA, HEAD_OK, PADDED, TRAILERS_OK, WINDOW_UPDATE, Wire, frame, settings, u32

CHUNK = bytes(16_384)


def credit(wire: Wire, sid: int) -> int:
    """What the engine gave for the stream, or for the connection."""
    return sum(
        int.from_bytes(payload, "big")
        for kind, _, stream, payload in wire.frames
        if kind == WINDOW_UPDATE and stream == sid
    )


def received(wire: Wire) -> int:
    return sum(len(heard.data) for heard in wire.streams.values())


async def test_we_send_no_more_than_the_stream_window(link: Link) -> None:
    """RFC 9113 sections 5.2, 5.2.1, 6.9.1, 6.9.2: both ways; 0 at first, then octet by octet, then
    all; an empty DATA frame and heads need no window."""
    caller = await link.caller()
    caller.send(settings((4, 0)))
    link.app._values = ((4, 0),)
    app, sid = await link.request(caller, 1)
    caller.credit = app.credit = False
    caller.data(1, b"request")
    app.headers(sid, HEAD_OK)
    app.data(sid, b"answer!")
    await until(lambda: caller.heard(1).blocks, "the head")
    await caller.pinged()
    await app.pinged()
    assert caller.heard(1).data == app.heard(sid).data == b""
    for wire, stream, text in ((caller, 1, b"answer!"), (app, sid, b"request")):
        for count in range(1, 4):
            wire.send(frame(WINDOW_UPDATE, 0, stream, u32(1)))
            await until(lambda w=wire, s=stream, c=count: len(w.heard(s).data) == c, "an octet")  # type: ignore[misc]
        wire.send(settings((4, 2)))
        await until(lambda w=wire, s=stream: len(w.heard(s).data) == 5, "two more by SETTINGS")  # type: ignore[misc]
        wire.send(settings((4, 100)))
        await until(lambda w=wire, s=stream, t=text: w.heard(s).data == t, "all")  # type: ignore[misc]
    caller.data(1, b"", end=True)
    app.headers(sid, TRAILERS_OK, end=True)
    assert (await app.over(sid)).ended and (await caller.over(1)).ended


async def test_a_window_below_zero(link: Link) -> None:
    """RFC 9113 sections 6.9.2 and 6.9.3: a smaller setting may leave less than nothing, which must be made up
    for first."""
    caller, app, sid = await link.opened()
    caller.credit = False
    app.headers(sid, HEAD_OK)
    app.data(sid, bytes(1000))
    await until(lambda: len(caller.heard(1).data) == 1000, "within the first window")
    caller.send(settings((4, 10)))
    await caller.pinged()
    app.data(sid, b"late")
    caller.send(frame(WINDOW_UPDATE, 0, 1, u32(990)))
    await caller.pinged()
    assert len(caller.heard(1).data) == 1000
    caller.send(frame(WINDOW_UPDATE, 0, 1, u32(2)))
    await until(lambda: len(caller.heard(1).data) == 1002, "what is above zero")


async def test_we_send_no_more_than_the_connection_window(link: Link) -> None:
    """RFC 9113 sections 5.2.1 and 6.9.1: 65,535 octets of all streams together, whatever INITIAL_WINDOW_SIZE
    says (section 6.9.2); then exactly the credit, and padding of ours is none."""
    caller = await link.caller()
    caller.credit = False
    caller.send(settings((4, 2**31 - 1)))
    for number in range(3):
        app, sid = await link.request(caller, 2 * number + 1)
        app.headers(sid, HEAD_OK)
        for _ in range(3):
            app.data(sid, CHUNK)
    await until(lambda: received(caller) == 65_535, "the window is used up")
    await caller.pinged()
    caller.send(frame(WINDOW_UPDATE, 0, 0, u32(1)))
    await until(lambda: received(caller) == 65_536, "one octet")
    caller.send(frame(WINDOW_UPDATE, 0, 0, u32(1_000_000)))
    await until(lambda: received(caller) == 9 * len(CHUNK), "all")


async def test_who_sends_over_the_stream_window(link: Link) -> None:
    """RFC 9113 section 6.9.1: FLOW_CONTROL_ERROR of that stream, from callers and applications."""
    caller, app, sid = await link.opened()
    app.credit = False
    app.send(settings((4, 0)))
    await app.pinged()
    for _ in range(5):
        caller.data(1, CHUNK)
    assert (await caller.over(1)).reset == ErrorCode.FLOW_CONTROL_ERROR
    assert (await app.over(sid)).reset == ErrorCode.CANCEL
    caller.credit = False
    app, sid = await link.request(caller, 3)
    app.headers(sid, HEAD_OK)
    for _ in range(9):
        app.data(sid, CHUNK)
    assert (await app.over(sid)).reset == ErrorCode.FLOW_CONTROL_ERROR
    assert (await caller.over(3)).blocks[-1]["grpc-status"] == "13"
    assert not caller.goaways and link.engine.outbox.held == 0


async def test_windows_that_grow_too_large(link: Link) -> None:
    """RFC 9113 sections 6.9 and 6.9.1: of a stream, its end; by an increment of 0 too."""
    caller = await link.caller()
    for number, (increment, code) in enumerate(
        ((2**31 - 1, ErrorCode.FLOW_CONTROL_ERROR), (0, ErrorCode.PROTOCOL_ERROR))
    ):
        ours = 4 * number + 1
        await link.request(caller, ours)
        caller.send(frame(WINDOW_UPDATE, 0, ours, u32(increment)))
        assert (await caller.over(ours)).reset == code
        app, sid = await link.request(caller, ours + 2)
        app.send(frame(WINDOW_UPDATE, 0, sid, u32(increment)))
        assert (await app.over(sid)).reset == code
        await caller.over(ours + 2)
    assert not caller.goaways


async def test_what_was_consumed_is_credited(link: Link) -> None:
    """RFC 9113 sections 5.2.2, 6.9 and 6.1: padding included; nothing for a stream that has ended."""
    caller, app, sid = await link.opened()
    app.headers(sid, HEAD_OK)
    padded, size = b"\xff" + bytes(16_000) + bytes(255), 16_256
    count = 4 * STREAM_WINDOW_BYTES // size
    for wire, stream in ((caller, 1), (app, sid)):
        for sent in range(0, count * size, size):
            await until(
                lambda w=wire, s=stream, n=sent: n + size <= STREAM_WINDOW_BYTES + credit(w, s),  # type: ignore[misc]
                "credit",
            )
            wire.send(frame(DATA, PADDED, stream, padded))
    await until(lambda: len(app.heard(sid).data) == count * 16_000 == len(caller.heard(1).data), "all of it")
    before = len(caller.frames)
    caller.data(1, CHUNK, end=True)
    await app.over(sid)
    await caller.pinged()
    assert all((kind, stream) != (WINDOW_UPDATE, 1) for kind, _, stream, _ in caller.frames[before:])

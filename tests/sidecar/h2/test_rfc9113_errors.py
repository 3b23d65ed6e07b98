"""Malformed input gets the error that RFC 9113 names, and no more than it must is ended."""

import asyncio

import pytest

from sidecar.h2.errors import ErrorCode
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import (
    DATA,
    END_HEADERS,
    GRPC,
    HEADERS,
    PREFACE,
    WINDOW_UPDATE,
    Header,
    frame,
    settings,
    u32,
)


def _with(*changed: Header, without: str = "") -> list[Header]:
    names = {name for name, _ in changed}
    kept = [field for field in GRPC if field[0] not in names | {without}]
    pseudo = [field for field in changed if field[0].startswith(":")]
    return [*pseudo, *kept, *(field for field in changed if field not in pseudo)]


MALFORMED = {
    "8.1.1 content-length above the DATA": _with(("content-length", "5")),
    "8.2.1 upper case": _with(("X-Upper", "v")),
    "8.2.2 connection": _with(("connection", "close")),
    "8.2.2 transfer-encoding": _with(("transfer-encoding", "chunked")),
    "8.2.2 te that is not trailers": _with(("te", "gzip")),
    "8.3.1 no path": _with(without=":path"),
    "8.3.1 an empty path": _with((":path", "")),
    "8.3.1 Host unlike :authority": _with(("host", "elsewhere")),
    "8.3 an unknown pseudo-header": _with((":version", "2")),
    "8.5 CONNECT": [(":method", "CONNECT"), (":authority", "orders:80")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
async def test_trap_13_malformed_requests_end_their_stream_only(plain: Plain, fields: list[Header]) -> None:
    """Section 8.1.1: a stream error; the application never hears of it, and the next request is served."""
    caller = await plain.caller()
    caller.headers(1, fields, end=True)
    assert (await caller.over(1)).reset == ErrorCode.PROTOCOL_ERROR
    caller.headers(3)
    app = await plain.app.wire()
    assert len(await app.asked()) == 1
    assert not caller.goaways


async def test_trap_13_content_length_is_the_sum_of_data(plain: Plain) -> None:
    caller, app, sid = await plain.opened(_with(("content-length", "5")))
    caller.data(1, b"abc", end=True)
    assert (await caller.over(1)).reset == ErrorCode.PROTOCOL_ERROR
    assert (await app.over(sid)).reset == ErrorCode.CANCEL
    assert not app.heard(sid).ended


async def test_host_that_repeats_authority_passes(plain: Plain) -> None:
    await plain.opened(_with(("host", "Orders")))


async def test_data_after_end_stream(plain: Plain) -> None:
    """Section 5.1, half-closed (remote)."""
    caller, app, sid = await plain.opened()
    caller.data(1, b"", end=True)
    caller.data(1, b"more")
    assert (await caller.over(1)).reset == ErrorCode.STREAM_CLOSED
    assert (await app.over(sid)).reset == ErrorCode.CANCEL


async def test_data_on_a_closed_stream(plain: Plain) -> None:
    """Section 5.1, closed: END_STREAM went both ways, so there can be no straggler."""
    caller, app, sid = await plain.opened()
    caller.data(1, b"", end=True)
    await app.over(sid)
    app.headers(sid, [(":status", "200"), ("grpc-status", "0")], end=True)
    await caller.over(1)
    caller.data(1, b"more")
    await caller.goaway(ErrorCode.STREAM_CLOSED)


async def test_stragglers_after_our_reset_are_ignored(plain: Plain) -> None:
    """Section 5.1: frames that were under way when RST_STREAM was sent; trap 12: their blocks are decoded."""
    caller, app, sid = await plain.opened()
    app.reset(sid, ErrorCode.CANCEL)
    await caller.over(1)
    caller.data(1, b"straggler")
    caller.headers(1, [("x-indexed", "by this trailer")], end=True)
    caller.headers(3, [*GRPC, ("x-indexed", "by this trailer")])
    later = (await app.asked(2))[1]
    assert app.heard(later).blocks[0]["x-indexed"] == "by this trailer"
    assert not caller.goaways


async def test_stream_windows(plain: Plain) -> None:
    """Sections 6.9 and 6.9.1: an increment of 0, or beyond 2^31-1, is an error of that stream."""
    caller, app, _ = await plain.opened()
    caller.send(frame(WINDOW_UPDATE, 0, 1, u32(0)))
    assert (await caller.over(1)).reset == ErrorCode.PROTOCOL_ERROR
    caller.headers(3)
    await app.asked(2)
    caller.send(frame(WINDOW_UPDATE, 0, 3, u32(2**31 - 1)))
    assert (await caller.over(3)).reset == ErrorCode.FLOW_CONTROL_ERROR


async def test_frames_in_pieces(plain: Plain) -> None:
    """However the bytes are cut, frames are the same."""
    caller = await plain.caller(PREFACE[:10])
    caller.send(PREFACE[10:] + settings()[:5])
    caller.send(settings()[5:])
    await until(lambda: caller.frames, "our acknowledgement is not in between")
    for octet in frame(HEADERS, END_HEADERS, 1, caller.block(GRPC)) + frame(DATA, 1, 1, b"body"):
        caller.send(bytes((octet,)))
        await asyncio.sleep(0)  # a turn of the loop: each octet is read alone
    app = await plain.app.wire()
    assert (await app.over((await app.asked())[0])).data == b"body"

"""Abuse costs bounded memory and ends the connection (RFC 9113 section 10.5)."""

import pytest

from sidecar.h2 import abuse
from sidecar.h2.errors import ErrorCode
from sidecar.proxy.downstream import BACKLOG_BYTES_MAX
from tests.support.switch import Plain
from tests.support.waiting import until
from tests.support.wire import (
    CONTINUATION,
    DATA,
    GRPC,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    frame,
    settings,
    u32,
)

CALM = ErrorCode.ENHANCE_YOUR_CALM

FLOODS = {
    "PING": frame(PING, 0, 0, bytes(8)) * (abuse.CONTROL_MAX + 600),
    "SETTINGS": settings() * (abuse.CONTROL_MAX + 600),
    "PRIORITY": frame(PRIORITY, 0, 1, bytes(5)) * (abuse.EMPTY_MAX + 600),
    "unknown frames": frame(0xEE) * (abuse.EMPTY_MAX + 600),
    "CONTINUATION": frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1) * (abuse.CONTINUATIONS_MAX + 1),
    "long block": frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, bytes(16_000)) * 9,
}


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS.keys())
async def test_floods_end_the_connection(plain: Plain, sent: bytes) -> None:
    """RFC 9113 section 10.5; CVE-2019-9512, 9513 and 9515, CVE-2024-27316."""
    caller = await plain.caller()
    caller.acknowledge = False
    caller.send(sent)
    await caller.goaway(CALM)


async def test_empty_data_flood(plain: Plain) -> None:
    """CVE-2019-9518."""
    caller, _, _ = await plain.opened()
    caller.send(frame(DATA, 0, 1) * (abuse.EMPTY_MAX + 600))
    await caller.goaway(CALM)


async def test_rapid_reset(plain: Plain) -> None:
    """CVE-2023-44487: the application sees no more requests than the bucket holds."""
    caller = await plain.caller()
    for sid in range(1, 2 * (abuse.RESETS_MAX + 1000), 2):
        caller.headers(sid)
        caller.send(frame(RST_STREAM, 0, sid, u32(8)))
    await caller.goaway(CALM)
    assert plain.app.requests() <= abuse.RESETS_MAX
    assert plain.engine.outbox.held == 0


async def test_a_header_bomb_is_answered_431(plain: Plain) -> None:
    """A small block that means a large list (section 10.5.1); the connection goes on."""
    caller = await plain.caller()
    value = "v" * 3000
    caller.headers(1, [*GRPC, *([("x-bomb", value)] * 40)], end=True)
    heard = await caller.over(1)
    assert heard.blocks[0][":status"] == "431"
    assert heard.blocks[0]["grpc-status"] == "8"
    caller.headers(3)
    assert len(await (await plain.app.wire()).asked()) == 1


async def test_novel_blocks_do_not_fill_the_memo(plain: Plain) -> None:
    """A flood of blocks that never repeat: each is served, the decoder's memory stays bounded."""
    caller = await plain.caller()
    for number in range(3000):
        caller.headers(2 * number + 1, [*GRPC, (f"x-{number}", f"v{number}" * 5)])
        caller.reset(2 * number + 1)
    await caller.pinged()
    conn = next(iter(_downstreams(plain)))
    assert sum(map(len, conn.memo)) < 512 * 1024
    assert not conn.streams


async def test_answers_that_nobody_reads(plain: Plain) -> None:
    """Answers are not flow-controlled: a caller that reads none is not read either, beyond the bound."""
    caller = await plain.caller()
    await caller.pinged()
    caller.transport.pause_reading()
    conn = next(iter(_downstreams(plain)))
    fields = [(":method", "CONNECT"), (":authority", "x")]
    for sid in range(1, 400, 2):
        caller.headers(sid, fields, end=True)
    await until(lambda: conn.last_sid == 399, "all is read")
    assert conn.aio is not None
    conn.pause_writing()  # as when the socket is full
    conn.transport = Full()
    conn.aio = conn.transport
    conn.send(b"x" * 10)
    plain.engine.outbox.flush()
    await until(lambda: not conn.reading, "reading stops")
    conn.resume_writing()
    assert conn.reading


class Full:
    """A transport over its bound."""

    def write(self, data: bytes) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return BACKLOG_BYTES_MAX + 1

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def _downstreams(plain: Plain):  # type: ignore[no-untyped-def]
    return plain.side.connections

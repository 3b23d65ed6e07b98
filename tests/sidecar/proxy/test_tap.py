"""`/tap`: who looks sees the requests that it asked for, without secrets; nobody pays when nobody looks."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest

from sidecar.admin import Admin
from sidecar.calls import REDACTED
from sidecar.errors import TapsFull
from sidecar.events import TAPPED
from sidecar.outlets import TAPS_MAX, Outlets
from sidecar.proxy.engine import Engine
from sidecar.tap import QUEUE_MAX
from sidecar.tapping import tapped
from sidecar.telemetry import Telemetry
from tests.support.http1 import Pair, aiohttp_app, pair
from tests.support.otlp import ended
from tests.support.waiting import until
from weft.clock import Clock, SystemClock
from weft.tap_query import InvalidTapQuery, TapFilter


class Reader:
    """One who reads `/tap`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            return dict(json.loads(await self.reader.readline()))


@asynccontextmanager
async def reading(engine: Engine, query: str = "") -> AsyncIterator[Reader]:
    admin = Admin({}, {"/tap": partial(tapped, engine.outlets)})
    host, _, port = (await admin.start("127.0.0.1", 0)).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"GET /tap?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and b"application/x-ndjson" in head
        yield Reader(reader, writer)
    finally:
        writer.close()
        await until(lambda: not engine.outlets.taps, "the tap is gone with its reader")
        await admin.close()


@pytest.fixture
async def there() -> AsyncIterator[Pair]:
    async with aiohttp_app() as app, pair(app) as running:
        yield running


async def get(there: Pair, path: str, *lines: str) -> None:
    asked = (f"GET {path} HTTP/1.1", "Host: orders", "Connection: close", *lines, "")
    assert (await there.ask("".join(f"{line}\r\n" for line in asked).encode())).startswith(b"HTTP/1.1 ")


async def test_live_requests_are_told_without_secrets(there: Pair) -> None:
    async with reading(there.web) as tap:
        await get(there, "/seen?token=s3cret", "Authorization: Bearer s3cret", "User-Agent: test")
        line = await tap.line()
    assert (line["method"], line["path"], line["http_status"]) == ("GET", "/seen", 200)
    assert (line["direction"], line["source"], line["destination"]) == ("outbound", "web", "orders")
    assert dict(line["headers"]) == {"user-agent": "test", "authorization": REDACTED}
    assert "s3cret" not in json.dumps(line)


async def test_only_what_was_asked_for(there: Pair) -> None:
    async with reading(there.orders, "status=503,404&path=/status/&direction=inbound") as tap:
        for path in ("/seen", "/status/200", "/status/404", "/nowhere", "/status/503"):
            await get(there, path)
        assert [(await tap.line())["http_status"] for _ in range(2)] == [404, 503]
    async with reading(there.orders, "failed=true") as tap:
        for status in (200, 404, 500):
            await get(there, f"/status/{status}")
        assert (await tap.line())["http_status"] == 500


async def test_nobody_pays_when_nobody_looks(there: Pair) -> None:
    sides = list(there.web._sides())
    async with reading(there.web):
        assert all(side.observer is not None for side in sides)
    assert all(side.observer is None for side in sides)


async def test_a_tap_ends_by_itself(there: Pair) -> None:
    async with reading(there.web, "seconds=0.1") as tap:
        assert await asyncio.wait_for(tap.reader.read(), 20) == b""


async def test_a_reader_that_does_not_read_is_bounded() -> None:
    telemetry = Telemetry()
    outlets = Outlets(telemetry, SystemClock())
    with outlets.tapped(TapFilter(), 1000.0) as tap:
        for _ in range(QUEUE_MAX + 5):
            tap.offer(ended())
    assert telemetry.count(TAPPED, "dropped").value == 5


def test_what_comes_too_fast_is_counted() -> None:
    class Still(SystemClock):
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock: Clock = (still := Still())
    telemetry = Telemetry()
    with Outlets(telemetry, clock).tapped(TapFilter(), 10.0) as tap:
        assert sum(tap.takes_one() for _ in range(15)) == 10
        still.now += 0.5
        assert sum(tap.takes_one() for _ in range(15)) == 5
    assert telemetry.count(TAPPED, "dropped").value == 15


def test_taps_are_few() -> None:
    outlets = Outlets(Telemetry(), SystemClock())
    with ExitStack() as stack:
        for _ in range(TAPS_MAX):
            stack.enter_context(outlets.tapped(TapFilter(), 1.0))
        with pytest.raises(TapsFull):
            stack.enter_context(outlets.tapped(TapFilter(), 1.0))
    assert not outlets.taps


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("status=UNAVAILABEL", "status 'UNAVAILABEL' is none"),
        ("status=600", "status '600' is none"),
        ("status=", "status '' is none"),
        ("stats=1", "'stats' is none of status, method"),
        ("direction=up", "direction is 'up', and may be inbound or outbound"),
        ("failed=1", "failed is '1', and may be true or false"),
        ("rate=0", "rate is '0'"),
        ("rate=nan", "rate is 'nan'"),
        ("seconds=3601", "seconds is '3601', and may be a number above 0, 3600 at most"),
        ("path=a&path=b", "is there twice"),
        ("path=" + "a" * 1025, "path is longer than 1024"),
        ("&".join(f"a{n}=1" for n in range(20)), "more than 16 fields"),
    ],
)
def test_a_query_that_says_nothing_is_refused(query: str, says: str) -> None:
    with (
        pytest.raises(InvalidTapQuery, match=says.replace("(", r"\(")),
        tapped(Outlets(Telemetry(), SystemClock()), query),
    ):
        pass


def test_statuses_by_name_number_and_class() -> None:
    outlets = Outlets(Telemetry(), SystemClock())
    with tapped(outlets, "status=UNAVAILABLE,13,404,5xx"):
        (tap,) = outlets.taps
        assert tap.filter.grpc_statuses == {14, 13}
        assert tap.filter.http_statuses == {404, *range(500, 600)}


async def test_over_the_wire_a_bad_query_is_told(there: Pair) -> None:
    admin = Admin({}, {"/tap": partial(tapped, there.web.outlets)})
    port = int((await admin.start("127.0.0.1", 0)).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /tap?status=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"give UNAVAILABLE, 503 or 5xx" in answer
    writer.close()
    await admin.close()

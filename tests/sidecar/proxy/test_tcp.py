"""Bytes of other protocols: one connection is one stream between the sidecars, and the intention is asked."""

import asyncio
import contextlib
import dataclasses

import pytest

from sidecar.events import TCP_BYTES
from sidecar.snapshot import Address, Protocol, Rule
from tests.support.http1 import Pair, pair, raw_app
from tests.support.switch import with_rules
from tests.support.waiting import until

PING = b"*1\r\n$4\r\nPING\r\n"  # Redis
DENY = Rule("deny-web", "web", "dc1.weft", "", False)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echoes, and says goodbye once the other side has ended."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")


async def _open(there: Pair) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", there.port)


@pytest.mark.parametrize("protocol", [Protocol.UNKNOWN, Protocol.TCP])
async def test_there_and_back_with_half_close(protocol: Protocol) -> None:
    async with raw_app(_echo) as app, pair(app, protocol=protocol, app_protocol=protocol) as there:
        reader, writer = await _open(there)
        writer.write(PING)
        assert await reader.readexactly(len(PING)) == PING
        body = bytes(range(256)) * 20_000
        writer.write(body)
        writer.write_eof()
        assert await reader.read() == body + b"bye"
        writer.close()
        await until(lambda: not there.orders.apps.tcp.connections(), "the application's connection ends")
        await until(lambda: there.web.outbox.held == there.orders.outbox.held == 0, "nothing is held")
        size = len(PING) + len(body)
        for engine, direction in ((there.web, "outbound"), (there.orders, "inbound")):
            counts = engine.telemetry.all_counts[TCP_BYTES]
            assert counts[direction, "web", "orders", "sent"].value == size
            assert counts[direction, "web", "orders", "received"].value == size + 3


async def test_a_server_that_speaks_first() -> None:
    """SMTP, MySQL: the caller is silent until it has been greeted."""

    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        writer.write(b"you said " + await reader.readline())

    async with raw_app(greets) as app, pair(app) as there:
        reader, writer = await _open(there)
        assert await reader.readline() == b"220 hello\r\n"
        writer.write(b"EHLO\r\n")
        assert await reader.read() == b"you said EHLO\r\n"
        writer.close()


async def _cut(there: Pair) -> bool:
    """Whether bytes are refused: the connection ends, and nothing comes."""
    with contextlib.suppress(ConnectionError):
        return await there.ask(b"\0\1 binary") == b""
    return True


async def test_a_denied_caller_s_bytes_never_reach_the_application() -> None:
    met: list[bytes] = []

    async def meets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(b"connected")

    async with raw_app(meets) as app, pair(app, rules=(DENY,)) as there:
        assert await _cut(there)
        assert not met


async def test_trap_14_where_rules_read_requests_bytes_are_refused() -> None:
    async with raw_app(_echo) as app, pair(app, parsed_only=True) as there:
        assert await _cut(there)
        series = there.orders.inbound.telemetry.all_series.values()
        assert [s.errors for s in series] == [{"not_parsed": 1}]
    async with raw_app(_echo) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        assert await _cut(there)


async def test_trap_14_where_routes_read_requests_bytes_are_refused_by_the_caller_s_sidecar() -> None:
    async with raw_app(_echo) as app, pair(app, featured=True) as there:
        assert await _cut(there)
        assert there.web.outbound["orders"].counted.refused == {"not_parsed": 1}


async def test_trap_14_declared_http_is_never_spliced() -> None:
    async with raw_app(_echo) as app, pair(app, protocol=Protocol.HTTP) as there:
        assert (await there.ask(b"\0\1 binary\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_trap_18_a_deny_cuts_what_is_open() -> None:
    async with raw_app(_echo) as app, pair(app) as there:
        reader, writer = await _open(there)
        writer.write(PING)
        await reader.readexactly(len(PING))
        there.orders.swap(with_rules(there.orders.snapshot, DENY))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: not there.orders.apps.tcp.connections(), "the application is told")


async def test_trap_14_rules_that_begin_to_read_requests_cut_what_is_open() -> None:
    async with raw_app(_echo) as app, pair(app) as there:
        reader, writer = await _open(there)
        writer.write(PING)
        await reader.readexactly(len(PING))
        snapshot = there.orders.snapshot
        inbound = dataclasses.replace(snapshot.inbound, parsed_only=True)
        there.orders.swap(dataclasses.replace(snapshot, inbound=inbound))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: not there.orders.apps.tcp.connections(), "the application is told")


async def test_nobody_listens() -> None:
    async with pair(Address("127.0.0.1", 1)) as there:
        assert await _cut(there)


async def test_trap_15_a_reader_that_stops_holds_one_window() -> None:
    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                writer.write(bytes(65_536))
                await writer.drain()

    async with raw_app(pours) as app, pair(app, protocol=Protocol.TCP, app_protocol=Protocol.TCP) as there:
        _, writer = await _open(there)
        (conn,) = await until(lambda: list(there.web.outbound["orders"].connections), "it is accepted")
        await until(lambda: conn.paused, "its socket is full")
        assert there.web.outbox.held <= 65_535 and there.orders.outbox.held <= 65_535
        writer.transport.abort()
        await until(lambda: not there.orders.apps.tcp.connections(), "the application is told")


async def test_idle_streams_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.proxy.tcp.IDLE_S", 1)
    async with raw_app(_echo) as app, pair(app, protocol=Protocol.TCP) as there:
        reader, writer = await _open(there)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

"""Connections on the event loop that servers run on, with and without TLS: who does not read is let go.

uvloop's TLS transports tell nothing of what waits beneath them, which is why the kernel is asked.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web

from registry.api.connection import Connections
from registry.limits.guard import Limits
from registry.limits.refusals import Limit
from registry.limits.settings import LimitSettings
from tests.support.pki import self_signed_pem
from tests.support.waiting import until

ANSWER_BYTES = 30_000_000  # more than the kernel's buffers on both sides


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.limits.settings.STALL_S", 0.2)
    monkeypatch.setattr("registry.api.connection.SWEEP_S", 0.05)


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for path, pem in zip((certificate, key), self_signed_pem(), strict=True):
        path.write_bytes(pem)
    context.load_cert_chain(certificate, key)
    return context


async def answer(_request: web.BaseRequest) -> web.Response:
    return web.Response(body=bytes(ANSWER_BYTES))


async def asked(
    tls: ssl.SSLContext | None, then: Callable[[Limits, asyncio.StreamReader], Any]
) -> dict[Limit, int]:
    """Asks for the answer, and leaves what follows to `then`."""
    limits = Limits(LimitSettings(), time.monotonic)
    connections = Connections(answer, limits, handler_cancellation=True, access_log=None)
    connections.begin()
    listener = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    client = ssl.create_default_context() if tls else None
    if client:
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, limit=1024)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await then(limits, reader)
    finally:
        writer.transport.abort()
        listener.close()
        await connections.end()
        await connections.shutdown(1)
    return limits.counts()


async def not_reading(limits: Limits, _reader: asyncio.StreamReader) -> None:
    await until(lambda: limits.counts()[Limit.SLOW_READER] == 1, "the client is let go")
    await until(lambda: limits.connections.total == 0, "its place is free")


async def reading_steadily(_limits: Limits, reader: asyncio.StreamReader) -> None:
    found = 0
    while some := await reader.read(300_000):
        found += len(some)
        await asyncio.sleep(0.01)  # about a second in all: five times the patience
    assert found > ANSWER_BYTES


@pytest.mark.parametrize("over", ["plaintext", "TLS"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_client_that_does_not_read_is_let_go(loop: Any, over: str, tls: ssl.SSLContext) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asked(tls if over == "TLS" else None, not_reading))


@pytest.mark.parametrize("over", ["plaintext", "TLS"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_client_that_reads_steadily_gets_it_all(loop: Any, over: str, tls: ssl.SSLContext) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        counts = runner.run(asked(tls if over == "TLS" else None, reading_steadily))
    assert counts[Limit.SLOW_READER] == 0

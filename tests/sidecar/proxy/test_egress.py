"""The forward proxy: our own application towards what is outside the mesh."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import aiohttp
import pytest
from structlog.testing import capture_logs

from sidecar.proxy.engine import EGRESS, Engine
from sidecar.snapshot import Egress, EgressRule
from tests.sidecar.proxy.test_client_hello import hello
from tests.support.http1 import aiohttp_app, raw_app
from tests.support.switch import LOOPBACK, Mesh
from tests.support.waiting import until

NAME = EgressRule("by name", "localhost")
ADDRESS = EgressRule("by address", "127.0.0.0/8")


@contextlib.asynccontextmanager
async def proxy(*rules: EgressRule, default_allow: bool = False) -> AsyncIterator[Engine]:
    mesh = Mesh()
    try:
        egress = Egress(LOOPBACK, rules, default_allow)
        yield await mesh.engine(dataclasses.replace(mesh.snapshot("web"), egress=egress))
    finally:
        await mesh.close()


def at(engine: Engine) -> str:
    return engine.listening()[EGRESS]


async def ask(engine: Engine, request: bytes, until: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection(*at(engine).split(":"))
    writer.write(request)
    try:
        async with asyncio.timeout(20):
            return await (reader.readuntil(until) if until else reader.read())
    finally:
        writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")


async def open_tunnel(engine: Engine, to: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*at(engine).split(":"))
    writer.write(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\n\r\n"
    return reader, writer


async def test_absolute_uris_as_aiohttp_sends_them() -> None:
    async with aiohttp_app() as app, proxy(ADDRESS) as engine, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{app.port}"
        async with session.post(url + "/echo", data=bytes(200_000), proxy=f"http://{at(engine)}") as answer:
            assert (answer.status, await answer.read()) == (200, bytes(200_000))
        async with session.get(url + "/seen", proxy=f"http://{at(engine)}") as answer:
            seen = await answer.json()
        fields = dict(seen["fields"])
        assert fields["host"] == f"127.0.0.1:{app.port}" and fields["via"] == "1.1 weft-dc1-n-web"
        assert seen["target"] == "/seen" and "x-forwarded-client-cert" not in fields
        (series,) = engine.telemetry.all_series.values()
        assert (series.call.destination, series.call.route) == ("egress", "by address")


async def test_tunnels() -> None:
    async with raw_app(_echo) as app, proxy(NAME) as engine:
        reader, writer = await open_tunnel(engine, f"localhost:{app.port}")
        writer.write(bytes(300_000))
        writer.write_eof()
        assert await reader.read() == bytes(300_000) + b"bye"
        writer.close()


async def test_what_no_rule_admits_is_refused_counted_and_named_in_the_log() -> None:
    async with raw_app(_echo) as app, proxy(NAME) as engine:
        for line in (b"CONNECT 127.0.0.1:%d HTTP/1.1", b"GET http://127.0.0.1:%d/ HTTP/1.1"):
            with capture_logs() as logs:
                head = (line % app.port) + b"\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % app.port
                answer = await ask(engine, head)
            assert answer.startswith(b"HTTP/1.1 403 ")
        assert not logs  # named once
        (series,) = engine.telemetry.all_series.values()
        assert series.errors == {"egress_denied": 2} and not engine.egress.pools


async def test_the_log_names_the_destination() -> None:
    async with proxy() as engine:
        with capture_logs() as logs:
            await ask(
                engine, b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", b"\r\n\r\n"
            )
        assert [(it["event"], it["destination"]) for it in logs] == [("egress refused", "evil.example:443")]


@pytest.mark.parametrize(("name", "passes"), [("localhost", True), ("other.example", False), (None, False)])
async def test_a_tls_client_must_ask_for_an_admitted_name(name: str | None, passes: bool) -> None:
    async with raw_app(_echo) as app, proxy(NAME) as engine:
        reader, writer = await open_tunnel(engine, f"localhost:{app.port}")
        data = hello(name)
        for byte in data[:7]:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        writer.write(data[7:])
        got = b""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            got = await asyncio.wait_for(reader.readexactly(len(data)), 20)
        assert got == (data if passes else b"")
        writer.close()


async def test_a_rule_that_goes_cuts_what_it_admitted() -> None:
    async with raw_app(_echo) as app, proxy(NAME) as engine:
        reader, writer = await open_tunnel(engine, f"localhost:{app.port}")
        writer.write(b"x")
        await reader.readexactly(1)
        engine.swap(dataclasses.replace(engine.snapshot, egress=Egress(LOOPBACK)))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()


async def test_it_comes_and_goes_with_the_entry() -> None:
    async with proxy(NAME) as engine:
        egress = engine.snapshot.egress
        engine.swap(dataclasses.replace(engine.snapshot, egress=None))
        assert EGRESS not in engine.listening()
        engine.swap(dataclasses.replace(engine.snapshot, egress=egress))
        await until(lambda: EGRESS in engine.listening(), "it is bound again")


async def test_it_does_not_ask_itself() -> None:
    async with proxy(default_allow=True) as engine:
        answer = await ask(
            engine,
            f"GET http://{at(engine)}/ HTTP/1.1\r\nHost: {at(engine)}\r\nConnection: close\r\n\r\n".encode(),
        )
        assert answer.startswith(b"HTTP/1.1 400 ")


async def test_nobody_listens_there() -> None:
    async with proxy(ADDRESS) as engine:
        head = b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"
        assert (await ask(engine, head, b"\r\n\r\n")).startswith(b"HTTP/1.1 503 ")


@pytest.mark.peer("curl")
async def test_curl() -> None:
    async with aiohttp_app() as app, proxy(NAME) as engine:
        for more in ((), ("--proxytunnel",)):
            process = await asyncio.create_subprocess_exec(
                *("curl", "-sS", "--max-time", "20", "-x", f"http://{at(engine)}", *more),
                *("--noproxy", "", f"http://localhost:{app.port}/seen"),
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            assert process.returncode == 0 and b'"method": "GET"' in out

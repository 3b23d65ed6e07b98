"""The application's side of HTTP/1.1: what it speaks, its connections, and what becomes of a broken one."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from functools import partial

from sidecar.snapshot import Address, Protocol
from tests.support.http1 import aiohttp_app, pair, raw_app
from tests.support.waiting import until
from tests.support.wire import EchoApp

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _answering(*answers: bytes, then_close: bool = False) -> Answering:
    """An application that gives these answers on each connection, one per request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        if not then_close:
            await reader.read()

    return serve


async def test_what_an_application_speaks_is_found_out_and_remembered() -> None:
    async with aiohttp_app() as app, pair(app) as there:
        assert b" 200 " in await there.ask(b"GET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert there.orders.apps.found is Protocol.HTTP
    echo = EchoApp()
    await echo.start()
    async with pair(Address("127.0.0.1", echo.port)) as there:
        await there.ask(LAST)
        assert there.orders.apps.found is Protocol.HTTP2
    echo.close()


async def test_what_was_found_out_is_forgotten_with_the_application() -> None:
    """It may come back as another program."""
    async with raw_app(_answering(OK, then_close=True)) as app, pair(app) as there:
        assert b" 200 " in await there.ask(LAST)
    async with pair(Address("127.0.0.1", 1)) as there:
        there.orders.apps.found = Protocol.HTTP
        assert b" 503 " in await there.ask(LAST)
        assert there.orders.apps.found is Protocol.UNKNOWN


async def test_connections_are_kept_and_used_again() -> None:
    async with raw_app(_answering(*[OK] * 10)) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        for _ in range(5):
            assert b" 200 " in await there.ask(LAST)
        assert len(there.orders.apps.http1.connections()) == 1


async def test_fields_that_vary_beside_a_known_head_are_lines_as_all_others() -> None:
    async with aiohttp_app() as app, pair(app, app_protocol=Protocol.HTTP) as there:
        for more in ("", "x-request-id: 1\r\n", "x-request-id: 2\r\n", "x-user: ada\r\n", ""):
            found = await there.ask(
                f"GET /seen HTTP/1.1\r\nHost: a\r\n{more}Connection: close\r\n\r\n".encode()
            )
            name, _, value = more.strip().partition(": ")
            assert b" 200 " in found.partition(b"\r\n")[0]
            assert not name or f'["{name}", "{value}"]'.encode() in found


async def test_one_exchange_at_a_time_on_each() -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(OK)
        await reader.read()

    async with raw_app(serve) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        asked = [asyncio.ensure_future(there.ask(LAST)) for _ in range(20)]
        await until(lambda: len(there.orders.apps.http1.connections()) == 20, "each has its own")
        go.set()
        assert all(b" 200 " in answer for answer in await asyncio.gather(*asked))


async def test_a_stale_connection_costs_no_request() -> None:
    """The application closes idle ones when it likes: then a GET is sent again, a POST is not."""
    async with raw_app(_answering(OK, b"")) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        assert b" 200 " in await there.ask(LAST)
        for ask, status in ((LAST, b" 200 "), (LAST.replace(b"GET", b"POST"), b" 502 ")):
            (kept,) = there.orders.apps.http1.connections()
            asked = asyncio.ensure_future(there.ask(ask))
            await until(partial(getattr, kept, "streams"), "it is sent on the kept connection")
            kept.abort()
            assert status in await asked


async def test_an_answer_that_ends_with_the_connection() -> None:
    assert (await _given(b"HTTP/1.0 200 OK\r\n\r\nto the end")).endswith(b"a\r\nto the end\r\n0\r\n\r\n")


async def _given(answer: bytes) -> bytes:
    """What the caller gets where the application gives this answer and closes."""
    serve = _answering(answer, then_close=True)
    async with raw_app(serve) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        with contextlib.suppress(ConnectionError):
            return await there.ask(LAST)
        return b""


async def test_answers_that_break() -> None:
    """Before the head: 502. Behind it: the caller sees its answer cut off, never a whole one."""
    for answer in (
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-L",
        b"",
    ):
        assert (await _given(answer)).startswith(b"HTTP/1.1 502 "), answer
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0x\r\n",
    ):
        cut = await _given(answer)
        assert not cut.endswith(b"0\r\n\r\n") and b"content-length: 2\r\n" not in cut


async def test_an_answer_to_nothing_ends_the_connection() -> None:
    """What an application sends behind its answer would be taken for the answer to somebody else."""
    async with raw_app(_answering(OK + OK)) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        assert b" 200 " in await there.ask(LAST)
        await until(lambda: not there.orders.apps.http1.connections(), "it goes")


async def test_interim_answers_pass() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with raw_app(_answering(early + OK)) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        answer = await there.ask(LAST)
        assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_trailers_pass_both_ways() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"x-sum: 5\r\n" in await reader.readuntil(b"x-sum: 5\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n")
        await reader.read()

    ask = (
        LAST[:-2].replace(b"GET", b"PUT")
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 5\r\n\r\n"
    )
    async with raw_app(serve) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        assert (await there.ask(ask)).endswith(b"2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n")


async def test_idle_connections_go_before_the_application_closes_them() -> None:
    answer = OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=2\r\n\r\n")
    async with raw_app(_answering(answer)) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        assert b" 200 " in await there.ask(LAST)
        await until(lambda: not there.orders.apps.http1.connections(), "it goes")


async def test_a_unix_socket(tmp_path: object) -> None:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    path = f"{tmp_path}/app.sock"
    server = await asyncio.start_unix_server(served, path)
    async with pair(Address(path=path)) as there:
        assert b" 200 " in await there.ask(LAST)
    server.close()


async def test_another_application_is_asked_anew() -> None:
    """The snapshot names another address: nothing that was found out holds for it."""
    async with raw_app(_answering(OK)) as one, aiohttp_app() as two, pair(one) as there:
        await there.ask(LAST)
        inbound = dataclasses.replace(there.orders.snapshot.inbound, app=two)
        there.orders.swap(dataclasses.replace(there.orders.snapshot, inbound=inbound))
        assert there.orders.apps.found is Protocol.UNKNOWN
        assert b"aiohttp" in await there.ask(LAST)

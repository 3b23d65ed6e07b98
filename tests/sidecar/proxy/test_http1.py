"""HTTP/1.1 at both ends of a pair, HTTP/2 over mTLS between."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sidecar.proxy import http1_downstream
from sidecar.snapshot import Address, Protocol
from tests.support.http1 import Pair, aiohttp_app, pair, raw_app
from tests.support.waiting import until

GET = b"GET /seen HTTP/1.1\r\nHost: orders\r\n"


@pytest.fixture(params=[False, True], ids=["plain", "featured"])
async def there(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    featured = request.param
    async with aiohttp_app() as app, pair(app, app_protocol=Protocol.HTTP, featured=featured) as running:
        yield running


@pytest.fixture
async def client(there: Pair) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{there.port}") as session:
        yield session


async def test_bodies_there_and_back(there: Pair, client: aiohttp.ClientSession) -> None:
    """Sized and chunked, small and many windows long."""
    for body in (b"", b"a", bytes(range(256)) * 3_900):
        async with client.post("/echo", data=body) as answer:
            assert (answer.status, await answer.read()) == (200, body)

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(50):
            yield bytes((number,)) * 4000

    async with client.put("/echo", data=pieces()) as answer:
        assert len(await answer.read()) == 200_000 and answer.headers["x-method"] == "PUT"
    async with client.get("/stream/500") as answer:
        assert len(await answer.read()) == 500 * 8192
    await until(lambda: there.web.outbox.held == there.orders.outbox.held == 0, "nothing is held")


async def test_heads_without_bodies(client: aiohttp.ClientSession) -> None:
    async with client.head("/seen") as answer:
        assert int(answer.headers["content-length"]) > 0 and await answer.read() == b""
    for status in (204, 304):
        async with client.get(f"/status/{status}") as answer:
            assert answer.status == status and "transfer-encoding" not in answer.headers
    async with client.get("/seen") as answer:  # the connection is still in step
        assert answer.status == 200


def _seen(answer: bytes) -> dict[str, Any]:
    return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))


async def test_trap_13_what_the_application_sees(there: Pair) -> None:
    """Hop-by-hop fields end here, crumbs are joined, the caller is named by the sidecar alone."""
    seen = _seen(
        await there.ask(
            GET + b"Cookie: a=1\r\nCookie: b=2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n"
            b"TE: gzip\r\nProxy-Connection: x\r\nX-Forwarded-Client-Cert: URI=spiffe://forged\r\n"
            b"Traceparent: 00-1\r\n\r\n"
        )
    )
    fields = seen["fields"]
    names = [name for name, _ in fields]
    assert sorted(names) == ["cookie", "host", "traceparent", "x-forwarded-client-cert"]
    assert dict(fields)["cookie"] == "a=1; b=2" and dict(fields)["host"] == "orders"
    assert dict(fields)["x-forwarded-client-cert"].endswith(f"URI={there.mesh.identity('web')}")


async def test_pipelined_requests_are_answered_in_order(there: Pair) -> None:
    asked = b"".join(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d" % n for n in range(5))
    answer = await there.ask(asked + GET + b"Connection: close\r\n\r\n")
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies[:5] == [b"1\r\n%d\r\n0\r\n\r\n" % n for n in range(5)]
    assert bodies[5].startswith(b"{")


async def test_http_1_0_clients(there: Pair) -> None:
    """No chunks; the end of the body is the end of the connection, or its length is told."""
    answer = await there.ask(b"GET /stream/2 HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and b"chunked" not in head and b"connection: close" in head
    assert len(body) == 2 * 8192
    kept = await there.ask(b"GET /seen HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"\r\n\r\n")
    assert b"connection: keep-alive" in kept and b"content-length" in kept


async def test_expect_is_answered_here(there: Pair) -> None:
    head = (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
    writer.write(head)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"hello")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 OK") and b"hello" in answer
    writer.close()
    async with aiohttp_app() as app, pair(app, app_protocol=Protocol.HTTP, rules=()) as denied:
        assert b"\r\n\r\nHTTP/1.1 403 Forbidden\r\n" in await denied.ask(head)  # by the other sidecar: later


async def test_trap_13_what_is_malformed_is_refused_and_the_connection_ends(there: Pair) -> None:
    """Nothing of what follows it is read as a request, and the application never hears of it."""
    for asked, status in (
        (
            b"POST /seen HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET http://other/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n", 400),
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 66_000 + b"\r\n\r\n", 431),
    ):
        answer = await there.ask(asked + GET + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status) and answer.count(b"HTTP/1.1") == 1
        assert b"connection: close\r\n" in answer
    assert there.web.outbound["orders"].counted.refused["malformed"] == 5
    assert not there.orders.apps.http1.connections()


async def test_a_body_that_breaks_cancels_what_was_begun() -> None:
    begun: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(await reader.readuntil(b"hello\r\n"))
        begun.append(await reader.read())

    async with raw_app(serve) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(head)
        await until(lambda: begun, "the application sees the beginning")
        writer.write(b"0x5\r\nhello\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400")
        await until(lambda: len(begun) == 2, "the application sees the end")
        assert begun[1] == b""  # no last chunk: it knows that the body is not whole


async def test_an_early_answer_arrives_although_the_body_goes_on(there: Pair) -> None:
    async with aiohttp_app() as app, pair(app, app_protocol=Protocol.HTTP, rules=()) as denied:
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n"
        body = bytes(300_000)
        answer = await denied.ask(head + body + GET + b"Connection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 403") == 2  # the rest was dropped, the next request was read


async def test_websockets(there: Pair, client: aiohttp.ClientSession) -> None:
    """RFC 8441 between the sidecars; text, binary over many windows, and the close both ways."""
    async with client.ws_connect("/socket", protocols=("chat",)) as socket:
        assert socket.protocol == "chat"
        await socket.send_str("hello")
        assert (await socket.receive()).data == "HELLO"
        await socket.send_bytes(bytes(300_000))
        assert (await socket.receive()).data == bytes(300_000)
    await until(lambda: not there.orders.apps.http1.connections(), "the application's connection ends")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/status/403")
    assert refused.value.status == 403
    async with client.get("/seen") as answer:
        assert answer.status == 200


async def test_an_application_that_accepts_wrongly_gets_no_tunnel() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
        )
        await reader.read()

    ask = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    async with raw_app(serve) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        assert (await there.ask(ask, b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")


async def test_trap_15_a_slow_reader_holds_one_window_and_not_the_connection(there: Pair) -> None:
    """A caller that reads nothing of 80 MB: what is held stays bounded, others are served."""
    _, writer = await asyncio.open_connection("127.0.0.1", there.port, limit=1)
    writer.write(b"GET /stream/10000 HTTP/1.1\r\nHost: a\r\n\r\n")
    (conn,) = await until(lambda: list(there.web.outbound["orders"].connections), "it is accepted")
    await until(lambda: conn.paused, "its socket is full")
    assert (await there.ask(GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert there.web.outbox.held <= 65_535 and there.orders.outbox.held <= 65_535
    writer.transport.abort()
    await until(lambda: there.web.outbox.held == 0, "what was held is let go")


async def test_a_slow_application_holds_the_upload_back() -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 20000000" in head
        await go.wait()
        await reader.readexactly(20_000_000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with raw_app(serve) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000))
        (conn,) = await until(lambda: list(there.web.outbound["orders"].connections), "it is accepted")
        assert isinstance(conn, http1_downstream.Http1Downstream)
        await until(lambda: conn.held_back, "reading stops")
        assert there.web.outbox.held <= 2 * 65_535 and there.orders.outbox.held <= 2 * 65_535
        go.set()
        async with asyncio.timeout(20):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_slow_heads_and_idle_connections_go(there: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: a head has a few seconds, however it drips."""
    monkeypatch.setattr(http1_downstream, "HEAD_S", 0)
    monkeypatch.setattr(http1_downstream, "IDLE_S", 1)
    assert (await there.ask(b"GET / HTTP/1.1\r\nHost: ")).startswith(b"HTTP/1.1 408 ")
    answer = await there.ask(GET + b"\r\n")  # kept alive, and nothing more is said
    assert answer.startswith(b"HTTP/1.1 200")


async def test_drain_answers_what_was_asked_and_takes_no_more() -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        await reader.read()

    async with raw_app(serve) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", there.port)
        asked = asyncio.ensure_future(there.ask(GET + b"\r\n"))
        await until(lambda: there.orders.apps.http1.connections(), "it is asked")
        drained = asyncio.ensure_future(there.web.drain(20.0))
        assert await idle.read() == b""
        idle_writer.close()
        go.set()
        answer = await asked
        assert answer.endswith(b"done") and b"connection: close" in answer
        await drained


@pytest.mark.peer("curl")
async def test_curl(there: Pair, tmp_path: Any) -> None:
    """Up with 100-continue, down in chunks, HEAD, keep-alive, HTTP/1.0 and HTTP/2 on the same port."""
    url = f"http://127.0.0.1:{there.port}"
    (tmp_path / "up").write_bytes(bytes(range(256)) * 8000)

    async def curl(*arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--max-time", "20", *arguments, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out

    assert await curl("-T", str(tmp_path / "up"), url + "/echo") == (tmp_path / "up").read_bytes()
    assert len(await curl(url + "/stream/100")) == 100 * 8192
    assert (await curl("-I", url + "/seen")).startswith(b"HTTP/1.1 200 OK")
    twice = await curl(
        "-w", "%{num_connects}", "-o", "/dev/null", url + "/seen", "-o", "/dev/null", url + "/seen"
    )
    assert twice == b"10"  # the second needed no new connection
    assert b'"method"' in await curl("--http1.0", url + "/seen")
    assert b'"method"' in await curl("--http2-prior-knowledge", url + "/seen")


async def test_a_scrape_in_prometheus_s_manner(there: Pair) -> None:
    """One connection, kept alive, gzip offered, a scrape every few seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
    for _ in range(3):
        writer.write(
            b"GET /seen HTTP/1.1\r\nHost: orders:9090\r\nUser-Agent: Prometheus/2.42.0\r\n"
            b"Accept: text/plain;version=0.0.4\r\nAccept-Encoding: gzip\r\n"
            b"X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert b"prometheus" in (await reader.readexactly(length)).lower()
    writer.close()


async def test_the_caller_s_going_cancels_at_the_application() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        ended.set()

    async with raw_app(serve) as app, pair(app, app_protocol=Protocol.HTTP) as there:
        _, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(GET + b"\r\n")
        await until(lambda: there.orders.apps.http1.connections(), "it is asked")
        writer.close()
        async with asyncio.timeout(20):
            await ended.wait()


async def test_nobody_listens() -> None:
    async with pair(Address("127.0.0.1", 1), app_protocol=Protocol.HTTP) as there:
        answer = await there.ask(GET + b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        with contextlib.suppress(ConnectionError):
            assert await there.ask(b"\0\1\2") == b""

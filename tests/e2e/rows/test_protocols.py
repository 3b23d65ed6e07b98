"""The rows of "Protocols" in docs/features.md, through processes, by `weft config write`."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.rows.conftest import SPARE, STORE, Entry, Shop
from tests.support.mesh import HOST, Mesh, in_thread
from tests.support.pki import Domain
from tests.support.processes import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.long

WAIT_S = 60


@asynccontextmanager
async def connected(shop: Shop) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = shop.buyer.to(STORE).split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(WAIT_S):
            yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one."""
    head = await reader.readuntil(b"\r\n\r\n")
    sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head, await reader.readexactly(int(sizes[0].split(b":")[1])) if sizes else b""


async def test_bodies_there_and_back(shop: Shop) -> None:
    """Sized and chunked; answers without a body."""
    async with aiohttp.ClientSession() as session:

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b"x" * 16_384

        for body in (b"y" * 100_000, pieces()):
            async with session.put(shop.url("/put"), data=body) as found:
                told = await found.json()
                assert (found.status, told["method"]) == (200, "PUT")
                assert told["body"] in (100_000, 64 * 16_384)
        async with session.head(shop.url("/head")) as found:
            assert (found.status, await found.read()) == (200, b"")
            assert int(found.headers["content-length"]) > 0
        for status in (204, 304):
            async with session.get(shop.url(), headers={"x-do": f"status={status}"}) as found:
                assert (found.status, await found.read()) == (status, b"")


async def test_keep_alive_pipelining_in_order_and_http_1_0(shop: Shop) -> None:
    async with connected(shop) as (reader, writer):
        asked = b"".join(b"GET /%d HTTP/1.1\r\nHost: store\r\n\r\n" % number for number in range(5))
        writer.write(asked)
        paths = [json.loads((await answer(reader))[1])["path"] for _ in range(5)]
        assert paths == [f"/{number}" for number in range(5)]
        writer.write(
            b"PUT /late HTTP/1.1\r\nHost: store\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        assert (await answer(reader))[0].startswith(b"HTTP/1.1 100 ")
        writer.write(b"body")
        assert json.loads((await answer(reader))[1])["body"] == 4
    async with connected(shop) as (reader, writer):
        writer.write(b"GET /old HTTP/1.0\r\n\r\n")
        found = await reader.read()
        assert found.startswith(b"HTTP/1.1 200") and b'"path": "/old"' in found, "and the connection ends"


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: store\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: store\r\nHost: other\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : store\r\n\r\n",
    ],
)
async def test_smuggled_requests_are_refused_with_the_end_of_the_connection(shop: Shop, head: bytes) -> None:
    before = sum(app.count("/") for app in shop.apps.values())
    async with connected(shop) as (reader, writer):
        writer.write(head + b"GET /smuggled HTTP/1.1\r\nHost: store\r\n\r\n")
        found = await reader.read()
    assert found.startswith(b"HTTP/1.1 400 ")
    assert found.count(b"HTTP/1.1 ") == 1
    assert sum(app.count("/") for app in shop.apps.values()) == before


async def test_websockets(shop: Shop) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(shop.url("/socket")) as socket:
        for number in range(10):
            await socket.send_str(f"hello {number}")
            async with asyncio.timeout(WAIT_S):
                assert await socket.receive_str() == f"HELLO {number}"


# --- streams of bytes ----------------------------------------------------------------------------------


async def test_a_server_that_speaks_first_and_half_close(mesh: Mesh) -> None:
    """`service-defaults` say that it is a stream of bytes; intentions hold for it all the same."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        body = await reader.read()  # to the end that the caller makes of its half
        writer.write(b"got %d bytes" % len(body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    entry: Entry = {"Kind": "service-defaults", "Name": "mail", "Protocol": "tcp"}
    await in_thread(mesh.registry._ask, "PUT", "config", entry)
    mail = mesh.member("mail", 1, app_port=port)
    sender = mesh.member("sender", 1, ("mail",), free_port())
    upstreams = [{"DestinationName": "mail", "LocalBindPort": sender.upstreams["mail"]}]
    for member, proxy in ((mail, {}), (sender, {"Upstreams": upstreams})):
        await in_thread(mesh.enrol, member, proxy)
        await in_thread(mesh.start_sidecar, member)
    await in_thread(mesh.wait, mail, sender)
    host, local = sender.to("mail").split(":")

    async def said() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(local))
        try:
            async with asyncio.timeout(WAIT_S):
                writer.write(b"x" * 100_000)
                writer.write_eof()
                return await reader.read()
        except OSError:  # it was refused while we still wrote
            return b""
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    assert await said() == b"", "no intention allows it, so not a byte passes"
    await in_thread(mesh.registry.intend, "sender", "mail", "allow")

    async def passes() -> bool:
        return await said() == b"220 hello\r\ngot 100000 bytes"

    await until(passes, "it is allowed", WAIT_S)
    assert mail.metric("weft_tcp_bytes_total") >= 100_000
    server.close()


# --- egress --------------------------------------------------------------------------------------------


def egress(*rules: Entry, **more: object) -> Entry:
    return {"Kind": "egress", "Name": "global", "BindPort": 15_001, "Rules": list(rules), **more}


async def test_only_what_is_listed_is_reached_outside_and_refusals_are_counted(shop: Shop) -> None:
    """The registration says where each proxy listens, as they share a machine."""
    outside = shop.apps[f"{SPARE}-1"]  # it listens on loopback, and is not asked through the mesh here
    proxy = f"http://{shop.buyer.to('egress')}"
    named: Entry = {"Name": "spare", "Hosts": ["127.0.0.1/32"], "Ports": [outside.port]}
    async with shop.entries(egress(named)), aiohttp.ClientSession() as session:

        async def ask(port: int) -> int:
            async with session.get(f"http://127.0.0.1:{port}/out", proxy=proxy) as found:
                await found.read()
                return found.status

        async def there() -> bool:
            try:
                return await ask(outside.port) == 200
            except aiohttp.ClientConnectorError:
                return False  # it does not listen yet

        await until(there, "what is listed is reached", WAIT_S)
        assert outside.count("/out") == 1
        other = shop.apps[f"{STORE}-1"]
        assert await ask(other.port) == 403
        assert other.count("/out") == 0
        errors = shop.buyer.admin("/metrics").decode().splitlines()
        assert [line for line in errors if line.startswith("weft_errors_total") and "egress_denied" in line]
    async with shop.entries(egress(DefaultAllow=True)), aiohttp.ClientSession() as session:

        async def open_() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{other.port}/out", proxy=proxy) as found:
                    return found.status == 200
            except aiohttp.ClientConnectorError:
                return False

        await until(open_, "everything is reached", WAIT_S)


async def test_tunnels_ask_for_the_name_that_was_admitted(shop: Shop, tmp_path: Path) -> None:
    """CONNECT to a listed name; a TLS client that asks for another one there is cut off."""
    domain = Domain("outside.example")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    leaf = domain.leaf("outside")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(ssl.DER_cert_to_PEM_cert(it).encode() for it in leaf.chain_der))
    key.write_bytes(leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE  # what it proves is not the question

    async def tunnel(host: str, asked: str) -> bytes:
        where, local = shop.buyer.to("egress").split(":")
        reader, writer = await asyncio.open_connection(where, int(local))
        try:
            async with asyncio.timeout(WAIT_S):
                writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    return head
                await writer.start_tls(careless, server_hostname=asked)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                return await reader.read()
        except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
            return b""
        finally:
            writer.close()

    async with shop.entries(egress({"Name": "local", "Hosts": ["localhost"], "Ports": [port]})):

        async def reached() -> bool:
            try:
                return (await tunnel("localhost", "localhost")).startswith(b"HTTP/1.1 200 OK")
            except ConnectionError:
                return False

        await until(reached, "the listed name is reached", WAIT_S)
        assert await tunnel("localhost", "elsewhere.example") == b"", "SNI must match as well"
        assert (await tunnel("127.0.0.1", "localhost")).startswith(b"HTTP/1.1 403"), (
            "rules of names are for names"
        )
    server.close()

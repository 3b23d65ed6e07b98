"""One document, from a real HTTPS server: what is taken, and what is not."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import FetchFailed
from sidecar.fetch import HEAD_BYTES_MAX, get
from tests.support.key_server import KeyServer, answer, chunked

MOST = 64 * 1024
PATIENCE_S = 10.0


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeyServer]:
    running = await KeyServer(tmp_path).start()
    monkeypatch.setenv("SSL_CERT_FILE", running.trust)
    yield running
    await running.stop()


@pytest.mark.parametrize("said", [answer(b"{}"), chunked(b"{}")])
async def test_a_document_is_fetched_from_a_server_that_keeps_the_connection(
    server: KeyServer, said: bytes
) -> None:
    server.says = said
    assert await get(server.uri, PATIENCE_S, MOST) == b"{}"
    (head,) = server.asked
    assert head.startswith(b"GET /keys?v=1 HTTP/1.1\r\nHost: localhost:%d\r\n" % server.port)


REFUSED = {
    "is 404, not 200": answer(b"", "404 Not Found"),
    "is 302, not 200": answer(b"", "302 Found", "Location: https://localhost/"),
    "over": answer(b"x" * (HEAD_BYTES_MAX + MOST)),
    f"the document is over {MOST} bytes": answer(b"x" * (MOST + 1)),
    "is not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "no answer in 0.3 s": None,
}


@pytest.mark.parametrize("why", REFUSED)
async def test_what_is_no_document_is_not_taken(server: KeyServer, why: str) -> None:
    server.says = REFUSED[why]
    if why == "is not HTTP":
        asyncio.get_running_loop().call_later(0.2, server.hang_up)
    with pytest.raises(FetchFailed, match=why):
        await get(server.uri, 0.3 if server.says is None else PATIENCE_S, MOST)


async def test_a_server_that_drips_is_not_waited_for(server: KeyServer) -> None:
    """The time is for the whole, not for each octet."""
    server.says = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"
    with pytest.raises(FetchFailed, match=r"no answer in 0\.3 s"):
        await get(server.uri, 0.3, MOST)


async def test_a_server_that_cannot_prove_its_name_is_not_asked(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.says = answer(b"{}")
    with pytest.raises(FetchFailed, match=r"(?i)verify"):
        await get(server.uri.replace("localhost", "127.0.0.1"), PATIENCE_S, MOST)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(FetchFailed, match=r"(?i)verify"):
        await get(server.uri, PATIENCE_S, MOST)
    assert server.asked == []


METADATA = ("169.254.169.254", "[fe80::1]", "0.0.0.0", "[::ffff:169.254.169.254]", "100.100.100.200")


@pytest.mark.parametrize("host", [*METADATA, "[fd00:ec2::254]", "224.0.0.1"])
async def test_trap_28_keys_are_not_fetched_from_where_clouds_keep_credentials(host: str) -> None:
    with pytest.raises(FetchFailed, match="nothing is fetched from there"):
        await get(f"https://{host}/keys", PATIENCE_S, MOST)


async def test_trap_28_a_name_does_not_lead_there_either(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolved(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)
    with pytest.raises(FetchFailed, match="nothing is fetched from there"):
        await get("https://keys.example/", PATIENCE_S, MOST)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("ftp://localhost/", "is no http"),
        ("https://", "is no http"),
        ("https://localhost:99999/", "is no http"),
        ("https://localhost/\r\nx: y", "is no http"),
        ("https://localhost/a b", "is no http"),
        ("http://192.0.2.1/", "over https, or from loopback"),
        ("https://localhost:1/", "refused|Connect"),
    ],
)
async def test_what_cannot_be_asked_is_said(uri: str, why: str) -> None:
    with pytest.raises(FetchFailed, match=why):
        await get(uri, PATIENCE_S, MOST)

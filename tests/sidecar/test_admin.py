"""The admin port answers three GETs, to this machine only."""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus

import pytest

from sidecar.admin import CONNECTIONS_MAX, HEAD_BYTES_MAX, Admin, Page, answer, json_page
from weft.errors import PortTaken

PAGES: dict[str, Callable[[], Page]] = {
    "/ready": lambda: json_page({"ready": False}, HTTPStatus.SERVICE_UNAVAILABLE),
    "/metrics": lambda: Page(HTTPStatus.OK, "text/plain", b"up 1\n"),
}


def ask(line: str, host: str = "127.0.0.1:1") -> tuple[int, bytes]:
    response = answer(f"{line} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), PAGES)
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    return int(head.split()[1]), body


def test_a_page_is_served() -> None:
    assert ask("GET /metrics") == (200, b"up 1\n")
    assert ask("GET /metrics?x=1") == (200, b"up 1\n")
    status, body = ask("GET /ready")
    assert (status, json.loads(body)) == (503, {"ready": False})


def test_head_has_no_body() -> None:
    assert ask("HEAD /metrics") == (200, b"")


@pytest.mark.parametrize(
    ("line", "status"), [("GET /other", 404), ("POST /ready", 405), ("GET ready x", 400), ("NONSENSE", 400)]
)
def test_anything_else_is_refused(line: str, status: int) -> None:
    assert ask(line)[0] == status


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1", "127.9.9.9:5", "[::1]:80"])
def test_loopback_hosts_are_served(host: str) -> None:
    assert ask("GET /metrics", host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example:80", "10.0.0.1", "", "127.0.0.1.evil.example", "[::2]"])
def test_trap_01_a_rebound_name_is_refused(host: str) -> None:
    """A browser tricked into resolving its own page's name to loopback sends that name."""
    assert ask("GET /metrics", host)[0] == 421


async def over_socket(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_over_a_socket() -> None:
    admin = Admin(PAGES)
    address = await admin.start("127.0.0.1", 0)
    port = int(address.rpartition(":")[2])
    try:
        pieces = (b"GET /metrics HTTP/1.1\r\n", b"Host: localhost\r\n\r\n")
        assert (await over_socket(port, *pieces)).endswith(b"\r\n\r\nup 1\n")
        assert await over_socket(port, b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX * 4) == b""
        with pytest.raises(PortTaken, match="give another --admin-address"):
            await Admin(PAGES).start("127.0.0.1", port)
    finally:
        await admin.close()


async def test_connections_are_bounded() -> None:
    admin = Admin(PAGES)
    port = int((await admin.start("127.0.0.1", 0)).rpartition(":")[2])
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
    try:
        assert await over_socket(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
    finally:
        for _, writer in idle:
            writer.close()
        await admin.close()

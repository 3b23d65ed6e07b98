"""One GET of a small document over HTTPS, bounded in time and size.

The answer is parsed by `http.client` over bytes that asyncio read. The name is resolved first and the address
checked: what an entry names must not lead to the credentials of the machine (a cloud's metadata service).
Redirects are not followed. Proxies named in the environment are meant for web browsers.
"""

import asyncio
import http.client
import socket
import ssl
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import cast
from urllib.parse import SplitResult, urlsplit

from weft import __version__

from .errors import FetchFailed

HEAD_BYTES_MAX = 32 * 1024
_CHUNK_BYTES = 16 * 1024
_METADATA = frozenset(map(ip_address, ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")))
_PORTS = {"https": 443, "http": 80}


async def get(uri: str, timeout_s: float, bytes_max: int) -> bytes:
    """The body of the answer, if that is 200. Raises FetchFailed."""
    try:
        async with asyncio.timeout(timeout_s):
            parts, port = _split(uri)
            return _body(await _ask(parts, port, bytes_max), bytes_max)
    except TimeoutError:
        raise FetchFailed(f"{uri}: no answer in {timeout_s:g} s") from None
    except ssl.SSLError as error:
        raise FetchFailed(f"{uri}: {error.reason or error}: {getattr(error, 'verify_message', '')}") from None
    except OSError as error:
        raise FetchFailed(f"{uri}: {error.strerror or error}") from None
    except http.client.HTTPException as error:
        raise FetchFailed(f"{uri}: the answer is not HTTP ({type(error).__name__})") from None


def _split(uri: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(uri)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise FetchFailed(f"{uri}: is no http or https URL") from None
    if not parts.hostname or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise FetchFailed(f"{uri!r}: is no http or https URL")
    return parts, port


async def _ask(parts: SplitResult, port: int, bytes_max: int) -> bytes:
    host = cast(str, parts.hostname)
    address = await _resolved(host, port)
    if parts.scheme == "http" and not address.is_loopback:
        raise FetchFailed(f"{parts.geturl()}: keys are fetched over https, or from loopback")
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(
        str(address), port, ssl=tls, server_hostname=host if tls else None
    )
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = (
            f"GET {target} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "Accept: application/json",
            "Accept-Encoding: identity",
            f"User-Agent: weft/{__version__}",
            "Connection: close\r\n\r\n",
        )
        writer.write("\r\n".join(lines).encode())
        return await _read(reader, HEAD_BYTES_MAX + bytes_max)
    finally:
        writer.close()


async def _resolved(host: str, port: int) -> IPv4Address | IPv6Address:
    """The first address, and it is what is connected to: a name could resolve to another one next time."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    address = ip_address(str(found[0][4][0]).partition("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain in _METADATA:
        raise FetchFailed(f"{host} is {address}: nothing is fetched from there")
    return address


async def _read(reader: asyncio.StreamReader, most: int) -> bytes:
    """The answer as it came, to its end."""
    received = b""
    while chunk := await reader.read(_CHUNK_BYTES):
        received += chunk
        if len(received) > most:
            raise FetchFailed(f"the answer is over {most} bytes")
        if _is_whole(received):  # some keep the connection, whatever they are asked
            break
    return received


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
        if name == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return False


class _Received:
    """What `http.client` takes for a socket."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._received)


def _body(received: bytes, bytes_max: int) -> bytes:
    answer = http.client.HTTPResponse(cast(socket.socket, _Received(received)))
    answer.begin()
    if answer.status != http.HTTPStatus.OK:
        raise FetchFailed(f"the answer is {answer.status}, not 200")
    body = answer.read(bytes_max + 1)
    if len(body) > bytes_max:
        raise FetchFailed(f"the document is over {bytes_max} bytes")
    if answer.length:
        raise FetchFailed("the answer ends too soon")
    return body

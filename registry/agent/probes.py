"""Probes: one look at a service by HTTP, TCP or gRPC, bounded in time, size and reach (trap 28)."""

import asyncio
import socket
import ssl
from typing import Any

import aiohttp
import grpc
import orjson
import structlog
from aiohttp.abc import AbstractCookieJar
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ..catalog.model import CRITICAL, PASSING, WARNING, Check, CheckDefinition
from .addresses import check_address
from .check_definition import TIMEOUT_DEFAULT_S, split_host_port
from .errors import ForbiddenAddress
from .status import Outcome

log = structlog.get_logger(__name__)

OUTPUT_BYTES_MAX = 4096  # of a body: what a person reads; the rest is not even received
REDIRECTS_MAX = 3
PROBES_AT_ONCE_MAX = 64  # sockets and memory: each holds at most one bounded answer
USER_AGENT = "Weft Health Check"
_Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _checked_socket(info: Any) -> socket.socket:
    """Sees every address that aiohttp connects to, after DNS and at each redirect."""
    family, kind, protocol, _, address = info
    check_address(address[0])
    return socket.socket(family, kind, protocol)


class Prober:
    """Runs probes. `close` ends its connections."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(force_close=True, limit=0, socket_factory=_checked_socket)
        jar: AbstractCookieJar = aiohttp.DummyCookieJar()
        self._http = aiohttp.ClientSession(
            connector=connector, cookie_jar=jar, trust_env=False, auto_decompress=False
        )
        self._slots = asyncio.Semaphore(PROBES_AT_ONCE_MAX)

    async def close(self) -> None:
        await self._http.close()

    async def probe(self, check: Check) -> Outcome:
        """One verdict. Whatever goes wrong is critical, and never raised."""
        definition = check.definition
        kinds = {"http": self._probe_http, "tcp": _probe_tcp, "grpc": _probe_grpc}
        timeout_s = definition.timeout_ms / 1000 or TIMEOUT_DEFAULT_S
        async with self._slots:
            try:
                async with asyncio.timeout(timeout_s):
                    return await kinds[check.type](definition)
            except TimeoutError:
                return Outcome(CRITICAL, f"timed out after {timeout_s:g} s")
            except ForbiddenAddress as error:
                return Outcome(CRITICAL, str(error))
            except (OSError, ssl.SSLError, aiohttp.ClientError, ValueError) as error:
                return Outcome(CRITICAL, f"{_target(definition)}: {str(error) or type(error).__name__}")
            except Exception as error:  # a bug must not leave the last verdict standing for ever
                log.error("probe failed", check=check.id, exc_info=error)
                return Outcome(CRITICAL, f"the probe itself failed ({type(error).__name__}): see the log")

    async def _probe_http(self, definition: CheckDefinition) -> Outcome:
        method = definition.method.upper() or "GET"
        async with self._http.request(
            method,
            definition.http,
            headers=_headers(definition),
            data=definition.body.encode() or None,
            max_redirects=REDIRECTS_MAX,
            ssl=not definition.tls_skip_verify,
            server_hostname=definition.tls_server_name or None,
        ) as answer:
            body = await _read_bounded(answer.content)
            told = f"HTTP {method} {definition.http}: {answer.status} {answer.reason} Output: "
            return Outcome(_http_status(answer.status), told + body.decode(errors="replace"))


async def _read_bounded(content: aiohttp.StreamReader) -> bytes:
    body = b""
    while len(body) < OUTPUT_BYTES_MAX:
        chunk = await content.read(OUTPUT_BYTES_MAX - len(body))
        if not chunk:
            break
        body += chunk
    return body


def _http_status(status: int) -> str:
    """Consul's rule: 2xx passes, 429 Too Many Requests warns, everything else is critical."""
    if 200 <= status < 300:
        return PASSING
    return WARNING if status == 429 else CRITICAL


def _headers(definition: CheckDefinition) -> list[tuple[str, str]]:
    given: dict[str, list[str]] = orjson.loads(definition.header_json) if definition.header_json else {}
    pairs = [(name, value) for name, values in given.items() for value in values]
    if not any(name.lower() == "user-agent" for name, _ in pairs):
        pairs.append(("User-Agent", USER_AGENT))
    return pairs


def _target(definition: CheckDefinition) -> str:
    return definition.http or definition.tcp or definition.grpc


async def _resolve(target: str) -> tuple[str, str, int]:
    """(host as given, allowed IP address, port). Raises ForbiddenAddress if any address is."""
    host, port = split_host_port(target)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        check_address(address)
    return host, addresses[0], port


async def _probe_tcp(definition: CheckDefinition) -> Outcome:
    host, address, port = await _resolve(definition.tcp)
    context = _tls(definition) if definition.tcp_use_tls else None
    name = definition.tls_server_name or host
    _, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=name if context else None
    )
    writer.close()
    return Outcome(PASSING, f"TCP connect {definition.tcp}: Success")


def _tls(definition: CheckDefinition) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if definition.tls_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _probe_grpc(definition: CheckDefinition) -> Outcome:
    """grpc.health.v1: `host:port` asks for the whole server, `host:port/service` for one service."""
    target, _, service = definition.grpc.partition("/")
    host, address, port = await _resolve(target)
    async with _channel(definition, host, address, port) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request)
        except grpc.aio.AioRpcError as error:
            return Outcome(CRITICAL, f"gRPC check {definition.grpc}: {error.code().name}: {error.details()}")
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return Outcome(PASSING, f"gRPC check {definition.grpc}: success")
    return Outcome(CRITICAL, f"gRPC check {definition.grpc}: {name}")


def _channel(definition: CheckDefinition, host: str, address: str, port: int) -> grpc.aio.Channel:
    """To the address that was checked, and to no proxy or other name."""
    family, literal = ("ipv6", f"[{address}]") if ":" in address else ("ipv4", address)
    name = definition.tls_server_name or host
    options: list[tuple[str, Any]] = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),  # a probe must not share another's failed connection
        ("grpc.max_receive_message_length", OUTPUT_BYTES_MAX),
        ("grpc.default_authority", f"{name}:{port}"),
        ("grpc.primary_user_agent", USER_AGENT.replace(" ", "-")),
    ]
    target = f"{family}:{literal}:{port}"
    if definition.grpc_use_tls:
        options.append(("grpc.ssl_target_name_override", name))
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
    return grpc.aio.insecure_channel(target, options=options)

"""Probes: one look at a service by whatever its check says, bounded in time, size and reach (trap 28)."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import orjson
import structlog
from aiohttp.abc import AbstractCookieJar
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weft.bodies import read_up_to

from ..catalog.model import CRITICAL, PASSING, WARNING, Check, CheckDefinition
from .check_definition import TIMEOUT_DEFAULT_S
from .errors import ForbiddenAddress, InvalidDefinition
from .os_service import probe_os_service
from .probe_h2 import probe_h2ping
from .probe_udp import probe_udp
from .scripts import ScriptPolicy, refuse_scripts, run_script
from .sockets import checked_socket, resolve, tls_context
from .status import Outcome

log = structlog.get_logger(__name__)

OUTPUT_BYTES_MAX = 4096  # of a body: what a person reads; the rest is not even received
REDIRECTS_MAX = 3
PROBES_AT_ONCE_MAX = 64  # sockets and memory: each holds at most one bounded answer
USER_AGENT = "Weft Health Check"
SCRIPTS_AT_ONCE_MAX = 16  # processes of other people's programs beside the agent


class Prober:
    """Runs probes. `close` ends its connections."""

    def __init__(self, scripts: ScriptPolicy = ScriptPolicy.OFF) -> None:
        self._scripts = scripts
        connector = aiohttp.TCPConnector(force_close=True, limit=0, socket_factory=checked_socket)
        jar: AbstractCookieJar = aiohttp.DummyCookieJar()
        self._http = aiohttp.ClientSession(
            connector=connector, cookie_jar=jar, trust_env=False, auto_decompress=False
        )
        self._slots = asyncio.Semaphore(PROBES_AT_ONCE_MAX)
        self._script_slots = asyncio.Semaphore(SCRIPTS_AT_ONCE_MAX)
        self._kinds: dict[str, Callable[[CheckDefinition], Awaitable[Outcome]]] = {
            "http": self._probe_http,
            "tcp": _probe_tcp,
            "udp": probe_udp,
            "grpc": _probe_grpc,
            "h2ping": probe_h2ping,
            "os_service": probe_os_service,
        }

    async def close(self) -> None:
        await self._http.close()

    async def probe(self, check: Check) -> Outcome:
        """One verdict. Whatever goes wrong is critical, and never raised."""
        definition = check.definition
        try:
            if check.type == "script":
                return await self._run_script(definition)
            return await self._look(check.type, definition)
        except (ForbiddenAddress, InvalidDefinition) as error:
            return Outcome(CRITICAL, str(error))
        except (OSError, ssl.SSLError, aiohttp.ClientError, ValueError) as error:
            return Outcome(CRITICAL, _complaint(error, definition))
        except Exception as error:  # a bug must not leave the last verdict standing for ever
            log.error("probe failed", check=check.id, exc_info=error)
            return Outcome(CRITICAL, f"the probe itself failed ({type(error).__name__}): see the log")

    async def _look(self, kind: str, definition: CheckDefinition) -> Outcome:
        timeout_s = definition.timeout_ms / 1000 or TIMEOUT_DEFAULT_S
        async with self._slots:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._kinds[kind](definition)
            except TimeoutError:
                return Outcome(CRITICAL, f"timed out after {timeout_s:g} s")

    async def _run_script(self, definition: CheckDefinition) -> Outcome:
        """Asks the policy again: a row outlives the setting under which it was registered."""
        refuse_scripts(self._scripts, local=True)
        async with self._script_slots:
            return await run_script(definition)

    async def _probe_http(self, definition: CheckDefinition) -> Outcome:
        method = definition.method.upper() or "GET"
        async with self._http.request(
            method,
            definition.http,
            headers=_headers(definition),
            data=definition.body.encode() or None,
            max_redirects=REDIRECTS_MAX,
            allow_redirects=not definition.disable_redirects,
            ssl=not definition.tls_skip_verify,
            server_hostname=definition.tls_server_name or None,
        ) as answer:
            body = await read_up_to(answer.content, definition.output_bytes_max or OUTPUT_BYTES_MAX)
            told = f"HTTP {method} {definition.http}: {answer.status} {answer.reason} Output: "
            return Outcome(_http_status(answer.status), told + body.decode(errors="replace"))


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


def _complaint(error: Exception, definition: CheckDefinition) -> str:
    """What went wrong, in the words that people search for."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return f"connection refused on {_place(definition)}"
    return f"{_target(definition)}: {str(error) or type(error).__name__}"


def _place(definition: CheckDefinition) -> str:
    """host:port of the target."""
    if not definition.http:
        return _target(definition).partition("/")[0]
    parts = urlsplit(definition.http)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _target(definition: CheckDefinition) -> str:
    """What the check looks at, for a message."""
    texts = (definition.http, definition.tcp, definition.grpc, definition.udp, definition.h2ping)
    program = definition.args[0] if definition.args else ""
    return next(filter(None, texts), "") or definition.os_service or program


async def _probe_tcp(definition: CheckDefinition) -> Outcome:
    host, address, port = await resolve(definition.tcp)
    context = tls_context(definition) if definition.tcp_use_tls else None
    name = definition.tls_server_name or host
    _, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=name if context else None
    )
    writer.close()
    return Outcome(PASSING, f"TCP connect {definition.tcp}: Success")


async def _probe_grpc(definition: CheckDefinition) -> Outcome:
    """grpc.health.v1: `host:port` asks for the whole server, `host:port/service` for one service."""
    target, _, service = definition.grpc.partition("/")
    host, address, port = await resolve(target)
    async with _channel(definition, host, address, port) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request)
        except grpc.aio.AioRpcError as error:
            if "Connection refused" in (error.details() or ""):
                return Outcome(CRITICAL, f"connection refused on {target}")
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

"""A registry in this process, on free ports, with its HTTP and gRPC clients."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from registry.agent.scripts import ScriptPolicy
from registry.audit.settings import AuditSettings
from registry.dns.settings import DnsSettings
from registry.limits.settings import LimitSettings
from registry.liveness.limits import PATIENCE_DEFAULT, Patience
from registry.process import AclSettings, Registry, Settings
from weft.credential import Credential
from weft.pb.mesh.v1 import mesh_pb2_grpc
from weft.pb.registration.v1 import registration_pb2_grpc

TIMEOUT_S = 20.0
POLL_S = 0.005


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what nothing announces. Raises TimeoutError."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            if condition():
                return
            await asyncio.sleep(POLL_S)


@dataclass(frozen=True)
class Client:
    """Calls a registry as a client would."""

    registry: Registry
    http: aiohttp.ClientSession

    def url(self, path: str) -> str:
        return f"http://{self.registry.http}{path}"

    async def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        data = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        async with self.http.request(method, self.url(path), headers=named, **data) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def get(self, path: str) -> Any:
        """The JSON of a read that must answer 200."""
        async with self.http.get(self.url(path)) as answer:
            assert answer.status == 200, f"{path}: {answer.status} {await answer.text()}"
            return await answer.json()

    async def index(self, path: str) -> int:
        _, headers, _ = await self.call("GET", path)
        return int(headers["X-Consul-Index"])

    async def put(self, path: str, body: object = None) -> bytes:
        status, _, answer = await self.call("PUT", path, body)
        assert status == 200, f"{path}: {status} {answer.decode()}"
        return answer

    async def register(self, definition: Mapping[str, object]) -> None:
        await self.put("/v1/agent/service/register", definition)

    async def credential(self, definition: Mapping[str, object]) -> Credential:
        answer = await self.put("/v1/agent/service/register?credential", definition)
        return Credential.from_json(answer)

    def channel(self) -> grpc.aio.Channel:
        pem = self.registry.registry_ca_pem.encode()
        return grpc.aio.secure_channel(self.registry.grpc, grpc.ssl_channel_credentials(pem))


def mesh(channel: grpc.aio.Channel) -> Any:
    """The asynchronous stub; the generated types know the synchronous one only."""
    return mesh_pb2_grpc.MeshStub(channel)


def registration(channel: grpc.aio.Channel) -> Any:
    return registration_pb2_grpc.RegistrationStub(channel)


@asynccontextmanager
async def running_registry(
    *,
    data_dir: Path | None = None,
    default_allow: bool = True,
    leaf_ttl: timedelta | None = timedelta(hours=72),
    node_name: str = "n1",
    acl: AclSettings | None = None,
    dns: DnsSettings | None = None,
    scripts: ScriptPolicy = ScriptPolicy.OFF,
    audit: AuditSettings | None = None,
    patience: Patience = PATIENCE_DEFAULT,
    agent_port: int = 0,
    limits: LimitSettings | None = None,
) -> AsyncIterator[Client]:
    """Starts a registry and ends it."""
    given = (data_dir, 0, 0, "dc1", node_name, leaf_ttl, default_allow)
    options = {
        "scripts": scripts,
        "audit": audit,
        "patience": patience,
        "agent_port": agent_port,
        "limits": limits or LimitSettings(),
    }
    settings = Settings(*given, acl=acl, dns=dns, **options)  # type: ignore[arg-type]  # as named above
    registry = await Registry.start(settings)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as http:
            yield Client(registry, http)
    finally:
        await registry.close()

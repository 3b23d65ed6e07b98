"""What only the leader can do, asked of the leader on behalf of whoever asked here.

Writes and reads need none of this: the log forwards them. Signing does, and what the leader alone knows of
the others. The caller's proof (token, credential) goes along, and the leader checks it again.
"""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc

from weft.aio import Tasks
from weft.bodies import BodyTooLarge, read_whole
from weft.errors import ConfigError
from weft.pb.mesh.v1 import mesh_pb2 as pb
from weft.pb.mesh.v1 import mesh_pb2_grpc
from weft.pb.server.v1.server_pb2 import (
    ProxiesRequest,
    ProxiesResponse,
    ReportAgentsRequest,
    ReportAgentsResponse,
    ReportRequest,
    TapRequest,
    TapResponse,
)
from weft.pb.server.v1.server_pb2_grpc import ServersStub

from ..errors import NotReady
from ..replica.peer_tls import Material
from ..replica.port import Log
from .servers import GRPC_META, HTTPS_META, find

FORWARDED = "X-Weft-Forwarded"
"""On a request that a server has sent on: it is not sent on once more."""

TIMEOUT_S = 30.0
REPORT_TIMEOUT_S = 2.0  # of what comes every second, and is old soon
ANSWER_BYTES_MAX = 16 * 1024 * 1024
_SENT_ON = ("Accept", "Authorization", "Cache-Control", "X-Consul-Token")
_TAKEN_BACK = ("Content-Type", "Cache-Control", "X-Cache", "X-Consul-Index")


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The leader's answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class ToLeader:
    """`material` is read for each connection; `name` is what the certificate of every server bears."""

    def __init__(self, log: Log, material: Material, name: str) -> None:
        self._log = log
        self._material = material
        self._name = name
        self._session: aiohttp.ClientSession | None = None
        self._context: tuple[bytes, ssl.SSLContext] | None = None
        self._channel: tuple[str, bytes, grpc.aio.Channel] | None = None
        self._ending = Tasks()

    @property
    def is_elsewhere(self) -> bool:
        """Whether this server does not lead."""
        return not self._log.status().is_leader

    def _address(self, port_meta: str) -> str:
        """Raises NotReady while no leader is known, or it has not said where it listens."""
        leader = find(self._log.view(), self._log.status().leader_id)
        address = leader.address(port_meta) if leader else ""
        if not address:
            raise NotReady("there is no leader now; retry later")
        return address

    async def http(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Forwarded:
        """Asks the leader's HTTPS listener. `target` is the path with its query. Raises NotReady."""
        url = f"https://{self._address(HTTPS_META)}{target}"
        sent = {name: headers[name] for name in _SENT_ON if name in headers} | {FORWARDED: "1"}
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.request(
                method, url, headers=sent, data=body or None, ssl=self._trusting(), server_hostname=self._name
            ) as answer:
                text = await read_whole(answer.content, ANSWER_BYTES_MAX)
                kept = {name: answer.headers[name] for name in _TAKEN_BACK if name in answer.headers}
                return Forwarded(answer.status, text, kept)
        except (aiohttp.ClientError, BodyTooLarge, TimeoutError, OSError) as error:
            raise NotReady(f"the leader does not answer ({error}); retry later") from error

    def _trusting(self) -> ssl.SSLContext:
        """The same while the roots are: connections are kept by it."""
        roots = self._material().roots_pem
        if self._context is None or self._context[0] != roots:
            self._context = (roots, _context(roots))
        return self._context[1]

    async def sign(
        self, request: pb.SignCertificateRequest, metadata: Sequence[tuple[str, str]]
    ) -> pb.SignCertificateResponse:
        """Asks the leader's gRPC listener. Raises NotReady, and grpc.aio.AioRpcError with its refusal."""
        stub: Any = mesh_pb2_grpc.MeshStub(self._connected(self._address(GRPC_META)))
        response: pb.SignCertificateResponse = await stub.SignCertificate(
            request, metadata=metadata, timeout=TIMEOUT_S
        )
        return response

    async def report(self, request: ReportRequest, metadata: Sequence[tuple[str, str]]) -> None:
        """Tells the leader's gRPC listener what was measured here. Raises as `sign`."""
        stub: Any = ServersStub(self._connected(self._address(GRPC_META)))
        await stub.Report(request, metadata=metadata, timeout=REPORT_TIMEOUT_S)

    async def report_agents(
        self, request: ReportAgentsRequest, metadata: Sequence[tuple[str, str]]
    ) -> ReportAgentsResponse:
        """Tells the leader's gRPC listener which agents are heard here. Raises as `sign`."""
        stub: Any = ServersStub(self._connected(self._address(GRPC_META)))
        answer: ReportAgentsResponse = await stub.ReportAgents(
            request, metadata=metadata, timeout=REPORT_TIMEOUT_S
        )
        return answer

    async def tap(
        self, address: str, request: TapRequest, metadata: Sequence[tuple[str, str]]
    ) -> AsyncIterator[TapResponse]:
        """What the sidecars of another server see. Raises as `sign`."""
        async with self._channel_to(address) as channel:
            stub: Any = ServersStub(channel)
            async for response in stub.Tap(request, metadata=metadata):
                yield response

    async def proxies(self, address: str, metadata: Sequence[tuple[str, str]]) -> ProxiesResponse:
        """Asks the gRPC listener of any other server for its sidecars. Raises grpc.aio.AioRpcError."""
        async with self._channel_to(address) as channel:
            stub: Any = ServersStub(channel)
            answer: ProxiesResponse = await stub.Proxies(
                ProxiesRequest(), metadata=metadata, timeout=REPORT_TIMEOUT_S
            )
        return answer

    def _connected(self, address: str) -> grpc.aio.Channel:
        roots = self._material().roots_pem
        if self._channel and self._channel[:2] == (address, roots):
            return self._channel[2]
        self._hang_up()
        channel = self._channel_to(address)
        self._channel = (address, roots, channel)
        return channel

    def _channel_to(self, address: str) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(
            address,
            grpc.ssl_channel_credentials(self._material().roots_pem),
            options=(("grpc.ssl_target_name_override", self._name), ("grpc.max_reconnect_backoff_ms", 1000)),
        )

    def _hang_up(self) -> None:
        """What is under way with a former leader may end by itself; nobody else waits for it."""
        if self._channel:
            channel, self._channel = self._channel[2], None
            self._ending.spawn(channel.close(TIMEOUT_S), "hanging up on a former leader")

    async def close(self) -> None:
        if self._channel:
            await self._channel[2].close(None)
        await self._ending.close()
        if self._session:
            await self._session.close()


def _context(roots_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name and the chain
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=roots_pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"--tls-ca cannot be used ({error}); give a PEM file") from error
    return context

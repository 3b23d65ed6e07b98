"""The gRPC listener: TLS with the registry's own certificate, bounded messages, keepalive."""

import socket
from typing import Any

import grpc

from weft.errors import PortTaken
from weft.pb.agent.v1 import agent_pb2_grpc
from weft.pb.mesh.v1 import mesh_pb2, observe_pb2
from weft.pb.registration.v1 import registration_pb2_grpc
from weft.pb.server.v1 import server_pb2_grpc

from ..limits.settings import GRPC_CONNECTIONS_MAX, GRPC_STREAMS_PER_CONNECTION_MAX, HEAD_TIMEOUT_S
from .agents import Agents
from .deltas import DeltaEncoder
from .gate import Gate
from .mesh import Mesh
from .registration import Registration
from .servers import Servers

REQUEST_BYTES_MAX = 4 * 1024 * 1024  # a Hello of 50,000 names, and no more
GRACE_S = 0.25  # for calls under way; subscriptions have no end of their own
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second registry on the port must fail, not share it
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.keepalive_time_ms", 20_000),  # sidecars behind a dead link are noticed in half a minute
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", GRPC_STREAMS_PER_CONNECTION_MAX),
    ("grpc.max_allowed_incoming_connections", GRPC_CONNECTIONS_MAX),
    ("grpc.server_handshake_timeout_ms", int(HEAD_TIMEOUT_S * 1000)),
)


class GrpcServer:
    """Serves all contracts on one port."""

    def __init__(self, mesh: Mesh, registration: Registration, servers: Servers, gate: Gate) -> None:
        self._mesh = mesh
        self._server = grpc.aio.server(interceptors=(gate,), options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_mesh_handlers(mesh),))
        registration_pb2_grpc.add_RegistrationServicer_to_server(registration, self._server)
        server_pb2_grpc.add_ServersServicer_to_server(servers, self._server)

    def bind(self, host: str, port: int, credentials: grpc.ServerCredentials) -> int:
        """Takes the port and answers it; 0 takes a free one. Raises PortTaken."""
        return _bind(self._server, host, port, credentials, "--grpc-port")

    async def start(self) -> None:
        await self._server.start()

    async def close(self) -> None:
        """Ends the subscriptions and stops listening."""
        await self._server.stop(GRACE_S)
        await self._mesh.close()


class AgentServer:
    """Serves agents, which prove themselves by certificate."""

    def __init__(self, agents: Agents, gate: Gate) -> None:
        self._server = grpc.aio.server(interceptors=(gate,), options=_OPTIONS)
        agent_pb2_grpc.add_AgentsServicer_to_server(agents, self._server)

    def bind(self, host: str, port: int, credentials: grpc.ServerCredentials) -> int:
        """Takes the port and answers it; 0 takes a free one. Raises PortTaken."""
        return _bind(self._server, host, port, credentials, "--agent-port")

    async def start(self) -> None:
        await self._server.start()

    async def close(self) -> None:
        """Ends the leases and stops listening."""
        await self._server.stop(GRACE_S)


def _bind(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials, flag: str
) -> int:
    try:
        _try_port(host, port)
        shown = f"[{host}]" if ":" in host else host
        return server.add_secure_port(f"{shown}:{port}", credentials)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the port is taken"
        raise PortTaken(
            f"gRPC cannot listen on {host}:{port} ({reason}): choose another with {flag}"
        ) from error


def _mesh_handlers(mesh: Mesh) -> "grpc.GenericRpcHandler[Any, Any]":
    """As the generated code adds them, but for the encoder of deltas."""
    return grpc.method_handlers_generic_handler(
        mesh_pb2.DESCRIPTOR.services_by_name["Mesh"].full_name,
        {
            "SignCertificate": grpc.unary_unary_rpc_method_handler(
                mesh.SignCertificate,
                mesh_pb2.SignCertificateRequest.FromString,
                mesh_pb2.SignCertificateResponse.SerializeToString,
            ),
            "Subscribe": grpc.stream_stream_rpc_method_handler(
                mesh.Subscribe, mesh_pb2.SubscribeRequest.FromString, DeltaEncoder()
            ),
            "Observe": grpc.stream_stream_rpc_method_handler(
                mesh.Observe,
                observe_pb2.Observation.FromString,
                observe_pb2.ObservationRequest.SerializeToString,
            ),
        },
    )


def _try_port(host: str, port: int) -> None:
    """Raises OSError where the port is taken: grpc's own failure also writes to stderr, past our logs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))

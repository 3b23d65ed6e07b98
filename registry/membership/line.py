"""An agent's gRPC to one server: mTLS with the agent's certificate, the servers' own root pinned."""

from typing import Any

import grpc
import grpc.aio

from weft.pb.agent.v1 import agent_pb2 as pb
from weft.pb.agent.v1 import agent_pb2_grpc

from ..replica.peer_tls import server_name
from .errors import JoinRefused, ServersAway
from .files import Membership

RENEW_TIMEOUT_S = 10.0
_OPTIONS: tuple[tuple[str, Any], ...] = (
    # The waiting between attempts is ours: gRPC's own must not add to it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # another certificate is another connection
    ("grpc.enable_http_proxy", 0),
)


class Line:
    """To the server at `address`. Every method raises ServersAway, or JoinRefused when we are no member."""

    def __init__(self, membership: Membership, address: str) -> None:
        self.address = address
        credentials = grpc.ssl_channel_credentials(
            membership.registry_ca_pem.encode(),
            membership.key_pem.encode(),
            membership.chain_pem.encode(),
        )
        name = ("grpc.ssl_target_name_override", server_name(membership.datacenter))
        self._channel = grpc.aio.secure_channel(address, credentials, options=(name, *_OPTIONS))
        self._stub: Any = agent_pb2_grpc.AgentsStub(self._channel)

    async def close(self) -> None:
        await self._channel.close(None)

    async def renew(self, csr_der: bytes) -> pb.RenewResponse:
        """The next certificate, for the key of this CSR."""
        try:
            answer: pb.RenewResponse = await self._stub.Renew(
                pb.RenewRequest(csr_der=csr_der), timeout=RENEW_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            raise self.translated(error) from None
        return answer

    def lease(self) -> "grpc.aio.StreamStreamCall[pb.LeaseRequest, pb.LeaseReply]":
        """A stream that raises AioRpcError: see `translated`."""
        call: grpc.aio.StreamStreamCall[pb.LeaseRequest, pb.LeaseReply] = self._stub.Lease()
        return call

    def translated(self, error: grpc.aio.AioRpcError) -> JoinRefused | ServersAway:
        detail = " ".join((error.details() or "").split())[:300]
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT):
            return JoinRefused(f"{self.address} refuses this agent: {detail}")
        return ServersAway(f"{self.address}: {error.code().name} {detail}")

"""weft.agent.v1.Agents: certificates that follow the first, and leases."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import structlog

from weft.pb.agent.v1 import agent_pb2 as pb
from weft.pb.agent.v1 import agent_pb2_grpc
from weft.svid import AgentPeer

from ..catalog import limits, rules
from ..catalog.model import Node
from ..identity.agent_proof import ENDED, AgentProof
from ..identity.enroller import Enroller
from ..identity.errors import Unauthenticated
from ..liveness.roster import Lease as Held
from ..liveness.roster import Roster
from ..operator.guide import Guide, certificate
from ..replica.port import Log
from .errors import LeaseEnded, Superseded
from .respond import abort
from .session import ProtocolViolation

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
HELLO_TIMEOUT_S = 10.0  # between opening the stream and saying Hello


class Agents(agent_pb2_grpc.AgentsServicer):
    """Every call proves its caller by certificate; nothing in a message can name another node."""

    def __init__(
        self,
        replica: Log,
        proof: AgentProof,
        enroller: Enroller,
        guide: Guide,
        roster: Roster,
        monotonic: Callable[[], float],
    ) -> None:
        self._log = replica
        self._proof = proof
        self._enroller = enroller
        self._guide = guide
        self._roster = roster
        self._monotonic = monotonic

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:
        try:
            peer = await self._member(context)
            leaf = await self._enroller.renew(peer.identity.node, peer.serial, request.csr_der)
        except Exception as error:
            await abort(context, error)
        return pb.RenewResponse(certificate=certificate(leaf), cluster=self._guide.cluster())

    async def Lease(self, request_iterator: object, context: Context) -> None:  # type: ignore[override]
        try:
            peer = await self._member(context)
            await self._hold(peer, await _hello(peer, context), context)
        except Exception as error:
            await abort(context, error)

    async def _member(self, context: Context) -> AgentPeer:
        """The agent that calls. Raises Unauthenticated only after a look at all that was ever written: the
        certificate may come from another server, a moment ago."""
        peer = self._proof.agent(context.auth_context())
        if not self._proof.in_force(peer):
            await self._log.read_index()
            self._check(peer)
        return peer

    def _check(self, peer: AgentPeer) -> None:
        if not self._proof.in_force(peer):
            raise Unauthenticated(ENDED)

    async def _hold(self, peer: AgentPeer, told: pb.Hello, context: Context) -> None:
        """Until the agent hangs up. Raises LeaseEnded, Superseded, Unauthenticated."""
        lease = self._roster.begin(peer.identity.node, told, self._monotonic())
        known: tuple[str, ...] = ()
        try:
            while True:
                addresses = self._guide.agent_addresses()
                await context.write(self._reply(() if addresses is known else addresses))
                known = addresses
                if not await self._heard(lease, context):
                    return
                self._check(peer)
        finally:
            self._roster.end(lease)

    def _reply(self, addresses: tuple[str, ...]) -> pb.LeaseReply:
        return pb.LeaseReply(
            keepalive_ms=round(self._roster.keepalive_s * 1000),
            signing_key_id=self._guide.signing_key_id(),
            agent_addresses=addresses,
        )

    async def _heard(self, lease: Held, context: Context) -> bool:
        """Whether the agent has said that it lives; False when it has hung up."""
        patience_s = self._roster.patience_s
        try:
            async with asyncio.timeout(patience_s):
                request = await context.read()
        except TimeoutError:
            raise LeaseEnded(f"no word of the agent for {patience_s:g} s") from None
        if not isinstance(request, pb.LeaseRequest):
            return False
        if request.WhichOneof("kind") != "keepalive":
            raise ProtocolViolation("after Hello, an agent sends KeepAlive only")
        if not self._roster.renew(lease, self._monotonic()):
            raise Superseded(f"the agent of {lease.node} has come by another connection")
        return True


async def _hello(peer: AgentPeer, context: Context) -> pb.Hello:
    """What the agent says of its node. Raises ProtocolViolation, InvalidCommand."""
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            first = await context.read()
    except TimeoutError:
        raise ProtocolViolation(f"no Hello within {HELLO_TIMEOUT_S:g} s") from None
    if not isinstance(first, pb.LeaseRequest) or first.WhichOneof("kind") != "hello":
        raise ProtocolViolation("the first message of a lease is Hello")
    told = first.hello
    rules.text("Version", told.version, limits.META_VALUE_CHARS_MAX)
    row = Node(
        peer.identity.node,
        told.address,
        peer.identity.datacenter,
        told.node_id,
        dict(told.tagged_addresses),
        dict(told.meta),
    )
    rules.node(row)
    return told

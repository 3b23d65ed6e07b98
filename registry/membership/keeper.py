"""Keeps an agent a member: its certificate is renewed in time, and its lease is held at one of the servers.

A server that does not answer is left for the next one at once: silence counts against the node.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from weft.aio import Tasks
from weft.clock import Clock
from weft.errors import WeftError
from weft.pb.agent.v1 import agent_pb2 as pb

from ..liveness.limits import ANSWER_S
from .errors import JoinRefused, ServersAway
from .files import Membership, MembershipFiles
from .line import Line
from .schedule import pause_s, refused_s, renew_at, retry_s, root_pause_s, stay_s

log = structlog.get_logger(__name__)

CONNECT_S = 3.0  # a handshake with a server that is busy with many others


class Keeper:
    """`hello` is what the agent says of its node, asked at each connection. `held_at` is the address of the
    server that the lease is held at, "" while it is not."""

    def __init__(
        self,
        membership: Membership,
        files: MembershipFiles,
        hello: Callable[[], pb.Hello],
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self.membership = membership
        self.held_at = ""
        self._files = files
        self._hello = hello
        self._clock = clock
        self._draw = draw
        self._turn = int(draw() * 1_000_000)
        self._renewed = asyncio.Event()
        self._other_root = asyncio.Event()
        self._tasks = Tasks()

    def start(self) -> None:
        self._tasks.spawn(self._keep_certificate(), "renewing the agent's certificate")
        self._tasks.spawn(self._keep_lease(), "holding the agent's lease")

    async def close(self) -> None:
        await self._tasks.close()

    # The certificate

    async def _keep_certificate(self) -> None:
        while True:
            await self._until_due()
            try:
                await self.renew()
            except WeftError as error:
                left_s = self.membership.not_after_s - self._clock.wall()
                say = log.warning if left_s > 0 else log.error
                say("the agent's certificate is not renewed", reason=str(error), left_s=round(left_s))
                await asyncio.sleep(retry_s(self.membership.not_after_s, self._clock.wall(), self._draw()))

    async def _until_due(self) -> None:
        now, known = self._clock.wall(), self.membership
        due_s = renew_at(known.not_before_s, known.not_after_s, self._draw()) - now
        try:
            async with asyncio.timeout(max(0.0, due_s)):
                await self._other_root.wait()
                await asyncio.sleep(root_pause_s(known.not_after_s, now, self._draw()))
        except TimeoutError:
            return

    async def renew(self) -> None:
        """Asks for the next certificate, with a new key, and keeps it. Raises JoinRefused, ServersAway."""
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        line = Line(self.membership, self._address())
        try:
            answer = await line.renew(csr.public_bytes(Encoding.DER))
        except ServersAway:
            self._turn += 1
            raise
        finally:
            await line.close()
        before = self.membership
        made = Membership.made_of(before.node, key, answer)
        kept = replace(made, acl_accessor_id=before.acl_accessor_id, acl_secret=before.acl_secret)
        await asyncio.to_thread(self._files.save, kept)
        self.membership = kept
        self._other_root.clear()
        self._renewed.set()
        log.info("the agent's certificate is renewed", until=kept.not_after_s)

    def _address(self) -> str:
        addresses = self.membership.agent_addresses
        return addresses[self._turn % len(addresses)]

    # The lease

    async def _keep_lease(self) -> None:
        failures, told = 0, ""
        while True:
            self._renewed.clear()
            line = Line(self.membership, self._address())
            try:
                if await self._hold(line):
                    failures, told = 0, ""  # a certificate has come, or it is time for another server
                    continue
                raise ServersAway(f"{line.address} has ended the lease")
            except WeftError as error:
                failures = 1 if self.held_at else failures + 1
                if str(error) != told:
                    log.warning("the agent's lease is not held", reason=str(error))
                    told = str(error)
                self._turn += 1
                refused = isinstance(error, JoinRefused)
            finally:
                self.held_at = ""
                await line.close()
            draw = 0.5 + self._draw() / 2
            await asyncio.sleep(refused_s(draw) if refused else pause_s(failures, draw))

    async def _hold(self, line: Line) -> bool:
        """Until there is another certificate, or it is time for another server: True; or this one has ended
        the lease. Raises JoinRefused, ServersAway."""
        call, leave_at = line.lease(), self._clock.monotonic() + stay_s(self._draw())
        try:
            await self._say(call, pb.LeaseRequest(hello=self._hello()), CONNECT_S)
            while True:
                reply = await self._read(call, ANSWER_S if self.held_at else CONNECT_S)
                if reply is None:
                    return False
                self.held_at = line.address
                await self._look_at(reply)
                if await self._renewed_within(reply.keepalive_ms / 1000):
                    return True
                if self._clock.monotonic() >= leave_at:
                    self._turn = int(self._draw() * 1_000_000)
                    return True
                await self._say(call, pb.LeaseRequest(keepalive=pb.KeepAlive()), ANSWER_S)
        except grpc.aio.AioRpcError as error:
            raise line.translated(error) from None
        except TimeoutError:
            raise ServersAway(f"{line.address} does not answer") from None
        except asyncio.InvalidStateError:  # grpc's word for a stream that has ended between two words of ours
            raise ServersAway(f"{line.address} has ended the lease") from None
        finally:
            call.cancel()

    async def _say(
        self,
        call: "grpc.aio.StreamStreamCall[pb.LeaseRequest, pb.LeaseReply]",
        request: pb.LeaseRequest,
        within_s: float,
    ) -> None:
        async with asyncio.timeout(within_s):
            await call.write(request)

    async def _read(
        self, call: "grpc.aio.StreamStreamCall[pb.LeaseRequest, pb.LeaseReply]", within_s: float
    ) -> pb.LeaseReply | None:
        async with asyncio.timeout(within_s):
            found = await call.read()
        return found if isinstance(found, pb.LeaseReply) else None

    async def _look_at(self, reply: pb.LeaseReply) -> None:
        told = tuple(reply.agent_addresses)
        if told and set(told) != set(self.membership.agent_addresses):
            self.membership = replace(self.membership, agent_addresses=told)
            await asyncio.to_thread(self._files.save, self.membership)
        if reply.signing_key_id and reply.signing_key_id.hex() != self.membership.signing_key_id:
            self._other_root.set()

    async def _renewed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._renewed.wait()
        except TimeoutError:
            return False
        return True

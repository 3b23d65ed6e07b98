"""Agents as servers see them: thousands of members, each with its key, its connection and its lease.

Written for speed: the protocol is what `bench.frames` makes of it, and nothing of `registry.membership` runs
here but what an agent's hello says.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca.bundle import chain_to_pem
from ca.provider import private_pem
from weft.pb.agent.v1 import agent_pb2 as pb
from weft.tls import client_context

from . import frames
from .errors import LoadFailed

_METHOD = "/weft.agent.v1.Agents/Lease"
_HEAD = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", _METHOD),
    (":authority", "server.dc1.weft"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
_STREAM = 1
_WINDOW = 1 << 30
JOINING, CONNECTING = 16, 64  # at a time
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Member:
    """An agent that has joined. PEM."""

    node: str
    number: int
    key_pem: bytes
    chain_pem: bytes


async def join_all(servers: Sequence[str], token: str, count: int) -> list[Member]:
    """Makes a join token for each agent and redeems it, at the servers' HTTP. Raises LoadFailed."""
    numbers = iter(range(count))
    members: list[Member] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:

        async def work(server: str) -> None:
            for number in numbers:
                members.append(await _join(session, server, token, number))

        await asyncio.gather(*(work(servers[n % len(servers)]) for n in range(JOINING)))
    return members


async def _join(session: aiohttp.ClientSession, server: str, token: str, number: int) -> Member:
    node = f"vm-{number:05d}"
    text = json.loads(await put(session, server, "/v1/join-token", token, {"Node": node}))["Token"]
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    _, token_id, secret, _ = text.split(".")
    csr_der = base64.b64encode(csr.public_bytes(Encoding.DER)).decode()
    body = {"tokenId": token_id, "secret": secret, "node": node, "csrDer": csr_der}
    answer = json.loads(await put(session, server, "/v1/join", "", body))
    chain = [base64.b64decode(der) for der in answer["certificate"]["chainDer"]]
    return Member(node, number, private_pem(key), chain_to_pem(chain))


async def put(session: aiohttp.ClientSession, server: str, path: str, token: str, body: Any) -> bytes:
    """Raises LoadFailed for anything but 200."""
    headers = {"X-Consul-Token": token} if token else {}
    async with session.put(f"http://{server}{path}", json=body, headers=headers) as answer:
        text = await answer.read()
        if answer.status != 200:
            raise LoadFailed(f"{path}: {answer.status} {text.decode(errors='replace')[:200]}")
        return text


class Lease(asyncio.Protocol):
    """One agent's connection. `held` is set by the first answer; `lost` is called when it ends."""

    def __init__(self, member: Member, lost: Callable[["Lease"], None]) -> None:
        self.member = member
        self.held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answers = 0
        self._lost = lost
        self._transport: Any = None
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        told = pb.Hello(
            node_id=f"00000000-0000-4000-8000-{self.member.number:012x}",
            address=f"10.{self.member.number >> 8 & 255}.{self.member.number & 255}.1",
        )
        self._transport.write(
            frames.PREFACE
            + frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: _WINDOW})
            + frames.window_update(0, _WINDOW)
            + frames.frame(frames.HEADERS, frames.END_HEADERS, _STREAM, _BLOCK)
            + _message(pb.LeaseRequest(hello=told))
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= frames.HEAD_BYTES:
            length, kind, flags, _ = frames.head_at(self._buffer, position)
            end = position + frames.HEAD_BYTES + length
            if len(self._buffer) < end:
                break
            self._take(kind, flags, self._buffer[position + frames.HEAD_BYTES : end])
            position = end
        self._buffer = self._buffer[position:]

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == frames.DATA and payload:
            self._answered(pb.LeaseReply.FromString(payload[5:]))  # one message a frame, as grpc writes it
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        elif kind == frames.PING and not flags & frames.ACK:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind in (frames.GOAWAY, frames.RST_STREAM) or self._ends(kind, flags):
            self._transport.abort()

    def _ends(self, kind: int, flags: int) -> bool:
        return kind in (frames.HEADERS, frames.DATA) and bool(flags & frames.END_STREAM)

    def _answered(self, reply: pb.LeaseReply) -> None:
        self.answers += 1
        if not self.held.done():
            self.held.set_result(None)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(reply.keepalive_ms / 1000, self._transport.write, _KEEPALIVE)

    def kill(self) -> None:
        """As a process that is killed: its socket closes."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        if not self.held.done():
            self.held.set_exception(LoadFailed(f"{self.member.node}: the lease was refused ({exc})"))
            self.held.exception()  # who still waits for it is told
        self._lost(self)


def _message(request: pb.LeaseRequest) -> bytes:
    return frames.frame(frames.DATA, 0, _STREAM, frames.grpc_message(request.SerializeToString()))


_BLOCK = frames.Blocks(_HEAD).first[0]
_KEEPALIVE = _message(pb.LeaseRequest(keepalive=pb.KeepAlive()))


async def connect(member: Member, address: str, roots_pem: bytes, lost: Callable[[Lease], None]) -> Lease:
    """Returns once the server has answered. Raises LoadFailed."""
    host, _, port = address.rpartition(":")
    context = client_context(member.chain_pem, member.key_pem, (roots_pem,))
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, lease = await loop.create_connection(lambda: Lease(member, lost), host, int(port), ssl=context)
            await lease.held
    except (OSError, TimeoutError) as error:
        raise LoadFailed(f"{member.node}: no lease at {address} ({error or type(error).__name__})") from None
    return lease

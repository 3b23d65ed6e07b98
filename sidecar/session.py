"""The line to the registry: gRPC over TLS, the registry's own root pinned, the credential on every call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio

from weft.credential import Credential
from weft.limits import CONFIG_MESSAGE_BYTES_MAX
from weft.pb.mesh.v1 import mesh_pb2, mesh_pb2_grpc, observe_pb2

from .errors import CredentialRejected, RegistryUnreachable

SIGN_TIMEOUT_S = 10.0  # a signature takes milliseconds; a leader election seconds
DETAIL_CHARS_MAX = 300

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", CONFIG_MESSAGE_BYTES_MAX),
    # A registry that vanished without a FIN is noticed within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The waiting between attempts is ours (policy.renewal.backoff_s): gRPC's own must not add to it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
    # A proxy named in the environment is meant for web browsers, not for the control plane.
    ("grpc.enable_http_proxy", 0),
)


class Session:
    """Calls the registry at one of its addresses; `next_address` moves on to another.

    Every method raises RegistryUnreachable, or CredentialRejected when the registry refuses us.
    """

    def __init__(self, credential: Credential, addresses: Sequence[str] = ()) -> None:
        self._metadata = (credential.metadata(),)
        self._root = credential.registry_ca_pem.encode()
        self._addresses = tuple(addresses or credential.registry_addresses)
        self._turn = 0
        self._channel: grpc.aio.Channel | None = None
        self._outbox: asyncio.Queue[mesh_pb2.SubscribeRequest] | None = None  # of the open subscription

    @property
    def address(self) -> str:
        return self._addresses[self._turn % len(self._addresses)]

    async def next_address(self) -> None:
        """The next call goes to the address after this one."""
        if len(self._addresses) > 1:
            self._turn += 1
            await self.close()

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(grace=None)

    async def sign(self, csr_der: bytes) -> mesh_pb2.SignCertificateResponse:
        """Our certificate for the key of this CSR."""
        request = mesh_pb2.SignCertificateRequest(csr_der=csr_der)
        with self._translated():
            return await self._stub().SignCertificate(
                request, timeout=SIGN_TIMEOUT_S, metadata=self._metadata
            )

    async def subscribe(
        self, hello: mesh_pb2.Hello, take: Callable[[mesh_pb2.Delta], Awaitable[mesh_pb2.Ack]]
    ) -> NoReturn:
        """Hands each delta to `take` and sends the Ack it answers; returns never. What `take` raises
        ends the stream and travels on."""
        outbox: asyncio.Queue[mesh_pb2.SubscribeRequest] = asyncio.Queue()
        outbox.put_nowait(mesh_pb2.SubscribeRequest(hello=hello))
        self._outbox = outbox
        stream = self._stub().Subscribe(_drained(outbox), metadata=self._metadata)
        try:
            with self._translated():
                async for delta in stream:
                    outbox.put_nowait(mesh_pb2.SubscribeRequest(ack=await take(delta)))
        finally:
            self._outbox = None
            stream.cancel()
        raise RegistryUnreachable(f"registry {self.address} ended the stream")

    async def observe(
        self,
        told: AsyncIterator[observe_pb2.Observation],
        asked: Callable[[observe_pb2.ObservationRequest], None],
    ) -> NoReturn:
        """Sends what `told` yields and hands each request to `asked`; returns never."""
        stream = self._stub().Observe(told, metadata=self._metadata)
        try:
            with self._translated():
                async for request in stream:
                    asked(request)
        finally:
            stream.cancel()
        raise RegistryUnreachable(f"registry {self.address} ended the stream")

    def tell(self, open_: mesh_pb2.Open) -> None:
        """Sends what is open, if there is a subscription to send it on."""
        if self._outbox is not None and self._outbox.empty():
            self._outbox.put_nowait(mesh_pb2.SubscribeRequest(open=open_))

    def _stub(self) -> "mesh_pb2_grpc.MeshAsyncStub":
        if self._channel is None:
            pinned = grpc.ssl_channel_credentials(root_certificates=self._root)
            self._channel = grpc.aio.secure_channel(self.address, pinned, options=_OPTIONS)
        return mesh_pb2_grpc.MeshStub(self._channel)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Around each call: what gRPC raises is said in our terms, with the address that was called."""
        address = self.address
        try:
            yield
        except grpc.aio.AioRpcError as error:
            if _is_cancelled():  # it came while the call was begun, and grpc.aio has forgotten it
                raise asyncio.CancelledError from None
            raise _of_rpc(error, address) from None
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            # Nobody cancels us: `next_address` or `close` took the channel from under the call.
            raise RegistryUnreachable(f"registry {address}: the connection was given up") from None


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _of_rpc(error: grpc.aio.AioRpcError, address: str) -> CredentialRejected | RegistryUnreachable:
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return CredentialRejected(
            f"registry {address} rejected the credential: it was withdrawn, or its instance "
            "deregistered; register the service again"
        )
    detail = " ".join((error.details() or "").split())[:DETAIL_CHARS_MAX]
    return RegistryUnreachable(f"registry {address}: {error.code().name} {detail}")


async def _drained(
    outbox: asyncio.Queue[mesh_pb2.SubscribeRequest],
) -> AsyncIterator[mesh_pb2.SubscribeRequest]:
    while True:
        yield await outbox.get()

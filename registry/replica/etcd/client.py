"""etcd's API over gRPC: several endpoints, deadlines, sign-in, and its errors in Weft's words."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc

from weft.pb.vendor.etcd.v3 import rpc_pb2 as pb
from weft.pb.vendor.etcd.v3 import rpc_pb2_grpc as rpc

from ...errors import DiskFull, NotReady
from . import limits
from .address import EtcdAddress
from .errors import EtcdRefuses, EtcdUnreachable, HistoryCompacted, WentBack
from .order import History, went_back

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]

_OPTIONS = (
    ("grpc.max_receive_message_length", limits.ANSWER_BYTES_MAX),
    ("grpc.keepalive_time_ms", limits.KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", int(limits.CALL_TIMEOUT_S * 1000)),
    ("grpc.initial_reconnect_backoff_ms", int(limits.RETRY_MIN_S * 1000)),
    ("grpc.min_reconnect_backoff_ms", int(limits.CALL_TIMEOUT_S * 500)),  # also bounds one handshake
    ("grpc.max_reconnect_backoff_ms", int(limits.RETRY_MAX_S * 1000)),
)


class _Endpoint:
    """One way to etcd, with the stubs of its services; the generated types know synchronous calls only."""

    def __init__(self, name: str, channel: grpc.aio.Channel) -> None:
        self.name = name
        self.channel = channel
        self.kv: Any = rpc.KVStub(channel)
        self.lease: Any = rpc.LeaseStub(channel)
        self.watch: Any = rpc.WatchStub(channel)
        self.auth: Any = rpc.AuthStub(channel)
        self.maintenance: Any = rpc.MaintenanceStub(channel)


Ask = Callable[[_Endpoint, Metadata], Awaitable[T]]


class Etcd:
    """Asks one endpoint, and the next once that one does not answer.

    Every call raises EtcdUnreachable (its outcome is unknown), EtcdRefuses, DiskFull (etcd's quota is used
    up; a transaction may be carried out nevertheless), HistoryCompacted or WentBack.
    """

    def __init__(self, address: EtcdAddress, failed: Callable[[WentBack], None]) -> None:
        self._address = address
        self._failed = failed
        self._endpoints = [_Endpoint(name, _channel(address, name)) for name in address.endpoints]
        self._current = 0
        self._token = ""
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self.history = History()
        self.heard_at = self._loop.time()  # of the newest answer

    # Keys and values

    async def range(
        self, key: bytes, range_end: bytes = b"", *, limit: int = 0, revision: int = 0
    ) -> pb.RangeResponse:
        """A linearizable read; of the past where a revision is given."""
        request = pb.RangeRequest(key=key, range_end=range_end, limit=limit, revision=revision)
        found: pb.RangeResponse = await self._checked(lambda way, meta: way.kv.Range(request, **_how(meta)))
        return found

    async def txn(
        self,
        compares: Sequence[pb.Compare],
        success: Sequence[pb.RequestOp],
        failure: Sequence[pb.RequestOp] = (),
    ) -> pb.TxnResponse:
        """One attempt at one endpoint, for it may be carried out although no answer came."""
        request = pb.TxnRequest(compare=compares, success=success, failure=failure)
        found: pb.TxnResponse = await self._checked(
            lambda way, meta: way.kv.Txn(request, **_how(meta)), attempts=1
        )
        return found

    async def read(self, *ranges: pb.RequestOp) -> pb.TxnResponse:
        """Several reads of one moment."""
        request = pb.TxnRequest(success=ranges)
        found: pb.TxnResponse = await self._checked(lambda way, meta: way.kv.Txn(request, **_how(meta)))
        return found

    async def compact(self, revision: int) -> None:
        """Drops the history before a revision. That it has gone already is well."""
        request = pb.CompactionRequest(revision=revision)
        try:
            await self._call(lambda way, meta: way.kv.Compact(request, **_how(meta)))
        except HistoryCompacted:
            return

    # Leases

    async def grant(self, ttl_s: int) -> int:
        """A new lease's id."""
        request = pb.LeaseGrantRequest(TTL=ttl_s)
        found: pb.LeaseGrantResponse = await self._call(
            lambda way, meta: way.lease.LeaseGrant(request, **_how(meta))
        )
        return found.ID

    async def renew(self, lease: int) -> bool:
        """False when the lease is gone."""

        async def ask(way: _Endpoint, meta: Metadata) -> pb.LeaseKeepAliveResponse:
            call = way.lease.LeaseKeepAlive(iter([pb.LeaseKeepAliveRequest(ID=lease)]), **_how(meta))
            async for answer in call:
                call.cancel()
                return answer  # type: ignore[no-any-return]
            raise EtcdUnreachable("etcd ended the renewal of a lease without an answer")

        return (await self._call(ask)).TTL > 0

    async def revoke(self, lease: int) -> None:
        request = pb.LeaseRevokeRequest(ID=lease)
        await self._call(lambda way, meta: way.lease.LeaseRevoke(request, **_how(meta)), attempts=1)

    async def version(self) -> tuple[int, ...]:
        """Of the first endpoint that answers."""
        found: pb.StatusResponse = await self._call(
            lambda way, meta: way.maintenance.Status(pb.StatusRequest(), **_how(meta))
        )
        return tuple(int(part) for part in found.version.split(".")[:2] if part.isdigit())

    # Watching

    async def watch(
        self, ranges: Sequence[tuple[bytes, bytes]], from_revision: int
    ) -> AsyncIterator[Sequence[pb.Event]]:
        """What changes in the ranges (key, end) from a revision on, in order, without an end.

        The endpoint ends the stream when it loses touch with its leader. Raises as the others.
        """
        endpoint = self._current
        meta = (*await self._metadata(), ("hasleader", "true"))
        requests = [
            pb.WatchRequest(
                create_request=pb.WatchCreateRequest(
                    key=key, range_end=end, start_revision=from_revision, fragment=True
                )
            )
            for key, end in ranges
        ]
        call = self._endpoints[endpoint].watch.Watch(metadata=meta)
        try:
            with self._translated(endpoint):
                for request in requests:
                    await call.write(request)
                async for answer in _answers(call):
                    yield self._events(answer)
                raise EtcdUnreachable("etcd ended a watch")
        finally:
            call.cancel()

    def _events(self, answer: pb.WatchResponse) -> Sequence[pb.Event]:
        self.heard_at = self._loop.time()
        if answer.canceled and answer.compact_revision:
            raise HistoryCompacted(f"etcd's history before {answer.compact_revision} is compacted")
        if answer.canceled:
            if "permission" in answer.cancel_reason:
                raise EtcdRefuses(self._refusal(answer.cancel_reason))
            self._token = ""
            raise EtcdUnreachable(f"etcd cancelled a watch ({answer.cancel_reason or 'no reason given'})")
        return answer.events

    # Calls

    async def _checked(self, ask: Ask[Any], attempts: int = 0) -> Any:
        """A call whose answer proves that etcd went forward. Tells `failed` when it did not."""
        asked_at = self.history.revision
        try:
            answer = await self._call(ask, attempts)
            self.history.check(answer.header.cluster_id, answer.header.revision, asked_at)
        except WentBack as error:
            self._failed(error)
            raise
        return answer

    async def _call(self, ask: Ask[T], attempts: int = 0) -> T:
        """Asks `attempts` endpoints, 0 for each once; signs in anew where the token has expired."""
        left = attempts or len(self._endpoints)
        signed_in = False
        while True:
            endpoint = self._current
            try:
                return await self._ask(endpoint, ask)
            except _SignedOut as error:
                if signed_in or not self._address.user:
                    raise EtcdRefuses(self._refusal(str(error))) from None
                self._token, signed_in = "", True
            except EtcdUnreachable:
                left -= 1
                if not left:
                    raise

    async def _ask(self, endpoint: int, ask: Ask[T]) -> T:
        with self._translated(endpoint):
            if self._closed:
                raise NotReady("this server is shutting down; ask another or retry later")
            answer = await ask(self._endpoints[endpoint], await self._metadata())
        self.heard_at = self._loop.time()
        return answer

    async def _metadata(self) -> Metadata:
        if self._address.user and not self._token:
            with self._translated(self._current):
                request = pb.AuthenticateRequest(name=self._address.user, password=self._address.password)
                way = self._endpoints[self._current]
                self._token = (await way.auth.Authenticate(request, **_how(()))).token
        return (("token", self._token),) if self._token else ()

    @contextmanager
    def _translated(self, endpoint: int) -> Iterator[None]:
        try:
            yield
        except grpc.aio.UsageError:  # the channel was closed meanwhile
            raise NotReady("this server is shutting down; ask another or retry later") from None
        except grpc.aio.AioRpcError as error:
            translated = self._error(error, self._endpoints[endpoint].name)
            if isinstance(translated, EtcdUnreachable) and self._current == endpoint:
                self._current = (endpoint + 1) % len(self._endpoints)
            raise translated from None

    def _error(self, error: grpc.aio.AioRpcError, endpoint: str) -> Exception:
        code, said = error.code(), error.details() or ""
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "space exceeded" in said:
            return DiskFull(
                "etcd has used up its quota (NOSPACE): compact and defragment it, "
                "then run `etcdctl alarm disarm`"
            )
        if code is grpc.StatusCode.OUT_OF_RANGE:
            return went_back(said) if "future revision" in said else HistoryCompacted(said)
        if code is grpc.StatusCode.UNAUTHENTICATED or "auth store is old" in said:
            return _SignedOut(said)
        if code in _REFUSALS:
            return EtcdRefuses(self._refusal(said))
        return EtcdUnreachable(f"etcd does not answer at {endpoint} ({said or code.name}); retry later")

    def _refusal(self, said: str) -> str:
        who = f"user {self._address.user!r}" if self._address.user else "this server"
        return (
            f"etcd refuses {who} ({said}): it needs readwrite on the prefix {self._address.prefix}/ "
            "and the right password or certificate"
        )

    async def close(self) -> None:
        self._closed = True
        for endpoint in self._endpoints:
            await endpoint.channel.close(None)


_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # the types do not know it
_REFUSALS = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
)


class _SignedOut(Exception):
    """The token has expired, or there was none."""


def _how(metadata: Metadata) -> Any:
    return {"timeout": limits.CALL_TIMEOUT_S, "metadata": metadata}


async def _answers(call: Any) -> AsyncIterator[pb.WatchResponse]:
    while (answer := await call.read()) is not _EOF:
        yield answer
    if await call.code() is not grpc.StatusCode.OK:
        raise EtcdUnreachable(f"etcd ended a watch ({await call.details()})")


def _channel(address: EtcdAddress, endpoint: str) -> grpc.aio.Channel:
    tls = address.tls
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.roots or None, tls.key or None, tls.certificate or None)
    return grpc.aio.secure_channel(endpoint, credentials, options=_OPTIONS)


# Requests


def get(key: bytes, range_end: bytes = b"", limit: int = 0) -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=range_end, limit=limit))


def put(key: bytes, value: bytes, lease: int = 0) -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes, range_end: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=range_end))


def has_value(key: bytes, value: bytes) -> pb.Compare:
    return pb.Compare(key=key, target=pb.Compare.VALUE, result=pb.Compare.EQUAL, value=value)


def created_at(key: bytes, revision: int) -> pb.Compare:
    """The key is the one made at that revision; 0: there is none."""
    return pb.Compare(key=key, target=pb.Compare.CREATE, result=pb.Compare.EQUAL, create_revision=revision)

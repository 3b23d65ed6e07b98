"""weft.mesh.v1: certificates and configuration, for whoever holds an instance's credential."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from weft.aio import Tasks
from weft.credential import METADATA_KEY
from weft.pb.mesh.v1 import mesh_pb2 as pb
from weft.pb.mesh.v1 import mesh_pb2_grpc

from ..catalog import watches
from ..catalog.model import CredentialRecord
from ..catalog.state import State
from ..catalog.watches import WatchKey
from ..identity.credentials import REFUSED, authenticate, still_valid
from ..identity.errors import Unauthenticated
from ..identity.issuer import Issuer
from ..operator.forward import ToLeader
from ..operator.measuring import Measuring
from ..operator.proxies import Proxies, ProxyStatus
from ..operator.tapping import Tapping
from ..replica.port import Log
from .drains import Drains
from .observe import Observed, service_of
from .respond import abort
from .session import ProtocolViolation, Session, TooManyStreams

log = structlog.get_logger(__name__)

HELLO_TIMEOUT_S = 10.0  # between opening the stream and saying Hello
STREAMS_PER_INSTANCE_MAX = 4  # one in use, one that a dead connection left, and room
VERSION_CHARS_MAX = 64  # of what a sidecar says of itself
RECHECK_S = 600.0  # a parked stream looks again, should a wake-up ever be lost
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Compiler:
    """What one proxy must do, and what that depends on."""

    resources: Callable[[State, str], dict[str, pb.Resource]]
    depends: Callable[[State, str], frozenset[WatchKey]]


class Mesh(mesh_pb2_grpc.MeshServicer):
    """Every call proves its credential; nothing in a message can name another instance."""

    def __init__(
        self,
        replica: Log,
        issuer: Issuer,
        compiler: Compiler,
        measuring: Measuring,
        drains: Drains,
        tapping: Tapping,
        proxies: Proxies,
        to_leader: ToLeader | None = None,
    ) -> None:
        self._measuring = measuring
        self._log = replica
        self._to_leader = to_leader
        self._issuer = issuer
        self._compiler = compiler
        self._drains = drains
        self._tapping = tapping
        self._proxies = proxies
        self._streams: Counter[tuple[str, str]] = Counter()
        self._tasks = Tasks()
        self.compilations = 0

    async def close(self) -> None:
        await self._drains.close()
        await self._tasks.close()

    async def SignCertificate(
        self, request: pb.SignCertificateRequest, context: Context
    ) -> pb.SignCertificateResponse:
        try:
            record = await self._authenticate(context)
            if self._to_leader and self._to_leader.is_elsewhere:
                return await self._to_leader.sign(request, _proof(context))
            leaf = await self._issuer.sign(record, request.csr_der)
        except grpc.aio.AioRpcError as refusal:
            await context.abort(refusal.code(), refusal.details() or "")
        except Exception as error:
            await abort(context, error)
        return pb.SignCertificateResponse(
            chain_der=leaf.chain_der,
            spiffe_id=leaf.identity.uri,
            not_before_unix_s=int(leaf.issued.not_before.timestamp()),
            not_after_unix_s=int(leaf.issued.not_after.timestamp()),
        )

    async def Subscribe(self, request_iterator: object, context: Context) -> None:  # type: ignore[override]
        try:
            record = await self._authenticate(context)
            hello = await _hello(context)
            key, service = record.instance_key, service_of(self._log.view(), record.instance_key)
            with (
                self._counted("subscriptions", record),
                self._proxies.subscribed(key, service, hello.sidecar_version[:VERSION_CHARS_MAX]) as status,
            ):
                stream = _Stream(self, record, Session(hello.versions), context, status)
                try:
                    await stream.run()
                finally:
                    await stream.close()
        except Exception as error:
            await abort(context, error)

    async def Observe(self, request_iterator: object, context: Context) -> None:  # type: ignore[override]
        try:
            record = await self._authenticate(context)
            with self._counted("observations", record):
                take = self._measuring.take
                await Observed(self._log, self._tasks, record, context, take, self._tapping).run()
        except Exception as error:
            await abort(context, error)

    async def _authenticate(self, context: Context) -> CredentialRecord:
        """Raises Unauthenticated only after a look at all that was ever written: a credential that another
        server has just minted must not be refused here, since a sidecar then gives up."""
        proof = next((value for _, value in _proof(context)), None)
        try:
            return authenticate(self._log.view(), proof)
        except Unauthenticated:
            await self._log.read_index()
            return authenticate(self._log.view(), proof)

    @contextmanager
    def _counted(self, kind: str, record: CredentialRecord) -> Iterator[None]:
        """While a stream of this kind lasts. Raises TooManyStreams."""
        key = kind, record.instance_key
        if self._streams[key] >= STREAMS_PER_INSTANCE_MAX:
            raise TooManyStreams(f"more than {STREAMS_PER_INSTANCE_MAX} {kind} of one instance")
        self._streams[key] += 1
        try:
            yield
        finally:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]

    def compiled(self, state: State, key: str) -> dict[str, pb.Resource]:
        self.compilations += 1
        return self._compiler.resources(state, key)

    def depends(self, state: State, key: str) -> frozenset[WatchKey]:
        return self._compiler.depends(state, key)

    def opened(self, key: str, open_: pb.Open) -> None:
        """A sidecar says what it still carries."""
        self._drains.told(key, open_)

    @property
    def replica(self) -> Log:
        return self._log

    @property
    def tasks(self) -> Tasks:
        return self._tasks


def _proof(context: Context) -> list[tuple[str, str]]:
    """The credential among the metadata of a call."""
    found = context.invocation_metadata() or ()
    return [(key, value) for key, value in found if key == METADATA_KEY and isinstance(value, str)]


class _Stream:
    """One subscription under way: an open read, a wait for change, and what follows from either."""

    def __init__(
        self, mesh: Mesh, record: CredentialRecord, session: Session, context: Context, status: ProxyStatus
    ) -> None:
        self._status = status
        self._mesh = mesh
        self._record = record
        self._key = record.instance_key
        self._session = session
        self._context = context
        self._identity_keys = frozenset((watches.credential(self._key), watches.instance(self._key)))
        self._keys: frozenset[WatchKey] = frozenset()
        self._resources: dict[str, pb.Resource] = {}
        self._compiled_at = -1
        self._reading = self._read()
        self._waiting: asyncio.Task[None] | None = None

    def _read(self) -> asyncio.Task[Any]:
        return self._mesh.tasks.spawn(_receive(self._context), f"subscription {self._key}")

    async def close(self) -> None:
        for task in (self._reading, self._waiting):
            if task is not None:
                task.cancel()

    async def run(self) -> None:
        """Until the sidecar hangs up. Raises Unauthenticated when the credential is withdrawn."""
        while True:
            state = self._mesh.replica.view()
            if not still_valid(state, self._record):
                raise Unauthenticated(REFUSED)
            await self._send(state)
            # Without an Ack nothing can be sent, but a withdrawn credential ends the stream even then.
            keys = self._identity_keys if self._session.waiting else self._identity_keys | self._keys
            if not await self._next_event(keys, state.index):
                return

    async def _send(self, state: State) -> None:
        if self._session.waiting:
            return
        self._compile(state)
        delta = self._session.next(self._resources, state.index)
        if delta is not None:
            self._status.sent(state.index)
            await self._context.write(delta)
        elif self._status.refused and self._session.holds(self._resources):
            self._status.answered("")  # what it refused is not wanted of it any more

    def _compile(self, state: State) -> None:
        """Only when something that the last result depends on has moved."""
        if self._compiled_at >= 0 and all(state.index_of(key) <= self._compiled_at for key in self._keys):
            return
        self._keys = self._mesh.depends(state, self._key)
        self._resources = self._mesh.compiled(state, self._key)
        self._compiled_at = state.index

    async def _next_event(self, keys: frozenset[WatchKey], index: int) -> bool:
        """Waits for an Ack or a change; False when the sidecar has hung up."""
        wait = self._mesh.replica.wait(keys, index, RECHECK_S)
        self._waiting = self._mesh.tasks.spawn(wait, f"watch {self._key}")
        await asyncio.wait((self._reading, self._waiting), return_when=asyncio.FIRST_COMPLETED)
        if not self._reading.done():
            self._waiting.result()  # raises NotReady when the log has closed
            return True
        self._waiting.cancel()
        request = self._reading.result()
        if request is None:
            return False
        if request.WhichOneof("kind") == "open":
            self._mesh.opened(self._key, request.open)
        else:
            self._acked(request)
        self._reading = self._read()
        return True

    def _acked(self, request: pb.SubscribeRequest) -> None:
        if request.WhichOneof("kind") != "ack":
            raise ProtocolViolation("after Hello, a sidecar sends Ack and Open only")
        reason = self._session.acked(request.ack)
        self._status.answered(reason)
        if reason:
            log.warning("configuration refused", instance=self._key, reason=reason)


async def _receive(context: Context) -> pb.SubscribeRequest | None:
    """The next request; None at the end of the stream."""
    message = await context.read()
    return message if isinstance(message, pb.SubscribeRequest) else None


async def _hello(context: Context) -> pb.Hello:
    """Raises ProtocolViolation."""
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            first = await _receive(context)
    except TimeoutError:
        raise ProtocolViolation(f"no Hello within {HELLO_TIMEOUT_S:g} s") from None
    if first is None or first.WhichOneof("kind") != "hello":
        raise ProtocolViolation("the first message of a subscription is Hello")
    return first.hello

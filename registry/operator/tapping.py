"""Live requests, from the sidecars that see them to who asked: here, and on whichever server it was asked.

Everything is bounded. Who reads slowly loses requests, and is told how many; nobody waits for a reader.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import grpc
import orjson
import structlog

from weft.aio import Tasks
from weft.errors import Unavailable, UsageError, WeftError
from weft.pb.mesh.v1.observe_pb2 import EndTap, ObservationRequest, Tap, Tapped
from weft.pb.server.v1.server_pb2 import TapRequest, TapResponse
from weft.tap_query import parse_tap

from ..identity.server_proof import ServerProof
from .forward import ToLeader

log = structlog.get_logger(__name__)

READERS_MAX = 32  # taps of one server; each is a message to every sidecar of its service
QUEUE_MAX = 1000  # requests that wait for one reader: 1 MiB or so
NOTES_MAX = 16
BATCH_MAX = 100  # requests of one message between servers
REQUESTS_PER_MESSAGE_MAX = 100
REQUEST_BYTES_MAX = 64 * 1024  # 64 headers of a KiB; a sidecar sends half a KiB


class TooManyTaps(Unavailable):
    """Expected. This server carries as many taps as it will."""


class InvalidTapped(UsageError):
    """Expected. A message about tapped requests holds what a sidecar never sends."""


class Line(Protocol):
    """The stream of one sidecar."""

    service: str
    instance_key: str

    def ask(self, request: ObservationRequest) -> None:
        """Never waits. What the stream does not take in time is left out."""


@dataclass(slots=True)
class Batch:
    """What a reader gets at once."""

    requests: list[bytes] = field(default_factory=list)  # JSON objects
    lost: int = 0
    notes: list[str] = field(default_factory=list)
    sidecars: int = 0  # that are asked now, as far as is known


@dataclass(eq=False)
class Reader:
    """One tap of a service on this server, and what waits for who reads it."""

    number: int
    service: str
    query: str
    asked: set[str] = field(default_factory=set)  # instance keys
    elsewhere: dict[str, int] = field(default_factory=dict)  # address of a server -> sidecars there
    _queue: "asyncio.Queue[bytes]" = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))
    _lost: int = 0
    _notes: list[str] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, requests: Iterable[bytes], lost: int) -> None:
        self._lost += lost
        for request in requests:
            if self._queue.full():
                self._lost += 1
            else:
                self._queue.put_nowait(request)
        self._news.set()

    def note(self, text: str) -> None:
        if text not in self._notes and len(self._notes) < NOTES_MAX:
            self._notes.append(text)
        self._news.set()

    async def next(self, wait_s: float) -> Batch:
        """What there is, after `wait_s` at the latest: then it may be nothing."""
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            pass
        found = [self._queue.get_nowait() for _ in range(min(BATCH_MAX, self._queue.qsize()))]
        if self._queue.empty():
            self._news.clear()
        lost, self._lost = self._lost, 0
        notes, self._notes = self._notes, []
        return Batch(found, lost, notes, len(self.asked) + sum(self.elsewhere.values()))


class Tapping:
    """The taps of this server. `addresses` are those of the gRPC listeners of the other servers."""

    def __init__(
        self,
        to_leader: ToLeader | None,
        proof: ServerProof,
        addresses: Callable[[], Iterable[str]],
    ) -> None:
        self._to_leader = to_leader
        self._proof = proof
        self._addresses = addresses
        self._lines: set[Line] = set()
        self._readers: dict[int, Reader] = {}
        self._count = 0

    # --- sidecars ---

    @contextmanager
    def connected(self, line: Line) -> Iterator[None]:
        """A sidecar, for as long as its stream lasts: it is asked what is asked already."""
        self._lines.add(line)
        try:
            for reader in self._readers.values():
                self._ask(line, reader)
            yield
        finally:
            self._lines.discard(line)
            for reader in self._readers.values():
                reader.asked.discard(line.instance_key)

    def take(self, line: Line, message: Tapped) -> None:
        """Raises InvalidTapped."""
        if len(message.requests) > REQUESTS_PER_MESSAGE_MAX:
            raise InvalidTapped(f"more than {REQUESTS_PER_MESSAGE_MAX} tapped requests in one message")
        requests = [_signed(line, it) for it in message.requests]
        reader = self._readers.get(message.id)
        if reader is None or reader.service != line.service:
            return  # it has ended; or the sidecar speaks of what it was not asked
        reader.take(requests, min(message.lost, 2**31))
        if message.error:
            reader.note(f"{line.instance_key}: {message.error[:200]}")

    def _ask(self, line: Line, reader: Reader) -> None:
        if line.service == reader.service:
            reader.asked.add(line.instance_key)
            line.ask(ObservationRequest(tap=Tap(id=reader.number, query=reader.query)))

    # --- readers ---

    def check(self) -> None:
        """Raises TooManyTaps."""
        if len(self._readers) >= READERS_MAX:
            raise TooManyTaps(f"{READERS_MAX} taps are open on this server already; end one")

    @contextmanager
    def here(self, service: str, query: str) -> Iterator[Reader]:
        """A tap of the sidecars that this server holds the streams of. Raises TooManyTaps,
        InvalidTapQuery."""
        parse_tap(query)
        self.check()
        self._count += 1
        reader = self._readers[self._count] = Reader(self._count, service, query)
        try:
            for line in self._lines:
                self._ask(line, reader)
            yield reader
        finally:
            del self._readers[reader.number]
            for line in self._lines:
                if line.service == service:
                    line.ask(ObservationRequest(end_tap=EndTap(id=reader.number)))

    def follow(self, reader: Reader, tasks: Tasks) -> None:
        """Also what the sidecars of other servers see, for as long as `tasks` run."""
        if self._to_leader is not None:
            for address in self._addresses():
                tasks.spawn(self._follow(self._to_leader, address, reader), f"tap at {address}")

    async def _follow(self, servers: ToLeader, address: str, reader: Reader) -> None:
        request = TapRequest(service=reader.service, query=reader.query)
        try:
            async for said in servers.tap(address, request, (self._proof.metadata(),)):
                reader.elsewhere[address] = said.sidecars
                reader.take(said.requests, said.lost)
                for note in said.notes:
                    reader.note(note)
        except grpc.aio.AioRpcError as error:
            reader.note(f"the sidecars of {address} are missing: {error.code().name} {error.details()}")
        except WeftError as error:
            reader.note(f"the sidecars of {address} are missing: {error}")
        finally:
            reader.elsewhere.pop(address, None)


def response(batch: Batch) -> TapResponse:
    return TapResponse(requests=batch.requests, lost=batch.lost, notes=batch.notes, sidecars=batch.sidecars)


def _signed(line: Line, request: bytes) -> bytes:
    """With who tells it, as its credential says. Raises InvalidTapped."""
    try:
        told = orjson.loads(request) if len(request) <= REQUEST_BYTES_MAX else None
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        raise InvalidTapped("a tapped request is not a JSON object, or too long")
    return orjson.dumps({**told, "sidecar": line.instance_key})

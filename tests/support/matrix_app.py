"""A gRPC application for the matrix: does what the caller's metadata asks, and keeps a record.

Every method takes and gives raw bytes. The metadata key `do` holds a `Wish` as JSON; every key that
begins with `initial-` or `trailing-` is sent back in that block without its prefix.
"""

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc

from examples.serving import serve

SERVICE = "matrix.v1.Matrix"
METADATA_BYTES_MAX = 1 << 20  # gRPC's own default is 8 KiB; then it refuses at random up to 16 KiB
UNLIMITED = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
)
Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True)
class Wish:
    """What the application should do in this call."""

    id: str = ""  # under which `Seen` tells about the call
    messages: int = 1  # of a server stream
    size: int = -1  # of each message; -1: as the request
    code: int = 0  # a status other than OK, after the messages
    details: str = ""
    hang: bool = False  # never end by itself
    deaf: bool = False  # do not read the requests of a client stream
    gate: int = 0  # wait until so many calls are waiting here
    whoami: bool = False  # say in the initial metadata `instance` who answers

    def as_metadata(self) -> tuple[str, str]:
        return ("do", json.dumps(dataclasses.asdict(self)))


@dataclass
class Record:
    """What became of one call."""

    state: str = "running"  # then "done" or "cancelled"
    sent: int = 0
    received: int = 0
    remaining_s: float | None = None  # of the deadline, at the start
    metadata: list[list[str]] = dataclasses.field(default_factory=list)  # binary values in base64


class Gate:
    """Opens for all who wait when enough have come."""

    def __init__(self) -> None:
        self._waiting = 0
        self._open = asyncio.Event()

    async def passing(self, needed: int) -> None:
        self._waiting += 1
        if self._waiting >= needed:
            self._open.set()
        await self._open.wait()


class Matrix(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    def __init__(self, name: str) -> None:
        self._name = name
        self._mood = "good"
        self._connections: set[str] = set()
        self._records: dict[str, Record] = {}
        self._gates: dict[str, Gate] = defaultdict(Gate)
        self._methods = {
            f"/{SERVICE}/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            f"/{SERVICE}/ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            f"/{SERVICE}/ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            f"/{SERVICE}/Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            f"/{SERVICE}/Seen": grpc.unary_unary_rpc_method_handler(self.seen),
            f"/{SERVICE}/Name": grpc.unary_unary_rpc_method_handler(self.name),
            f"/{SERVICE}/Connections": grpc.unary_unary_rpc_method_handler(self.connections),
            f"/{SERVICE}/Mood": grpc.unary_unary_rpc_method_handler(self.mood),
        }

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(details.method)

    async def seen(self, request: bytes, context: Context) -> bytes:
        record = self._records.get(request.decode())
        return json.dumps(dataclasses.asdict(record) if record else None).encode()

    async def mood(self, request: bytes, context: Context) -> bytes:
        """After "bad", `Name` answers UNAVAILABLE until "good"."""
        self._mood = request.decode()
        return b""

    async def connections(self, request: bytes, context: Context) -> bytes:
        """Over how many connections `Name` was called."""
        return str(len(self._connections)).encode()

    async def name(self, request: bytes, context: Context) -> bytes:
        self._connections.add(context.peer())
        if self._mood == "bad":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "in a bad mood")
        return self._name.encode()

    async def unary(self, request: bytes, context: Context) -> bytes:
        async with self._call(context) as (wish, record):
            record.received += 1
            await self._end(wish, context)
            record.sent += 1
            return _reply(wish, request)
        raise AssertionError("unreachable")

    async def server_stream(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        async with self._call(context) as (wish, record):
            record.received += 1
            for _ in range(wish.messages):
                yield _reply(wish, request)
                record.sent += 1
            await self._end(wish, context)

    async def client_stream(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        async with self._call(context) as (wish, record):
            if wish.deaf:
                await self._end(wish, context)
            digest = hashlib.sha256()
            async for request in requests:
                record.received += 1
                digest.update(request)
            await self._end(wish, context)
            record.sent += 1
            return f"{record.received} {digest.hexdigest()}".encode()
        raise AssertionError("unreachable")

    async def bidi(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async with self._call(context) as (wish, record):
            async for request in requests:
                record.received += 1
                yield _reply(wish, request)
                record.sent += 1
            await self._end(wish, context)

    @contextlib.asynccontextmanager
    async def _call(self, context: Context) -> AsyncIterator[tuple[Wish, Record]]:
        metadata = list(context.invocation_metadata() or ())
        wish = Wish(**json.loads(str(dict(metadata).get("do", "{}"))))
        record = Record(
            remaining_s=context.time_remaining(),
            metadata=[[key, _text(value)] for key, value in metadata],
        )
        if wish.id:
            self._records[wish.id] = record
        context.set_trailing_metadata(_echoed("trailing-", metadata))
        initial = _echoed("initial-", metadata) + ((("instance", self._name),) if wish.whoami else ())
        if initial:
            await context.send_initial_metadata(initial)
        try:
            if wish.gate:
                await self._gates[wish.id].passing(wish.gate)
            yield wish, record
            record.state = "done"
        except (asyncio.CancelledError, GeneratorExit):
            record.state = "cancelled"
            raise

    async def _end(self, wish: Wish, context: Context) -> None:
        if wish.hang:
            await asyncio.Event().wait()
        if wish.code:
            code = next(code for code in grpc.StatusCode if code.value[0] == wish.code)
            await context.abort(code, wish.details, context.trailing_metadata())


def _reply(wish: Wish, request: bytes) -> bytes:
    return request if wish.size < 0 else bytes(wish.size)


def _echoed(prefix: str, metadata: list[tuple[str, str | bytes]]) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key[len(prefix) :], value) for key, value in metadata if key.startswith(prefix))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else base64.b64encode(value).decode()


async def run(listen: str, name: str, connection_age_ms: int) -> None:
    matrix = Matrix(name)
    rolling = (("grpc.max_connection_age_ms", connection_age_ms),) if connection_age_ms else ()
    await serve(
        listen,
        lambda server: server.add_generic_rpc_handlers((matrix,)),
        options=(*UNLIMITED, *rolling),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True)
    parser.add_argument("--name", default="matrix")
    parser.add_argument("--connection-age-ms", type=int, default=0, help="then GOAWAY; 0: never")
    options = parser.parse_args()
    asyncio.run(run(options.listen, options.name, options.connection_age_ms))

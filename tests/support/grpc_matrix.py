"""What a gRPC client sees of `matrix_app`, written once and run directly and through a mesh.

Each scenario is an async function of the target address. None knows which way it goes.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.grpc_eof import EOF
from tests.support.matrix_app import SERVICE, UNLIMITED, Wish
from tests.support.waiting import settles, until

Scenario = Callable[[str], Awaitable[None]]
Metadata = Sequence[tuple[str, str | bytes]]

KIND_NAMES = ("unary", "server_stream", "client_stream", "bidi")
CALL_TIMEOUT_S = 30.0
MIB = 1 << 20
FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]

ASCII = (("initial-x-word", "a b;c=d, e"), ("trailing-x-end", "~!@#$%^&*()"))
BINARY = (
    ("initial-x-raw-bin", bytes(range(256))),
    ("trailing-x-raw-bin", b"\x00\xff" * 33),
    ("trailing-x-none-bin", b""),
)
TWICE = (
    ("initial-x-many", "one"),
    ("initial-x-many", "two"),
    ("trailing-x-many", "1"),
    ("trailing-x-many", "2"),
)


@contextlib.asynccontextmanager
async def connect(target: str, *options: tuple[str, Any]) -> AsyncIterator["Client"]:
    """A channel of its own to `target`."""
    alone = ("grpc.use_local_subchannel_pool", 1)
    async with grpc.aio.insecure_channel(target, options=[alone, *UNLIMITED, *options]) as channel:
        yield Client(channel)


class Client:
    def __init__(self, channel: Any) -> None:
        self.channel = channel  # untyped: its stubs know no call without serializers or requests
        self.unary = self.channel.unary_unary(f"/{SERVICE}/Unary")
        self.server_stream = self.channel.unary_stream(f"/{SERVICE}/ServerStream")
        self.client_stream = self.channel.stream_unary(f"/{SERVICE}/ClientStream")
        self.bidi = self.channel.stream_stream(f"/{SERVICE}/Bidi")
        self._seen = self.channel.unary_unary(f"/{SERVICE}/Seen")
        self._name = self.channel.unary_unary(f"/{SERVICE}/Name")

    def start(self, kind: str, messages: Sequence[bytes], **options: Any) -> Any:
        """Begins a call of `kind` that sends `messages`."""
        method = getattr(self, kind)
        options.setdefault("timeout", CALL_TIMEOUT_S)
        if kind in ("unary", "server_stream"):
            return method(messages[0], **options)
        return method(_each(messages), **options)

    async def replies(self, kind: str, call: Any) -> list[bytes]:
        """All that the call answers; raises its AioRpcError."""
        if kind in ("unary", "client_stream"):
            return [await call]
        return [reply async for reply in call]

    async def seen(self, call_id: str) -> dict[str, Any] | None:
        """What the application knows of the call."""
        found: dict[str, Any] | None = json.loads(await self._seen(call_id.encode(), timeout=CALL_TIMEOUT_S))
        return found

    async def name(self) -> str:
        """Which instance answers."""
        answer: bytes = await self._name(b"", timeout=CALL_TIMEOUT_S)
        return answer.decode()

    async def ended_as(self, call_id: str, state: str) -> dict[str, Any]:
        """The application's record of the call once it says `state`."""

        async def record() -> dict[str, Any] | None:
            found = await self.seen(call_id)
            return found if found and found["state"] == state else None

        found: dict[str, Any] = await until(record, f"the application sees the call {state}")
        return found


async def _each(messages: Sequence[bytes]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


def new_id() -> str:
    return uuid.uuid4().hex


def pairs(metadata: Any) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in metadata or ()]


def expected(prefix: str, sent: Metadata) -> list[tuple[str, str | bytes]]:
    return [(key[len(prefix) :], value) for key, value in sent if key.startswith(prefix)]


def by_name(metadata: list[tuple[str, str | bytes]]) -> list[tuple[str, str | bytes]]:
    """Order matters among fields of one name only (RFC 9113 8.2.3, RFC 9110 5.3)."""
    return sorted(metadata, key=lambda field: field[0])


async def failure(client: Client, kind: str, call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.replies(kind, call)
    return caught.value


def answer_of(kind: str, messages: Sequence[bytes], count: int) -> list[bytes]:
    if kind == "client_stream":
        digest = hashlib.sha256(b"".join(messages)).hexdigest()
        return [f"{len(messages)} {digest}".encode()]
    return list(messages) * count if kind == "server_stream" else list(messages)


def each_kind(scenario: Callable[[Client, str], Awaitable[None]]) -> dict[str, Scenario]:
    """The scenario once for every kind of call."""

    def of(kind: str) -> Scenario:
        async def run(target: str) -> None:
            async with connect(target) as client:
                await scenario(client, kind)

        return run

    name = scenario.__name__
    return {f"{name}[{kind}]": of(kind) for kind in KIND_NAMES}


# --- the scenarios, for each kind ---------------------------------------------------------------


async def ends_well_with_metadata(client: Client, kind: str) -> None:
    messages = [b"first", b"", b"x" * 70_000] if kind in ("client_stream", "bidi") else [b"only"]
    sent = (*ASCII, *BINARY, *TWICE)
    call = client.start(kind, messages, metadata=(Wish(messages=3).as_metadata(), *sent))
    assert await client.replies(kind, call) == answer_of(kind, messages, 3)
    assert await call.code() is grpc.StatusCode.OK
    assert by_name(pairs(await call.initial_metadata())) == by_name(expected("initial-", sent))
    assert by_name(pairs(await call.trailing_metadata())) == by_name(expected("trailing-", sent))


async def reaches_the_app_with_its_metadata(client: Client, kind: str) -> None:
    call_id = new_id()
    sent = (
        ("x-word", "väl".encode("ascii", "replace").decode()),
        ("x-raw-bin", b"\x00\x01\xfe"),
        ("x-many", "1"),
        ("x-many", "2"),
    )
    call = client.start(kind, [b"m"], metadata=(Wish(id=call_id).as_metadata(), *sent))
    await client.replies(kind, call)
    record = await client.ended_as(call_id, "done")
    got = [(key, value) for key, value in record["metadata"] if key in dict(sent)]
    assert by_name(got) == by_name(
        [("x-word", "v?l"), ("x-raw-bin", "AAH+"), ("x-many", "1"), ("x-many", "2")]
    )


async def fails_with_every_status(client: Client, kind: str) -> None:
    trailing = (("trailing-x-why", "because"), ("trailing-x-why-bin", b"\x80\x00"))
    for code in FAILURES:
        details = f"100% of {code.name}: ünï ✓\n done"
        wish = Wish(code=code.value[0], details=details, messages=0)
        call = client.start(kind, [b"m"], metadata=(wish.as_metadata(), *trailing))
        error = await failure(client, kind, call)
        assert (error.code(), error.details()) == (code, details)
        assert by_name(pairs(error.trailing_metadata())) == by_name(expected("trailing-", trailing))


async def fails_after_initial_metadata(client: Client, kind: str) -> None:
    sent = (*ASCII, *BINARY)
    wish = Wish(code=9, details="too late", messages=2)
    call = client.start(kind, [b"m"], metadata=(wish.as_metadata(), *sent))
    error = await failure(client, kind, call)
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "too late")
    assert by_name(pairs(error.initial_metadata())) == by_name(expected("initial-", sent))
    assert by_name(pairs(error.trailing_metadata())) == by_name(expected("trailing-", sent))


async def is_cancelled_by_the_client(client: Client, kind: str) -> None:
    call_id = new_id()
    call = client.start(kind, [b"m"], metadata=(Wish(id=call_id, hang=True).as_metadata(),))
    await until(lambda: client.seen(call_id), "the call reaches the application")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.replies(kind, call)
    assert call.cancelled()
    await client.ended_as(call_id, "cancelled")


async def runs_out_of_time(client: Client, kind: str) -> None:
    call_id = new_id()
    wish = Wish(id=call_id, hang=True)
    call = client.start(kind, [b"m"], metadata=(wish.as_metadata(),), timeout=0.4)
    error = await failure(client, kind, call)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    record = await client.ended_as(call_id, "cancelled")
    assert 0 < record["remaining_s"] < 0.41  # gRPC rounds what it sends up to a few milliseconds


async def carries_16_mib(client: Client, kind: str) -> None:
    message = os.urandom(MIB) * 16
    call = client.start(kind, [message], metadata=(Wish().as_metadata(),))
    assert await client.replies(kind, call) == answer_of(kind, [message], 1)


async def is_compressed(client: Client, kind: str) -> None:
    messages = [b"z" * 100_000]
    call = client.start(kind, messages, metadata=(Wish().as_metadata(),), compression=grpc.Compression.Gzip)
    assert await client.replies(kind, call) == answer_of(kind, messages, 1)


# --- the scenarios of one kind ------------------------------------------------------------------


async def streams_of_no_messages(target: str) -> None:
    async with connect(target) as client:
        none = client.start("server_stream", [b"m"], metadata=(Wish(messages=0).as_metadata(),))
        assert await client.replies("server_stream", none) == []
        empty = client.start("client_stream", [])
        assert await client.replies("client_stream", empty) == answer_of("client_stream", [], 0)
        silent = client.start("bidi", [])
        assert await client.replies("bidi", silent) == []


async def is_cancelled_when_the_client_vanishes(target: str) -> None:
    wish = Wish(id=new_id(), hang=True)
    async with connect(target) as watcher:
        async with connect(target) as client:
            call = client.start("server_stream", [b"m"], metadata=(wish.as_metadata(),))
            await until(lambda: watcher.seen(wish.id), "the call reaches the application")
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await client.replies("server_stream", call)
        await watcher.ended_as(wish.id, "cancelled")


async def takes_turns_in_a_bidi_stream(target: str) -> None:
    """Each message arrives before the next is sent: nothing on the way waits for more."""
    async with connect(target) as client:
        call = client.bidi(timeout=CALL_TIMEOUT_S)
        for turn in range(50):
            message = b"%d" % turn
            await call.write(message)
            assert await call.read() == message
        await call.done_writing()
        assert await call.read() is EOF
        assert await call.code() is grpc.StatusCode.OK


async def answers_trailers_only(target: str) -> None:
    """A refusal before anything was sent has no initial metadata, and says so at once."""
    async with connect(target) as client:
        wish = Wish(code=7, details="no", messages=0)
        error = await failure(client, "unary", client.start("unary", [b"m"], metadata=(wish.as_metadata(),)))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert pairs(error.initial_metadata()) == []


async def has_no_such_method(target: str) -> None:
    async with connect(target) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.channel.unary_unary("/no.such.Service/Method")(b"", timeout=CALL_TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def is_refused_while_it_still_sends(target: str) -> None:
    """The status of a call that ends early arrives although the client has more to send.

    With the blocking client: grpc.aio reports its own failed write (INTERNAL) in place of the status.
    """
    wish = Wish(code=8, details="enough", deaf=True)

    def call() -> tuple[grpc.StatusCode, str | None]:
        with grpc.insecure_channel(target, options=UNLIMITED) as channel:
            method = channel.stream_unary(f"/{SERVICE}/ClientStream", None, None)
            with pytest.raises(grpc.RpcError) as caught:
                method(
                    (bytes(MIB) for _ in range(64)), metadata=(wish.as_metadata(),), timeout=CALL_TIMEOUT_S
                )
            return caught.value.code(), caught.value.details()

    for _ in range(5):  # what the client has in flight when the status comes varies
        assert await asyncio.to_thread(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")


async def carries_16_mib_both_ways_at_once(target: str) -> None:
    message = os.urandom(MIB) * 16
    async with connect(target) as client:
        one, two = (client.start("bidi", [message]) for _ in range(2))
        answers = await asyncio.gather(client.replies("bidi", one), client.replies("bidi", two))
        assert answers == [[message], [message]]


async def carries_large_metadata(target: str) -> None:
    value = "v" * 6000  # below gRPC's own default limit of 8 KiB
    async with connect(target) as client:
        call = client.start("unary", [b"m"], metadata=(("initial-x-large", value),))
        assert await client.replies("unary", call) == [b"m"]
        assert pairs(await call.initial_metadata()) == [("x-large", value)]


async def carries_metadata_of_many_frames(target: str) -> None:
    """40 KiB each way need CONTINUATION frames (RFC 9113, 6.10): a frame holds 16 KiB."""
    value = "v" * (40 << 10)
    async with connect(target) as client:
        metadata = (("initial-x-large", value), ("trailing-x-large", value[1:]))
        call = client.start("unary", [b"m"], metadata=metadata[:1])
        assert await client.replies("unary", call) == [b"m"]
        assert pairs(await call.initial_metadata()) == [("x-large", value)]
        call = client.start("unary", [b"m"], metadata=metadata[1:])
        assert await client.replies("unary", call) == [b"m"]
        assert pairs(await call.trailing_metadata()) == [("x-large", value[1:])]


async def tells_its_health(target: str) -> None:
    async with connect(target) as client:
        stub = health_pb2_grpc.HealthStub(client.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=CALL_TIMEOUT_S)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


async def a_thousand_streams_at_once(target: str) -> None:
    """All are open at the same time: the application lets none go before the last has come."""
    wish = Wish(id=new_id(), gate=1000)
    async with connect(target) as client:

        async def one(number: int) -> None:
            message = b"%d" % number
            call = client.start("bidi", [message], metadata=(wish.as_metadata(),))
            assert await client.replies("bidi", call) == [message]

        await asyncio.gather(*(one(number) for number in range(1000)))


async def slow_reader(target: str, at_rest: Callable[[], None] = lambda: None) -> None:
    """A client that does not read stops the application, far from the 96 MiB it wants to send.

    Another call on the same connection is not held up. `at_rest` runs while all stands still.
    """
    wish = Wish(id=new_id(), messages=1536, size=MIB // 16)
    async with connect(target) as client:
        call = client.start("server_stream", [b"m"], metadata=(wish.as_metadata(),), timeout=120)
        replies = aiter(call)
        await anext(replies)

        async def sent() -> int:
            record = await client.seen(wish.id)
            return int(record["sent"]) if record else 0

        stopped_at = await settles(sent, "the application's sending")
        assert stopped_at < wish.messages // 2, "nobody held the sender back"
        at_rest()
        other = client.start("unary", [b"other"])
        assert await client.replies("unary", other) == [b"other"]
        assert sum([1 async for _ in replies]) == wish.messages - 1
        assert await call.code() is grpc.StatusCode.OK


async def slow_application(target: str, at_rest: Callable[[], None] = lambda: None) -> None:
    """An application that does not read stops the client."""
    wish = Wish(id=new_id(), deaf=True, hang=True)
    async with connect(target) as client:
        written = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal written
            for _ in range(1536):
                yield bytes(MIB // 16)
                written += 1

        call = client.client_stream(endless(), metadata=(wish.as_metadata(),), timeout=120)

        async def count() -> int:
            return written

        await until(lambda: client.seen(wish.id), "the call reaches the application")
        assert await settles(count, "the client's sending") < 768, "nobody held the client back"
        at_rest()
        call.cancel()
        await client.ended_as(wish.id, "cancelled")


SCENARIOS: dict[str, Scenario] = {
    **each_kind(ends_well_with_metadata),
    **each_kind(reaches_the_app_with_its_metadata),
    **each_kind(fails_with_every_status),
    **each_kind(fails_after_initial_metadata),
    **each_kind(is_cancelled_by_the_client),
    **each_kind(runs_out_of_time),
    **each_kind(carries_16_mib),
    **each_kind(is_compressed),
    **{
        scenario.__name__: scenario
        for scenario in (
            streams_of_no_messages,
            is_cancelled_when_the_client_vanishes,
            takes_turns_in_a_bidi_stream,
            answers_trailers_only,
            has_no_such_method,
            is_refused_while_it_still_sends,
            carries_16_mib_both_ways_at_once,
            carries_large_metadata,
            carries_metadata_of_many_frames,
            tells_its_health,
            a_thousand_streams_at_once,
        )
    },
}

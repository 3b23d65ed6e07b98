"""Taps that the registry asks for: told, bounded, gone when they are over."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from sidecar.outlets import TAPS_MAX, Outlets
from sidecar.remote_taps import BATCH_MAX, RemoteTaps
from sidecar.tap import QUEUE_MAX
from sidecar.tapping import tapped
from sidecar.telemetry import Telemetry
from tests.support.otlp import ended
from tests.support.waiting import until
from weft.clock import SystemClock
from weft.pb.mesh.v1.observe_pb2 import Observation, Tapped


class Stream:
    """What a stream has taken, while it takes anything."""

    def __init__(self) -> None:
        self.told: list[Tapped] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self.outlets = Outlets(Telemetry(), SystemClock())
        self.taps = RemoteTaps(partial(tapped, self.outlets), self.send)

    async def send(self, observation: Observation) -> None:
        await self.takes.wait()
        self.told.append(observation.tapped)

    async def begun(self, count: int = 1) -> None:
        await until(lambda: len(self.outlets.taps) == count, f"{count} taps")

    def requests(self) -> int:
        return sum(len(message.requests) for message in self.told)


@asynccontextmanager
async def running() -> AsyncIterator[Stream]:
    stream = Stream()
    try:
        yield stream
    finally:
        await stream.taps.close()
        assert not stream.outlets.taps, "nobody looks any more, so nobody pays"


async def test_requests_are_told_until_the_registry_says_enough() -> None:
    async with running() as stream:
        stream.taps.begin(7, "direction=outbound")
        await stream.begun()
        stream.outlets.taps[0].offer(ended())
        await until(stream.requests, "it is told")
        (message,) = stream.told
        told = json.loads(message.requests[0])
        assert (message.id, told["path"], told["grpc_status"]) == (7, "/shop.Orders/Get", 14)
        stream.taps.end(7)
        await stream.begun(0)


async def test_it_ends_by_itself_when_nobody_ends_it() -> None:
    async with running() as stream:
        stream.taps.begin(1, "seconds=0.05")
        await stream.begun()
        await stream.begun(0)
        assert stream.told == []


async def test_what_cannot_be_is_said() -> None:
    async with running() as stream:
        stream.taps.begin(1, "status=nonsense")
        await until(lambda: stream.told, "an answer")
        assert stream.told[0].error == "status 'nonsense' is none: give UNAVAILABLE, 503 or 5xx"
        for number in range(2, TAPS_MAX + 3):
            stream.taps.begin(number, "")
        await until(lambda: len(stream.told) == 2, "one is too many")
        assert stream.told[1].error == f"{TAPS_MAX} taps are open already; end one"


async def test_a_stream_that_takes_nothing_loses_and_counts() -> None:
    async with running() as stream:
        stream.takes.clear()
        stream.taps.begin(1, "")
        await stream.begun()
        (tap,) = stream.outlets.taps
        tap.offer(ended())
        await until(tap.queue.empty, "the first one waits for the stream")
        for _ in range(QUEUE_MAX + 5):
            tap.offer(ended())
        stream.takes.set()
        await until(lambda: stream.requests() == QUEUE_MAX + 1, "all that were kept")
        assert sum(message.lost for message in stream.told) == 5
        assert max(len(message.requests) for message in stream.told) <= BATCH_MAX


async def test_a_tap_that_is_there_is_not_opened_again() -> None:
    async with running() as stream:
        stream.taps.begin(1, "")
        stream.taps.begin(1, "")
        await stream.begun()
        stream.taps.end(1)
        stream.taps.end(1)
        await stream.begun(0)

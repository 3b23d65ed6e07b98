"""Unary calls without pause, each outcome recorded with its time."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import grpc

from tests.support.grpc_matrix import Client, connect
from tests.support.waiting import until

OK = grpc.StatusCode.OK
DEATH_KNOWN_WITHIN_S = 0.25  # a busy machine runs the process that holds the other end so much later


@dataclass(frozen=True, slots=True)
class Outcome:
    started: float  # monotonic seconds
    ended: float
    status: grpc.StatusCode
    instance: str  # who answered
    details: str = ""


class Load:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status is not OK]

    def lost(self, killed: tuple[float, float] = (0.0, 0.0)) -> list[Outcome]:
        """Failed calls, but for those that something held when it was `killed` (from, until).

        What was written to it before the kernel told anyone of its end counts as held: no one can know
        whether it was processed.
        """
        begin, end = killed
        known = end + DEATH_KNOWN_WITHIN_S
        return [call for call in self.failed if not (call.started <= known and call.ended >= begin)]

    def latest_from(self, count: int) -> set[str]:
        """Who answered the latest `count` calls; the empty set when one of them failed or is missing."""
        latest = self.outcomes[-count:]
        if len(latest) < count or any(outcome.status is not OK for outcome in latest):
            return set()
        return {outcome.instance for outcome in latest}

    async def served_by(self, instances: set[str], count: int = 60, deadline_s: float = 20.0) -> None:
        """Waits until exactly these instances answer, `count` calls in a row, none of which failed."""
        start = len(self.outcomes)
        await until(
            lambda: len(self.outcomes) - start >= count and self.latest_from(count) == instances,
            f"calls are answered by {sorted(instances)} only",
            deadline_s,
        )

    def summary(self) -> str:
        return str(Counter((o.status.name, o.instance or o.details) for o in self.outcomes))


async def _call(client: Client) -> Outcome:
    started = time.monotonic()
    try:
        name = await client.name()
    except grpc.aio.AioRpcError as error:
        return Outcome(started, time.monotonic(), error.code(), "", error.details() or "")
    return Outcome(started, time.monotonic(), OK, name)


async def _caller(load: Load, client: Client, pause_s: float) -> None:
    while True:
        load.outcomes.append(await _call(client))
        await asyncio.sleep(pause_s)


@contextlib.contextmanager
def _cancelled(tasks: list[asyncio.Task[None]]) -> Iterator[None]:
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def calling(target: str, callers: int = 4, pause_s: float = 0.005) -> AsyncIterator[Load]:
    """Calls go on while the block runs."""
    load = Load()
    async with connect(target) as client:
        tasks = [asyncio.create_task(_caller(load, client, pause_s)) for _ in range(callers)]
        with _cancelled(tasks):
            yield load
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

"""Taps that the registry asks for, on the stream of observations."""

import asyncio
from collections.abc import Awaitable, Callable

from weft.aio import Tasks
from weft.errors import WeftError
from weft.pb.mesh.v1.observe_pb2 import Observation, Tapped

from .tapping import Feed, OpenTap

WAIT_S = 60.0  # for requests; then it waits again
BATCH_MAX = 50  # requests of one message: 100 KiB or so

Send = Callable[[Observation], Awaitable[None]]
"""Waits while the stream takes nothing: meanwhile taps drop, and count what they dropped."""


class RemoteTaps:
    """Of one stream: all end with it."""

    def __init__(self, open_tap: OpenTap, send: Send) -> None:
        self._open_tap = open_tap
        self._send = send
        self._tasks = Tasks()
        self._open: dict[int, asyncio.Task[None]] = {}

    def begin(self, number: int, query: str) -> None:
        if number not in self._open:
            self._open[number] = self._tasks.spawn(self._tap(number, query), f"tap {number}")

    def end(self, number: int) -> None:
        if task := self._open.pop(number, None):
            task.cancel()

    async def close(self) -> None:
        await self._tasks.close()

    async def _tap(self, number: int, query: str) -> None:
        try:
            with self._open_tap(query) as feed:
                async with asyncio.timeout(feed.seconds):
                    await self._tell(number, feed)
        except TimeoutError:
            pass
        except WeftError as error:
            await self._send(Observation(tapped=Tapped(id=number, error=str(error))))
        finally:
            self._open.pop(number, None)

    async def _tell(self, number: int, feed: Feed) -> None:
        while True:
            requests = (await feed.next(WAIT_S)).splitlines()
            for at in range(0, len(requests), BATCH_MAX):
                some = requests[at : at + BATCH_MAX]
                await self._send(Observation(tapped=Tapped(id=number, requests=some, lost=feed.lost())))

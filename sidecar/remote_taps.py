"""Taps that the registry asks for, on the stream of observations."""

import asyncio
from collections.abc import Awaitable, Callable

from weft.aio import Tasks
from weft.errors import WeftError
from weft.pb.mesh.v1.observe_pb2 import Observation, Tapped
from weft.tap_query import parse_tap

from .outlets import Outlets
from .tap import Tap
from .tapping import told_as

BATCH_MAX = 50  # requests of one message: 100 KiB or so

Send = Callable[[Observation], Awaitable[None]]
"""Waits while the stream takes nothing: meanwhile taps drop, and count what they dropped."""


class RemoteTaps:
    """Of one stream: all end with it."""

    def __init__(self, outlets: Outlets, send: Send) -> None:
        self._outlets = outlets
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
            asked = parse_tap(query)
            with self._outlets.tapped(asked.filter, asked.rate) as tap:
                async with asyncio.timeout(asked.seconds):
                    await self._tell(number, tap)
        except TimeoutError:
            pass
        except WeftError as error:
            await self._send(Observation(tapped=Tapped(id=number, error=str(error))))
        finally:
            self._open.pop(number, None)

    async def _tell(self, number: int, tap: Tap) -> None:
        while True:
            told = [await tap.queue.get()]
            told += tap.waiting(BATCH_MAX - 1)
            lost, tap.lost = tap.lost, 0
            requests = [told_as(ended) for ended in told]
            await self._send(Observation(tapped=Tapped(id=number, requests=requests, lost=lost)))

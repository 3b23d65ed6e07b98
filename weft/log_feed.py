"""What this process logs, for whoever follows it live: bounded, and lossy before it would wait."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.typing import EventDict, WrappedLogger

EVENTS_MAX = 1024  # that a slow reader is behind; then the oldest are dropped, and their number is told
READERS_MAX = 8  # people who look; each holds some 100 KiB at worst


class Reader:
    """Events of one follower, oldest first. They have been redacted."""

    def __init__(self) -> None:
        self._events: deque[EventDict] = deque()
        self._came = asyncio.Event()
        self.lost = 0

    def put(self, event: EventDict) -> None:
        if len(self._events) >= EVENTS_MAX:
            self._events.popleft()
            self.lost += 1
        self._events.append(event)
        self._came.set()

    async def next(self, wait_s: float) -> list[EventDict]:
        """What came, after a wait where nothing has yet; nothing at the latest after `wait_s`."""
        try:
            async with asyncio.timeout(wait_s):
                await self._came.wait()
        except TimeoutError:
            return []
        self._came.clear()
        events = list(self._events)
        self._events.clear()
        return events


class Feed:
    """A processor of structlog, which passes every event on unchanged, from whichever thread; readers are
    served on the loop that they began on."""

    def __init__(self) -> None:
        self._readers: dict[Reader, asyncio.AbstractEventLoop] = {}

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for reader, loop in list(self._readers.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(reader.put, dict(event))
        return event

    @property
    def is_full(self) -> bool:
        return len(self._readers) >= READERS_MAX

    @contextmanager
    def following(self) -> Iterator[Reader]:
        reader = Reader()
        self._readers[reader] = asyncio.get_running_loop()
        try:
            yield reader
        finally:
            del self._readers[reader]


FEED = Feed()
"""Of this process: logging is one for all of it."""

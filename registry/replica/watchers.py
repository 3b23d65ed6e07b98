"""Readers that wait for a watch key to move. A change costs what waits for it, not what waits."""

import asyncio
from collections.abc import Collection, Iterable

from ..catalog.watches import EVERYTHING, WatchKey


class Watchers:
    """Futures by watch key."""

    def __init__(self) -> None:
        self._waiting: dict[WatchKey, set[asyncio.Future[None]]] = {}
        self._closed: Exception | None = None

    def __len__(self) -> int:
        """Keys that somebody waits for."""
        return len(self._waiting)

    async def wait(self, keys: Collection[WatchKey], timeout_s: float) -> bool:
        """True when one of the keys moved, False when the time was out. Raises what `close` was given."""
        if self._closed:
            raise self._closed
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        alarm = loop.call_later(timeout_s, woken.cancel)
        for key in keys:
            self._waiting.setdefault(key, set()).add(woken)
        try:
            await asyncio.wait((woken,))
            if self._closed:
                raise self._closed
            return not woken.cancelled()
        finally:
            alarm.cancel()
            self._forget(keys, woken)

    def _forget(self, keys: Iterable[WatchKey], woken: asyncio.Future[None]) -> None:
        for key in keys:
            if waiting := self._waiting.get(key):
                waiting.discard(woken)
                if not waiting:
                    del self._waiting[key]

    def notify(self, keys: Collection[WatchKey]) -> None:
        for key in tuple(self._waiting) if EVERYTHING in keys else keys:
            for woken in self._waiting.pop(key, ()):
                if not woken.done():
                    woken.set_result(None)

    def notify_all(self) -> None:
        """Everything may have moved: a snapshot took the place of the state."""
        self.notify(tuple(self._waiting))

    def close(self, reason: Exception) -> None:
        """Ends all waiting, and all that would come, with this error."""
        self._closed = reason
        self.notify_all()

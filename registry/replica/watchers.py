"""Readers that wait for a watch key to move. A change costs what waits for it, not what waits.

When very many wait for the same, as after a restore, they are woken some at a time: each of them reads and
answers in the turn of the event loop that it is woken for, and the election timer waits for that turn.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable

from ..catalog.watches import EVERYTHING, WatchKey
from . import limits

_Waiting = asyncio.Future[bool]


class Watchers:
    """Futures by watch key."""

    def __init__(self) -> None:
        self._waiting: dict[WatchKey, dict[_Waiting, None]] = {}  # in the order in which they came
        self._moved: deque[_Waiting] = deque()  # to be woken, in order
        self._closed: Exception | None = None

    def __len__(self) -> int:
        """Keys that somebody waits for."""
        return len(self._waiting)

    async def wait(self, keys: Collection[WatchKey], timeout_s: float) -> bool:
        """True when one of the keys moved, False when the time was out. Raises what `close` was given."""
        if self._closed:
            raise self._closed.with_traceback(None)  # else it would grow with each who waits
        loop = asyncio.get_running_loop()
        woken: _Waiting = loop.create_future()
        alarm = loop.call_later(timeout_s, _wake, woken, False)
        for key in keys:
            self._waiting.setdefault(key, {})[woken] = None
        try:
            moved = await woken
        finally:
            alarm.cancel()
            self._forget(keys, woken)
        if self._closed:
            raise self._closed.with_traceback(None)  # else it would grow with each who waits
        return moved

    def _forget(self, keys: Iterable[WatchKey], woken: _Waiting) -> None:
        for key in keys:
            if waiting := self._waiting.get(key):
                waiting.pop(woken, None)
                if not waiting:
                    del self._waiting[key]

    def notify(self, keys: Collection[WatchKey]) -> None:
        """Wakes who waits for one of the keys: the first ones at once."""
        behind = bool(self._moved)
        for key in tuple(self._waiting) if EVERYTHING in keys else keys:
            self._moved.extend(self._waiting.pop(key, ()))
        if self._moved and not behind:
            self._wake_some()

    def _wake_some(self) -> None:
        for _ in range(min(limits.WAKE_BATCH, len(self._moved))):
            _wake(self._moved.popleft(), True)
        if self._moved:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def notify_all(self) -> None:
        """Everything may have moved: a snapshot took the place of the state."""
        self.notify((EVERYTHING,))

    def close(self, reason: Exception) -> None:
        """Ends all waiting, and all that would come, with this error."""
        self._closed = reason
        for waiting in (self._moved, *self._waiting.values()):
            for woken in waiting:
                _wake(woken, True)
        self._waiting.clear()
        self._moved.clear()


def _wake(woken: _Waiting, moved: bool) -> None:
    if not woken.done():
        woken.set_result(moved)

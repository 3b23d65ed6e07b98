"""Where blocking work of the log runs: a thread of its own, or right here when the disk is memory."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeVar

T = TypeVar("T")
Done = Callable[[T | BaseException], None]
"""Told, on the event loop, what the work returned or raised."""


class Runner(Protocol):
    """Runs one thing after the other, in the order asked."""

    def submit(self, work: Callable[[], T], done: Done[T]) -> None:
        """Begins; `done` is told, and is not a coroutine: nothing is faster than a call."""

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises."""

    def later(self, work: Callable[[], object]) -> None:
        """Runs it behind what was asked before; nobody waits for it."""

    def close(self) -> None:
        """Waits for what is under way."""


class DiskThread:
    """One thread. While it syncs, the event loop goes on."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while work := self._queue.get():
            work()

    def submit(self, work: Callable[[], T], done: Done[T]) -> None:
        def carry() -> None:
            try:
                found: T | BaseException = work()
            except BaseException as error:
                found = error
            self._tell(done, found)

        self._queue.put(carry)

    def _tell(self, done: Done[T], found: T | BaseException) -> None:
        try:
            self._loop.call_soon_threadsafe(done, found)
        except RuntimeError:  # the event loop is closed: nobody is left to be told
            return

    async def run(self, work: Callable[[], T]) -> T:
        outcome: asyncio.Future[T] = self._loop.create_future()

        def done(found: T | BaseException) -> None:
            if outcome.done():
                return
            if isinstance(found, BaseException):
                outcome.set_exception(found)
            else:
                outcome.set_result(found)

        self.submit(work, done)
        return await outcome

    def later(self, work: Callable[[], object]) -> None:
        self.submit(work, _forgotten)

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()


class Inline:
    """For a disk in memory, where a thread would only cost."""

    def submit(self, work: Callable[[], T], done: Done[T]) -> None:
        try:
            found: T | BaseException = work()
        except Exception as error:
            found = error
        asyncio.get_running_loop().call_soon(done, found)

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    def later(self, work: Callable[[], object]) -> None:
        work()

    def close(self) -> None:
        """Nothing is under way."""


def _forgotten(_found: object) -> None:
    """Nobody waits for it."""

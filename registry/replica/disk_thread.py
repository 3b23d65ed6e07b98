"""Where blocking work of the log runs: a thread of its own, or right here when the disk is memory."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Runner(Protocol):
    """Runs one thing after the other, in the order asked."""

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises."""

    def later(self, work: Callable[[], object]) -> None:
        """Runs it behind what was asked before; nobody waits for it."""

    def close(self) -> None:
        """Waits for what is under way."""


class DiskThread:
    """One thread. While it syncs, the event loop goes on."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def later(self, work: Callable[[], object]) -> None:
        self._thread.submit(work)

    def close(self) -> None:
        self._thread.shutdown()


class Inline:
    """For a disk in memory, where a thread would only cost."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    def later(self, work: Callable[[], object]) -> None:
        work()

    def close(self) -> None:
        """Nothing is under way."""

"""Linearizable reads: one question to etcd answers everybody who asked before it was put."""

import asyncio
from collections.abc import Awaitable, Callable

from ...errors import DiskFull, NotReady


class Reads:
    """`run` asks as long as somebody waits."""

    def __init__(self, confirm: Callable[[], Awaitable[int]]) -> None:
        self._confirm = confirm
        self._waiting: list[asyncio.Future[int]] = []
        self._wake = asyncio.Event()
        self._closed: Exception | None = None

    async def ask(self) -> int:
        """The log's last index at some moment after this call. Raises NotReady."""
        if self._closed:
            raise self._closed.with_traceback(None)  # else it would grow with each who asks
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._wake.set()
        return await answer

    async def run(self) -> None:
        """Until it is cancelled. Raises what makes the log stop."""
        while True:
            self._wake.clear()
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._answer(waiting)
            await self._wake.wait()

    async def _answer(self, waiting: "list[asyncio.Future[int]]") -> None:
        try:
            index = await self._confirm()
        except (NotReady, DiskFull) as error:
            _fail(waiting, error)
        except BaseException:
            _fail(waiting, NotReady("this server had to stop; ask another"))
            raise
        else:
            for answer in waiting:
                if not answer.done():
                    answer.set_result(index)

    def close(self, reason: Exception) -> None:
        """Refuses all who wait, and all who come."""
        self._closed = self._closed or reason
        _fail(self._waiting, reason)
        self._waiting = []


def _fail(waiting: "list[asyncio.Future[int]]", error: Exception) -> None:
    for answer in waiting:
        if not answer.done():
            answer.set_exception(error)

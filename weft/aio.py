"""The only place that starts asyncio tasks, so that none is forgotten, and none dies in silence."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


AGAIN_S = 3.0  # more than cleaning up takes


class Tasks:
    """Background tasks with one owner. A task that fails is logged; `close` cancels and awaits all."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("background task failed", task=task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancels what still runs and waits for it to end. Who does not end is told again: grpc.aio forgets a
        cancellation that comes while it begins a call, and its caller would go on for ever."""
        running = set(self._running)
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=AGAIN_S)

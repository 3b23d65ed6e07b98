"""Background tasks: none forgotten, none dead in silence."""

import asyncio
import contextlib

import pytest
import structlog

from weft import aio
from weft.aio import Tasks


async def test_closing_cancels_what_runs_and_waits_for_its_end() -> None:
    tasks, ended = Tasks(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # cleaning up takes its turn of the loop
            ended.append("cleaned up")

    task = tasks.spawn(work(), "work")
    await asyncio.sleep(0)
    await tasks.close()
    assert task.cancelled()
    assert ended == ["cleaned up"]


async def test_a_task_that_fails_is_logged_by_name() -> None:
    tasks = Tasks()

    async def work() -> None:
        raise ValueError("no")

    with structlog.testing.capture_logs() as logs:
        task = tasks.spawn(work(), "renewal")
        with pytest.raises(ValueError, match="no"):
            await task
        await asyncio.sleep(0)
    assert [(entry["log_level"], entry["task"]) for entry in logs] == [("error", "renewal")]


async def test_a_task_that_ends_is_let_go() -> None:
    tasks = Tasks()

    async def work() -> int:
        return 7

    assert await tasks.spawn(work(), "work") == 7
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as logs:
        await tasks.close()
    assert logs == []


async def test_who_forgets_that_it_was_cancelled_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "AGAIN_S", 0.01)
    tasks = Tasks()

    async def forgetful() -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    running = tasks.spawn(forgetful(), "forgetful")
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.close(), 5)
    assert running.done()

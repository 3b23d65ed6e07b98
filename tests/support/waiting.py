"""Waiting for a condition with a deadline, instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

POLL_S = 0.02


async def until(condition: Callable[[], Any | Awaitable[Any]], what: str, deadline_s: float = 10.0) -> Any:
    """The first true value of `condition`. Fails with `what` when none came in time."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(POLL_S)


async def settles(value: Callable[[], Awaitable[Any]], what: str, deadline_s: float = 20.0) -> Any:
    """The value of `value` once it has stayed the same for 25 polls."""
    last: list[Any] = []

    async def unchanged() -> bool:
        last.append(await value())
        return len(last) >= 25 and all(earlier == last[-1] for earlier in last[-25:])

    await until(unchanged, f"{what} comes to rest", deadline_s)
    return last[-1]

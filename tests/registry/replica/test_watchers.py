"""Who waits, who is woken, and how many at a time."""

import asyncio
import traceback

import pytest

from registry.catalog import watches
from registry.errors import NotReady
from registry.replica import limits
from registry.replica.watchers import Watchers

DEADLINE_S = 30.0
WEB, ROOTS = watches.service("web"), watches.ROOTS


def _park(watchers: Watchers, count: int, timeout_s: float = DEADLINE_S) -> "list[asyncio.Future[bool]]":
    return [asyncio.ensure_future(watchers.wait((WEB, ROOTS), timeout_s)) for _ in range(count)]


async def test_a_key_that_moves_wakes_and_a_time_that_is_out_says_so() -> None:
    watchers = Watchers()
    [moved, late] = _park(watchers, 1) + _park(watchers, 1, 0.0)
    assert await late is False
    watchers.notify((ROOTS,))
    assert await moved is True
    assert len(watchers) == 0


async def test_trap_24_very_many_are_woken_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore wakes all: the loop, which is the election timer, runs between their answers."""
    monkeypatch.setattr(limits, "WAKE_BATCH", 4)
    watchers, count = Watchers(), 40
    waiting = _park(watchers, count)
    await asyncio.sleep(0)
    watchers.notify_all()
    most = done = 0
    async with asyncio.timeout(DEADLINE_S):
        while done < count:
            await asyncio.sleep(0)
            now = sum(it.done() for it in waiting)
            most, done = max(most, now - done), now
    assert most <= 4
    assert all([await it for it in waiting])


async def test_what_moves_while_others_are_being_woken_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WAKE_BATCH", 1)
    watchers = Watchers()
    first = _park(watchers, 3)
    await asyncio.sleep(0)
    watchers.notify((ROOTS,))
    second = _park(watchers, 3)
    await asyncio.sleep(0)
    first[2].cancel()
    watchers.notify((WEB,))
    async with asyncio.timeout(DEADLINE_S):
        found = await asyncio.gather(*first, *second, return_exceptions=True)
    assert [it for it in found if it is not True] == [found[2]]
    assert len(watchers) == 0


async def test_closing_ends_all_that_wait_and_all_that_would_come() -> None:
    watchers = Watchers()
    waiting = _park(watchers, 3)
    await asyncio.sleep(0)
    watchers.close(NotReady("closing"))
    for each in (*waiting, *_park(watchers, 1)):
        with pytest.raises(NotReady, match="closing"):
            await each


async def test_the_error_that_ends_all_waiting_does_not_grow_with_each_who_waits() -> None:
    """10,000 parked queries would else print tracebacks of 10,000 frames each: hours of CPU."""
    watchers, reason = Watchers(), NotReady("closing")
    waiting = _park(watchers, 20)
    await asyncio.sleep(0)
    watchers.close(reason)
    await asyncio.gather(*waiting, *_park(watchers, 20), return_exceptions=True)
    assert sum(1 for _ in traceback.walk_tb(reason.__traceback__)) < 10

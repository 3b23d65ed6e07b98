"""Full collections happen when they are asked for, and never look at what has lived long."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from tests.support.waiting import until
from weft import collection
from weft.aio import Tasks
from weft.collection import Collector


@pytest.fixture(autouse=True)
def collector_as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_the_allocator_collects_the_young_only() -> None:
    Collector()
    before = [gc.get_stats()[it]["collections"] for it in (1, 2)]
    kept = [[number] for number in range(300_000)]
    assert [gc.get_stats()[it]["collections"] for it in (1, 2)] == before
    assert len(kept) == 300_000


async def test_what_survives_is_frozen_once_there_is_enough_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "PERIOD_S", 0.001)
    collector, tasks = Collector(), Tasks()
    frozen = gc.get_freeze_count()
    tasks.spawn(collector.run(), "collection")
    try:
        async with asyncio.timeout(10):
            kept = []
            while gc.get_freeze_count() < frozen + collection.GROWTH_OBJECTS:
                kept += [[number] for number in range(10_000)]
                await asyncio.sleep(0.001)
    finally:
        await tasks.close()


def test_garbage_is_freed_before_the_rest_is_frozen() -> None:
    class Cycle:
        ended = 0

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            Cycle.ended += 1

    Cycle()
    collection.settle()
    assert Cycle.ended == 1


async def test_trap_24_what_survives_in_a_burst_is_frozen_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "PERIOD_S", 0.001)
    collector, tasks = Collector(), Tasks()
    kept = [[number] for number in range(collection.BURST_OBJECTS + 50_000)]
    before, frozen = gc.get_stats()[2]["collections"], gc.get_freeze_count()
    tasks.spawn(collector.run(), "collection")
    try:
        await until(lambda: gc.get_freeze_count() >= frozen + len(kept) - 50_000, "the burst is frozen")
    finally:
        await tasks.close()
    assert gc.get_stats()[2]["collections"] == before

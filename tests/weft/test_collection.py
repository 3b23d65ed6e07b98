"""Full collections happen when they are asked for, and never look at what has lived long."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from weft import collection
from weft.aio import Tasks
from weft.collection import Collector


@pytest.fixture(autouse=True)
def collector_as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_the_allocator_starts_no_full_collection() -> None:
    Collector()
    before = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(300_000)]
    assert gc.get_stats()[2]["collections"] == before
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

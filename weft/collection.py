"""When the garbage collector may look at what lives long.

A full collection walks every object: with 100,000 rows that is 100 ms and more in which no event loop, and
so no election timer, runs. Rows are freed by their reference counts and need no walk. So full collections
are taken out of the allocator's hands; here the young are collected, and what has survived in some number
is frozen: moved where no collection looks.

What is frozen and later dies as a cycle is never freed. Freezing happens once per growth of 20,000 objects,
so that is at most the connections that were open at those moments.
"""

import asyncio
import gc

PERIOD_S = 0.25
GROWTH_OBJECTS = 20_000
"""Survivors that are collected one last time and frozen: about 5 ms of work."""

_YOUNG = 2_000  # allocations between two collections of the young
_MIDDLE = 5  # of these until their survivors are looked at as well: a few ms at most
_NEVER = 1_000_000_000


class Collector:
    """Takes the place of automatic full collections for the life of the process."""

    def __init__(self) -> None:
        gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
        settle()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(PERIOD_S)
            if len(gc.get_objects(generation=2)) >= GROWTH_OBJECTS:
                settle()


def settle() -> None:
    """Collects all garbage that is not frozen, and freezes the rest."""
    gc.collect()
    gc.freeze()

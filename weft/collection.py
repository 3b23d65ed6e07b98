"""When the garbage collector may look at what lives long.

A full collection walks every object: with 100,000 rows that is 100 ms and more in which no event loop, and
so no election timer, runs. Rows are freed by their reference counts and need no walk. So collections of the
older generations are taken out of the allocator's hands: what has survived in some number is looked at once
and frozen, moved where no collection looks.

Nor does the allocator keep the youngest generation small. It counts what is made less what is freed, so
while rows take the place of frozen rows it sees nothing, and walks tens of thousands of objects in the end.
Where very much comes to live at once, as in a restore, it is rows, which are no garbage: they are frozen
unseen (`freeze`), for to look at them would be the very walk that this is to prevent.

What is frozen and later dies as a cycle is never freed. Freezing happens once per growth of 10,000 objects,
so that is at most the connections that were open at those moments.
"""

import asyncio
import gc

PERIOD_S = 0.1
GROWTH_OBJECTS = 10_000
"""Survivors that are collected one last time and frozen: about 5 ms of work."""

BURST_OBJECTS = 25_000
"""Survivors that are frozen unseen: to walk them takes more than 10 ms."""

_YOUNG = 2_000  # objects made and not freed between two collections of the young
_NEVER = 1_000_000_000


class Collector:
    """Takes the place of automatic collections, but for those of the young, for the life of the process."""

    def __init__(self) -> None:
        gc.set_threshold(_YOUNG, _NEVER, _NEVER)
        settle()

    async def run(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(PERIOD_S)
            survivors = len(gc.get_objects())  # not the frozen ones
            if survivors >= BURST_OBJECTS:
                freeze()
            elif survivors >= GROWTH_OBJECTS:
                settle()


def settle() -> None:
    """Collects all garbage that is not frozen, and freezes the rest."""
    gc.collect()
    gc.freeze()


def freeze() -> None:
    """Freezes what there is, garbage too, unseen. Takes no time."""
    gc.freeze()

"""Long work between the turns of the event loop, which is the election timer (trap 24)."""

import asyncio
from collections.abc import Generator
from typing import TypeVar

from weft.collection import freeze

T = TypeVar("T")


async def in_slices(steps: Generator[None, None, T], slice_s: float) -> T:
    """What the steps return at their end. Other work has its turn after every `slice_s` of them.

    What they make is taken to live long: the garbage collector never walks it.
    """
    clock = asyncio.get_running_loop().time
    while True:
        end = clock() + slice_s
        try:
            next(steps)
            while clock() < end:
                next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            freeze()
        await asyncio.sleep(0)

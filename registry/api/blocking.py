"""Blocking queries: a read is repeated until its index passes the client's, or the time is out."""

from collections.abc import Callable

from ..catalog.state import State
from ..replica.port import Log
from .handling import Answer
from .query import Consistency

JITTER_SHARE = 16  # as in Consul: up to wait/16 more, so that clients do not all come back at once


async def read(
    log: Log,
    look: Callable[[State], Answer],
    *,
    consistency: Consistency,
    after_index: int,
    wait_s: float,
    draw: Callable[[], float],
    monotonic: Callable[[], float],
) -> Answer:
    """What `look` finds, once its index is above `after_index` or `wait_s` and jitter are over.

    `after_index` 0 never waits. Waits on the keys that were read and nothing wider. Raises NotReady.
    """
    deadline = monotonic() + wait_s * (1 + draw() / JITTER_SHARE)
    while True:
        if consistency is Consistency.CONSISTENT:
            await log.read_index()
        state = log.view()
        found = look(state)
        left_s = deadline - monotonic()
        if not after_index or found.index > after_index or left_s <= 0:
            return found
        await log.wait(found.keys, state.index, left_s)

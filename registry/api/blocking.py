"""Reads: how sure a read must be, and blocking queries.

A blocking query is repeated until its index passes the client's, or the time is out. Each look is as sure
as the first one, so a server that has lost the cluster says so instead of answering from the past.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ..catalog.state import State
from ..replica.port import Log
from .handling import Answer
from .query import Consistency

JITTER_SHARE = 16  # as in Consul: up to wait/16 more, so that clients do not all come back at once


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks of a read. `after_index` 0 never waits; `max_stale_s` bounds a stale answer."""

    consistency: Consistency
    max_stale_s: float | None = None
    after_index: int = 0
    wait_s: float = 0.0


async def gate(log: Log, consistency: Consistency, max_stale_s: float | None = None) -> Consistency:
    """Returns when `log.view()` may be answered; answers how sure it then is. Raises NotReady.

    A stale read that would be older than `max_stale_s` is made sure by the leader instead.
    """
    if consistency is Consistency.STALE:
        if max_stale_s is None or log.status().last_contact_s <= max_stale_s:
            return consistency
        consistency = Consistency.DEFAULT
    await log.read_index(consistent=consistency is Consistency.CONSISTENT)
    return consistency


async def read(
    log: Log,
    look: Callable[[State], Answer],
    wish: Wish,
    *,
    draw: Callable[[], float],
    monotonic: Callable[[], float],
    parked: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[Answer, Consistency]:
    """What `look` finds, once its index is above the client's or the wait and jitter are over.

    Waits on the keys that were read and nothing wider, inside of what `parked` gives. Raises NotReady, and
    what `parked` does.
    """
    deadline = monotonic() + wish.wait_s * (1 + draw() / JITTER_SHARE)
    while True:
        sure = await gate(log, wish.consistency, wish.max_stale_s)
        state = log.view()
        found = look(state)
        left_s = deadline - monotonic()
        if not wish.after_index or _has_moved(found, wish.after_index) or left_s <= 0:
            return found, sure
        keys, index = found.keys, state.index
        del state, found  # or each parked query would keep a version of the catalog alive
        with parked():
            await log.wait(keys, index, left_s)


def _has_moved(found: Answer, after_index: int) -> bool:
    return found.index != after_index if found.exact else found.index > after_index

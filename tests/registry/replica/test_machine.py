"""What the state machine tells those who wait for it."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable

from registry.catalog.state import State
from registry.errors import NotReady
from registry.replica.etcd.reads import Reads
from registry.replica.machine import Machine
from registry.replica.proposals import Proposals


def _no_failure(error: BaseException) -> None:
    raise AssertionError(error)


async def _depth(reason: Exception, wait: Callable[[], Awaitable[int | None]]) -> int:
    """Frames that the error has after many were told of it."""
    for _ in range(20):
        await asyncio.gather(wait(), return_exceptions=True)
    return sum(1 for _ in traceback.walk_tb(reason.__traceback__))


async def test_the_error_that_ends_waiting_for_an_index_does_not_grow() -> None:
    machine, reason = Machine(State(), 0, Proposals(), _no_failure), NotReady("closing")
    machine.close(reason)
    assert await _depth(reason, lambda: machine.reached(1)) < 10


async def test_the_error_that_ends_reads_from_etcd_does_not_grow() -> None:
    async def confirm() -> int:
        raise AssertionError("nobody asks")

    reads, reason = Reads(confirm), NotReady("closing")
    reads.close(reason)
    assert await _depth(reason, reads.ask) < 10

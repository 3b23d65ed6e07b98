"""When a snapshot is made, and how it stays out of the way of writes.

Rows are encoded on the event loop in slices of about a millisecond, from a view that cannot change;
bytes are written and synced on a thread of their own.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import structlog

from weft.aio import Tasks

from ..catalog.snapshot import encode
from ..catalog.state import State
from . import limits
from .snapshots import SnapshotWriter
from .store import Store

log = structlog.get_logger(__name__)


class Snapshotter:
    """Counts what was written and makes one snapshot at a time."""

    def __init__(self, store: Store, tasks: Tasks, after_bytes: int) -> None:
        self._store = store
        self._tasks = tasks
        self._after_bytes = after_bytes
        self._written_bytes = 0
        self._running = False
        self._thread = ThreadPoolExecutor(1, "weft-snapshot")

    def is_due(self, written_bytes: int) -> bool:
        """Counts a write; True when it is time for a snapshot."""
        self._written_bytes += written_bytes
        return self._written_bytes >= self._after_bytes and not self._running

    def start(self, view: Callable[[], State], fail: Callable[[BaseException], None]) -> None:
        """Begins a snapshot of what `view` shows once the loop comes round."""
        self._written_bytes = 0
        self._running = True
        self._tasks.spawn(self._make(view, fail), "snapshot")

    async def _make(self, view: Callable[[], State], fail: Callable[[BaseException], None]) -> None:
        state = view()
        run = asyncio.get_running_loop().run_in_executor
        try:
            await self._write(state)
            await run(self._thread, self._store.drop_before, state.index)
            log.info("snapshot written", index=state.index)
        except OSError as error:  # the log is whole without it: go on, and try again later
            log.error("snapshot failed; the log keeps growing", index=state.index, error=str(error))
        except Exception as error:
            fail(error)
        finally:
            self._running = False

    async def _write(self, state: State) -> None:
        run = asyncio.get_running_loop().run_in_executor
        writer: SnapshotWriter = await run(self._thread, self._store.snapshot_writer, state.index)
        try:
            records = encode(state)
            while slice_ := tuple(islice(records, limits.SNAPSHOT_SLICE_RECORDS)):
                await run(self._thread, writer.write, slice_)
            await run(self._thread, writer.finish)
        except BaseException:
            self._thread.submit(writer.abort)  # behind a write that may still be under way
            raise

    def close(self) -> None:
        self._thread.shutdown()

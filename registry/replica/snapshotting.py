"""When a snapshot is made, and how it stays out of the way of writes.

Rows are encoded on the event loop in slices of some milliseconds, from a view that cannot change;
bytes are written and synced on a thread of their own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from itertools import chain
from typing import Protocol

import structlog

from weft.aio import Tasks

from ..catalog.snapshot import encode, slices
from ..catalog.state import State
from ..raft.messages import SnapshotMeta
from . import limits
from .disk_thread import Runner
from .snapshots import SnapshotWriter, write_meta
from .wal import Wal

log = structlog.get_logger(__name__)


class Alone(Protocol):
    """Runs blocking work while nothing is written to the log."""

    def __call__(self, work: Callable[[], object], /) -> Awaitable[object]: ...


Take = Callable[[], tuple[SnapshotMeta, State] | None]
Done = Callable[[SnapshotMeta], Collection[int]]


class Snapshotter:
    """Counts what was written and makes one snapshot at a time.

    `take` answers what is applied now, None when it is no more than the last snapshot; `done` is told of a
    durable snapshot, and answers the indices of older ones that must stay. `alone` runs what must not meet
    a write of the log; `own` runs the rest.
    """

    def __init__(
        self,
        wal: Wal,
        alone: Alone,
        own: Runner,
        after_bytes: int,
        written_bytes: int,
        take: Take,
        done: Done,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._wal = wal
        self._alone = alone
        self._own = own
        self._after_bytes = after_bytes
        self._take = take
        self._done = done
        self._fail = fail
        self._written_bytes = written_bytes  # behind the last snapshot
        self._tasks = Tasks()
        self._running: asyncio.Task[None] | None = None

    def written(self, size_bytes: int) -> None:
        """Counts a write, and begins a snapshot when it is time for one."""
        self._written_bytes += size_bytes
        if self._written_bytes >= self._after_bytes and not self._running:
            self._written_bytes = 0
            self._running = self._tasks.spawn(self._make(), "snapshot")

    def cancel(self) -> None:
        """The log is about to be replaced: what is being made is of no use."""
        if self._running:
            self._running.cancel()

    async def _make(self) -> None:
        try:
            await self._alone(self._wal.roll)
            taken = self._take()
            if taken is None:
                return
            meta, state = taken
            await self._write(meta, state)
            in_use = self._done(meta)
            await self._alone(lambda: self._wal.drop_before(meta.index, in_use))
            log.info("snapshot written", index=meta.index)
        except OSError as error:  # the log is whole without it: go on, and try again later
            log.error("snapshot failed; the log keeps growing", error=str(error))
        except Exception as error:
            self._fail(error)
        finally:
            self._running = None

    async def _write(self, meta: SnapshotMeta, state: State) -> None:
        writer: SnapshotWriter = await self._own.run(lambda: self._wal.snapshot_writer(meta.index))
        try:
            records = chain((write_meta(meta),), encode(state))
            clock = asyncio.get_running_loop().time
            for part in slices(records, clock, limits.SNAPSHOT_SLICE_S):
                await self._own.run(lambda part=part: writer.write(part))  # type: ignore[misc]
                await asyncio.sleep(0)
            await self._own.run(writer.finish)
        except BaseException:
            self._own.later(writer.abort)  # behind a write that may still be under way
            raise

    async def close(self) -> None:
        await self._tasks.close()
        self._own.close()

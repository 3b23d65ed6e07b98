"""The state machine: committed entries in, views and answers out.

Entries are applied in slices of a few milliseconds, for the event loop is the election timer.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace

from google.protobuf.message import DecodeError

from weft.collection import freeze
from weft.errors import invariant
from weft.pb.catalog.v1.command_pb2 import Command

from ..catalog.apply import Applied, apply_steps
from ..catalog.state import Answered, State
from ..catalog.watches import EVERYTHING
from ..errors import LogCorrupt
from ..raft.messages import Entry, EntryKind
from . import limits
from .proposals import Proposals
from .watchers import Watchers


class Machine:
    """`state` is what has been applied; `term` that of its last entry."""

    def __init__(
        self, state: State, term: int, proposals: Proposals, fail: Callable[[BaseException], None]
    ) -> None:
        self.state = state
        self.term = term
        self.watchers = Watchers()
        self._proposals = proposals
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Entry] = deque()
        self._begun: Generator[None, None, Applied] | None = None  # the first of the queue, in steps
        self._taken = state.index
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap by index
        self._count = 0
        self._running = False
        self._closed: Exception | None = None

    def take(self, committed: Iterable[Entry]) -> None:
        """Applies the entries, in order, now and in later slices. Those known already are skipped."""
        self.put(committed)
        self.go()

    def put(self, committed: Iterable[Entry]) -> None:
        """As `take`, but nothing is applied before `go`."""
        for entry in committed:
            if entry.index > self._taken:
                self._queue.append(entry)
                self._taken = entry.index

    def go(self) -> None:
        if self._queue and not self._running:
            self._running = True
            self._slice()

    def _slice(self) -> None:
        end = self._loop.time() + limits.APPLY_SLICE_S
        try:
            while self._queue and not self._closed:
                self._apply(self._queue[0])
                if self._queue and self._loop.time() >= end:
                    self._loop.call_soon(self._slice)
                    return
        except Exception as error:  # an unknown command, or a bug: going on would make another state
            self._fail(error)
        self._running = False

    def _apply(self, entry: Entry) -> None:
        """One step of the first entry; it leaves the queue when that was the last one."""
        invariant(entry.index == self.state.index + 1, f"entry {entry.index} after {self.state.index}")
        if entry.kind is not EntryKind.NORMAL:
            self._queue.popleft()
            self._show(replace(self.state, index=entry.index), entry.term)
            self._proposals.resolve(entry, Answered(0, entry.index, 0, "", ""))
            return
        if self._begun is None:
            command = self._proposals.command(entry) or _decode(entry)
            self._begun = apply_steps(self.state, command, entry.index)
        try:
            next(self._begun)
            freeze()  # so long a command makes rows, and very many of them
        except StopIteration as end:
            self._finish(entry, end.value)

    def _finish(self, entry: Entry, applied: Applied) -> None:
        self._queue.popleft()
        self._begun = None
        if EVERYTHING in applied.touched:
            self._loop.call_later(limits.FREED_AFTER_S, self._give_up, self.state.nodes_of_rows())
        self._show(applied.state, entry.term)
        self.watchers.notify(applied.touched)
        self._proposals.resolve(entry, applied.answer)

    def _give_up(self, leaves: list[object]) -> None:
        """Frees what another state has taken the place of in slices: at once, 100,000 rows take 0.1 s."""
        del leaves[-limits.FREED_LEAVES :]
        if leaves:
            self._loop.call_soon(self._give_up, leaves)

    def _show(self, state: State, term: int) -> None:
        self.state, self.term = state, term
        while self._waiting and self._waiting[0][0] <= state.index:
            _, _, reached = heapq.heappop(self._waiting)
            if not reached.done():
                reached.set_result(None)

    def replace(self, state: State, term: int) -> None:
        """A leader's snapshot takes the place of the state, unless it is older."""
        if state.index <= self.state.index:
            return
        self._begun = None  # whatever it was, the snapshot holds it
        while self._queue and self._queue[0].index <= state.index:
            self._queue.popleft()
        self._taken = max(self._taken, state.index)
        self._loop.call_later(limits.FREED_AFTER_S, self._give_up, self.state.nodes_of_rows())
        self._show(state, term)
        self.watchers.notify_all()

    async def reached(self, index: int) -> None:
        """Returns once `state.index` is at least this. Raises what `close` was given."""
        if self.state.index >= index:
            return
        if self._closed:
            raise self._closed.with_traceback(None)  # else it would grow with each who waits
        self._count += 1
        reached: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._waiting, (index, self._count, reached))
        await reached

    def close(self, reason: Exception) -> None:
        """Applies nothing more, and ends all waiting with this error."""
        self._closed = self._closed or reason
        self.watchers.close(reason)
        for _, _, reached in self._waiting:
            if not reached.done():
                reached.set_exception(reason)
        self._waiting.clear()


def _decode(entry: Entry) -> Command:
    try:
        return Command.FromString(entry.data)
    except DecodeError as error:
        raise LogCorrupt(
            f"the log entry at index {entry.index} is not a command; restore a backup"
        ) from error

"""Follows the log in etcd into the state machine, whoever appends to it.

Batches come from a watch, from reads and from this server's own appends; `order` lets each pass once. When
some are missing they are listed; when they are trimmed, the snapshot takes their place.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from weft.pb.vendor.etcd.v3 import rpc_pb2 as pb

from ...errors import DiskFull, LogCorrupt, NotReady
from ...raft.messages import Entry, EntryKind
from ..machine import Machine
from . import limits
from .client import Etcd, get
from .errors import Gap, HistoryCompacted
from .layout import Keys, after_prefix, read_batch, read_tail
from .order import Batch, Boundaries, Order, went_back
from .seat import Seat
from .snapshots import Snapshots

log = structlog.get_logger(__name__)


class EtcdFollower:
    """The `appender.Follower` of the machine. `run` watches."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        machine: Machine,
        snapshots: Snapshots,
        seat: Seat,
        snapshot_due: Callable[[], None],
    ) -> None:
        self._etcd = etcd
        self._keys = keys
        self._machine = machine
        self._snapshots = snapshots
        self._seat = seat
        self._snapshot_due = snapshot_due
        self._order = Order()
        self._boundaries = Boundaries()
        self._intake = asyncio.Lock()  # parts of a large command are awaited between two batches
        self.tail = 0  # the log's last index, as far as it was heard of

    @property
    def last_index(self) -> int:
        return self._order.last_index

    def resume_after(self, index: int) -> int:
        """Where to read on when all up to an applied index is known."""
        return self._boundaries.resume_after(index)

    async def applied(self, index: int) -> None:
        await self._machine.reached(index)

    async def take(self, batch: Batch) -> None:
        """A batch that is in the log. Raises Gap."""
        async with self._intake:
            self._pass(batch)

    def _pass(self, batch: Batch) -> None:
        if not (news := self._order.passes(batch)):
            return
        self.tail = max(self.tail, batch.last)
        # An entry's term says who wrote it, which tells `Proposals` its own from others'.
        self._machine.take(
            Entry(news.writer, index, EntryKind.NORMAL, command)
            for index, command in enumerate(news.commands, news.first)
        )
        self._boundaries.note(batch, self._machine.state.index)
        if self._snapshots.count(sum(map(len, news.commands))):
            self._snapshot_due()

    async def _take_rows(self, rows: Sequence[pb.KeyValue]) -> None:
        async with self._intake:
            for row in rows:
                if batch := await self._batch(row):
                    self._pass(batch)

    async def _batch(self, row: pb.KeyValue) -> Batch | None:
        """The row with its parts; None when it is known already."""
        first = self._keys.first_index(row.key)
        if first < self._order.resume:
            return None
        found = read_batch(row.value, row.key)
        if not found.parts:
            return Batch(first, found.writer, tuple(found.commands))
        prefix = self._keys.part(first, found.writer, 0)[:-20]
        parts = await self._etcd.range(prefix, after_prefix(prefix), limit=limits.PAGE_BATCHES)
        if len(parts.kvs) < found.parts:
            raise Gap(f"the parts of command {first} are trimmed")
        return Batch(first, found.writer, (b"".join(part.value for part in parts.kvs[: found.parts]),))

    async def catch_up(self) -> int:
        """Takes all that is in the log now, from the snapshot where need be; answers its last index.

        Raises NotReady, LogCorrupt or WentBack.
        """
        tail, _ = await self._list()
        return tail

    async def _list(self) -> tuple[int, int]:
        """As `catch_up`; also the revision that all was seen at."""
        goal: int | None = None
        while True:
            tail, revision, rows = await self._page()
            goal = tail if goal is None else goal
            try:
                await self._take_rows(rows)
                if self.last_index >= tail:
                    return goal, revision
                if rows:
                    continue
            except Gap:
                pass
            await self._restore()

    async def _page(self) -> tuple[int, int, Sequence[pb.KeyValue]]:
        """The tail, the revision, and some of what follows the last batch."""
        keys, known = self._keys, self.last_index
        found = await self._etcd.read(
            get(keys.tail),
            get(keys.log(self._order.resume), after_prefix(keys.logs), limits.PAGE_BATCHES),
        )
        tails, rows = (answer.response_range.kvs for answer in found.responses)
        tail = read_tail(tails[0].value) if tails else -1
        if tail < known:
            ends = f"ends with index {tail}" if tails else "is gone"
            raise went_back(f"its log {ends}, after {known}")
        self.tail = max(self.tail, tail)
        return tail, found.header.revision, rows

    async def _restore(self) -> None:
        """The snapshot takes the place of commands that are trimmed."""
        before = self.last_index
        try:
            found = await self._snapshots.load()
        except HistoryCompacted:
            return  # replaced while it was read: the next page tells
        if self.last_index > before:
            return  # somebody else was quicker
        if found is None or found.state.index <= self.last_index:
            raise LogCorrupt(
                f"etcd: the log lacks command {self.last_index + 1}, "
                "and no snapshot holds it; restore a backup"
            )
        async with self._intake:
            self._order.jump(found.state.index, found.resume)
            self._machine.replace(found.state, 0)
        log.info("snapshot installed", index=found.state.index)

    async def run(self) -> None:
        """Until it is cancelled. Raises what makes the log stop."""
        pause = limits.RETRY_MIN_S
        while True:
            try:
                _, revision = await self._list()
                pause = limits.RETRY_MIN_S
                await self._watch(revision + 1)
            except (HistoryCompacted, Gap) as error:
                log.info("the log is listed anew", reason=str(error))
            except (NotReady, DiskFull) as error:
                log.warning("the log cannot be followed", reason=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, limits.RETRY_MAX_S)

    async def _watch(self, revision: int) -> None:
        keys = self._keys
        ranges = [(it, after_prefix(it)) for it in (keys.logs, keys.servers)] + [(keys.leader, b"")]
        async for events in self._etcd.watch(ranges, revision):
            put = [event.kv for event in events if event.type == pb.Event.PUT]
            await self._take_rows([row for row in put if row.key.startswith(keys.logs)])
            if not all(event.kv.key.startswith(keys.logs) for event in events):
                self._seat.stir()

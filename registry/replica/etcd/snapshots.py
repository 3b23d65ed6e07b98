"""Snapshots in etcd: written in chunks by the leader, read at one revision, and the log before them trimmed.

The order is that of any log: all chunks, then the key that names them, and only then what they replace is
removed. Every write is a transaction that compares the leader's key.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import structlog

from weft.pb.etcd.v1.log_pb2 import Snapshot
from weft.pb.vendor.etcd.v3 import rpc_pb2 as pb

from ...catalog.snapshot import decode_steps, encode, slices
from ...catalog.state import State
from ...errors import LogCorrupt, NotReady
from .. import limits as replica_limits
from ..slicing import in_slices
from . import limits
from .client import Etcd, delete, put
from .layout import Keys, after_prefix, pack, read_snapshot, unpack
from .seat import Seat

log = structlog.get_logger(__name__)


class Loaded(NamedTuple):
    """`resume`: the first index of the batch to read on with."""

    state: State
    resume: int


class Snapshots:
    """Reads for every server; writes for the leader."""

    def __init__(self, etcd: Etcd, keys: Keys, seat: Seat, after_bytes: int) -> None:
        self._etcd = etcd
        self._keys = keys
        self._seat = seat
        self._after_bytes = after_bytes
        self._log_bytes = 0
        self._compactable = 0  # the revision of the last trimming: nobody is that far behind any more

    def count(self, log_bytes: int) -> bool:
        """Notes log that was taken; True when it is time for a snapshot."""
        self._log_bytes += log_bytes
        return self._log_bytes >= self._after_bytes

    async def load(self) -> Loaded | None:
        """The state in the newest snapshot; None when there is none. Raises LogCorrupt, HistoryCompacted."""
        found = await self._etcd.range(self._keys.snapshot)
        if not found.kvs:
            return None
        meta = read_snapshot(found.kvs[0].value)
        chunks = await self._chunks(meta.index, found.header.revision)
        return Loaded(await _decoded(chunks, meta), meta.resume)

    async def _chunks(self, index: int, revision: int) -> list[bytes]:
        """At one revision: they may be replaced meanwhile."""
        prefix = self._keys.chunks_of(index)
        start, end, chunks, more = prefix, after_prefix(prefix), list[bytes](), True
        while more:
            page = await self._etcd.range(start, end, limit=limits.PAGE_BATCHES, revision=revision)
            chunks += [row.value for row in page.kvs]
            more = page.more
            start = page.kvs[-1].key + b"\0" if page.kvs else end
        return chunks

    async def write(self, state: State, resume: int, epoch: int, compacts: bool) -> None:
        """Stores the state, and trims the log before the last snapshot.

        Batches are read from `resume` on where this snapshot was loaded. Raises NotReady when deposed.
        """
        self._log_bytes = 0
        before = await self._etcd.range(self._keys.snapshot)
        old = read_snapshot(before.kvs[0].value) if before.kvs else Snapshot()
        if old.index >= state.index:
            return
        await self._sweep(old.index, epoch)
        meta = Snapshot(index=state.index, resume=resume, log_from=old.resume)
        async for chunk in _chunks(encode(state)):
            await self._fenced(epoch, put(self._keys.chunk(state.index, meta.chunks), chunk))
            meta.chunks, meta.size = meta.chunks + 1, meta.size + len(chunk)
            meta.crc = zlib.crc32(chunk, meta.crc)
        await self._fenced(epoch, put(self._keys.snapshot, meta.SerializeToString()))
        log.info("snapshot written", index=state.index, chunks=meta.chunks)
        await self._sweep(state.index, epoch)
        await self._trim(old.log_from, meta.log_from, epoch)
        await self._compact(compacts)

    async def _sweep(self, index: int, epoch: int) -> None:
        """Removes the chunks of all other snapshots: older ones, and ones that nobody finished."""
        ours = self._keys.chunks_of(index)
        await self._fenced(
            epoch,
            delete(self._keys.chunks, ours),
            delete(after_prefix(ours), after_prefix(self._keys.chunks)),
        )

    async def _trim(self, first: int, end: int, epoch: int) -> None:
        """Removes commands below `end`. Servers that are further behind read the snapshot."""
        keys = self._keys
        for start in range(first, end, limits.TRIM_STEP_COMMANDS):
            stop = min(end, start + limits.TRIM_STEP_COMMANDS)
            await self._fenced(
                epoch,
                delete(keys.log(start), keys.log(stop)),
                delete(keys.parts_of(start), keys.parts_of(stop)),
            )

    async def _compact(self, compacts: bool) -> None:
        """Drops etcd's history up to the trimming before this one, which frees what that one removed."""
        if compacts and self._compactable:
            await self._etcd.compact(self._compactable)
        self._compactable = self._etcd.history.revision

    async def _fenced(self, epoch: int, *requests: pb.RequestOp) -> None:
        if not (await self._etcd.txn(self._seat.fence(epoch), requests)).succeeded:
            self._seat.vacate()
            raise NotReady("this server lost its leadership while it wrote a snapshot")


async def _chunks(records: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Records packed into pieces that fit a request; a piece may begin within a record."""
    waiting = bytearray()
    clock = asyncio.get_running_loop().time
    for part in slices(records, clock, replica_limits.SNAPSHOT_SLICE_S):
        waiting += pack(part)
        await asyncio.sleep(0)
        while len(waiting) >= limits.CHUNK_BYTES:
            yield bytes(waiting[: limits.CHUNK_BYTES])
            del waiting[: limits.CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)


async def _decoded(chunks: list[bytes], meta: Snapshot) -> State:
    records = await asyncio.to_thread(lambda: list(unpack(chunks, meta)))
    state = await in_slices(decode_steps(records), replica_limits.SNAPSHOT_SLICE_S)
    if state.index != meta.index:
        raise LogCorrupt(
            f"etcd: the snapshot of index {meta.index} says that it is of {state.index}; restore a backup"
        )
    return state

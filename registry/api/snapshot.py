"""`/v1/snapshot`: the whole state as one archive, and back."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from typing import IO

from weft import __version__

from ..catalog import snapshot
from ..catalog.state import State
from ..errors import NotReady
from ..operator.archive import ARCHIVE_BYTES_MAX, SPOOL_BYTES, Meta, StateWriter, read_archive
from ..operator.restore import restore
from ..replica.limits import SNAPSHOT_SLICE_S
from .blocking import gate
from .errors import BodyTooLarge
from .handling import Call
from .query import Consistency
from .respond import Reply

ARCHIVE_TYPE = "application/x-gzip"


async def save(call: Call) -> Reply:
    """An archive of the state; with `?stale` of what this server has."""
    log = call.parts.log
    await gate(log, Consistency.STALE if call.query.flag("stale") else Consistency.DEFAULT)
    state, term = log.view(), log.status().term
    if state.cluster is None:
        raise NotReady("the cluster has no name yet, so there is nothing to save")
    with closing(StateWriter()) as writer:
        await _encode(state, writer)
        packed = await asyncio.to_thread(writer.pack, _meta(call, state, term, writer))
    headers = {"X-Consul-Index": str(state.index), "Cache-Control": "no-store"}
    return Reply(200, b"", ARCHIVE_TYPE, headers, file=packed)


async def _encode(state: State, writer: StateWriter) -> None:
    """In slices, from a view that cannot change: writes and elections go on."""
    clock = asyncio.get_running_loop().time
    for part in snapshot.slices(snapshot.encode(state), clock, SNAPSHOT_SLICE_S):
        await asyncio.to_thread(writer.write, part)


def _meta(call: Call, state: State, term: int, writer: StateWriter) -> Meta:
    cluster = state.cluster
    return Meta(
        index=state.index,
        term=term,
        cluster_id=cluster.id if cluster else "",
        datacenter=cluster.datacenter if cluster else "",
        trust_domain=cluster.trust_domain if cluster else "",
        created_ms=call.parts.writer.now_ms(),
        weft=__version__,
        records=writer.records,
        size=writer.size,
    )


async def put(call: Call) -> Reply:
    """Puts the state of the archive in the place of the cluster's; answers once it is there."""
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as body:
        await _receive(call.upload, body)
        archive = await asyncio.to_thread(read_archive, body)
    with archive:
        await restore(call.parts.writer, archive.records(), call.parts.entropy)
    return Reply()


async def _receive(upload: AsyncIterator[bytes] | None, into: IO[bytes]) -> None:
    size = 0
    if upload is not None:
        async for block in upload:
            size += len(block)
            if size > ARCHIVE_BYTES_MAX:
                raise BodyTooLarge(ARCHIVE_BYTES_MAX, size)
            into.write(block)
    into.seek(0)

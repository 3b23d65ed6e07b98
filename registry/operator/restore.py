"""Sends a snapshot into the log, part by part. Nothing changes before the last part is applied."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import structlog

from weft.errors import WeftError

from ..agent.writer import Entropy, Writer
from ..catalog import commands
from ..catalog.operator import RESTORE_ID_BYTES, digest_of

log = structlog.get_logger(__name__)

PART_BYTES = 256 * 1024  # of records in a command: far below what a command may have, and soon replicated


async def restore(writer: Writer, records: Iterator[bytes], entropy: Entropy) -> None:
    """Returns once the state is the snapshot's. Raises what Log.propose raises; Conflict when another
    restore has begun meanwhile, InvalidCommand when the snapshot does not fit this cluster."""
    whole = await asyncio.to_thread(list, records)
    digest = await asyncio.to_thread(digest_of, whole)
    restore_id = entropy(RESTORE_ID_BYTES)
    try:
        parts = _parts(whole)
        for number, part in enumerate(parts):
            last = digest if number == len(parts) - 1 else b""
            await _send(writer, restore_id, number, part, last)
    except BaseException:
        with suppress(WeftError):  # what was collected is dropped now, or by the next restore
            await _send(writer, restore_id, 0, [], b"")
        raise
    log.warning("the state was restored from a snapshot", records=len(whole))


async def _send(writer: Writer, restore_id: bytes, number: int, part: list[bytes], digest: bytes) -> None:
    await writer.propose(lambda stamp: commands.restore(stamp, restore_id, number, part, digest))


def _parts(records: list[bytes]) -> list[list[bytes]]:
    parts: list[list[bytes]] = [[]]
    size = 0
    for record in records:
        if parts[-1] and size + len(record) > PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(record)
        size += len(record)
    return parts

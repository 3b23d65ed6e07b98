"""What draining instances still carry, as the output of the check that takes them out.

There it is seen by everyone, whichever server holds the sidecar's stream.
"""

import asyncio

import structlog

from weft.aio import Tasks
from weft.errors import WeftError
from weft.pb.mesh.v1 import mesh_pb2 as pb

from ..agent.writer import Writer
from ..catalog import commands
from ..catalog.model import SERVICE_MAINTENANCE, Check
from ..catalog.state import State

log = structlog.get_logger(__name__)

PAUSE_S = 0.5
"""Between two writes for one instance: sidecars report once a second, and each report may be a write."""


class Drains:
    """Takes reports in and writes those that say something new."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._tasks = Tasks()
        self._busy: set[str] = set()

    async def close(self) -> None:
        await self._tasks.close()

    def told(self, instance_key: str, open_: pb.Open) -> None:
        """One write at a time for each instance; what comes too soon is left out, as more will come."""
        check = draining_check(self._writer.view(), instance_key)
        output = progress(open_)
        if check is None or check.output == output or instance_key in self._busy:
            return
        self._busy.add(instance_key)
        self._tasks.spawn(self._write(instance_key, check, output), f"drain of {instance_key}")

    async def _write(self, instance_key: str, check: Check, output: str) -> None:
        try:
            await self._writer.propose(
                lambda stamp: commands.update_check(stamp, check.node, check.id, check.status, output)
            )
            await asyncio.sleep(PAUSE_S)
        except WeftError as error:
            log.warning("progress of a drain is not written", instance=instance_key, reason=str(error))
        finally:
            self._busy.discard(instance_key)


def progress(open_: pb.Open) -> str:
    """For people, and for `weft drain`, which reads the two numbers."""
    return f"{open_.requests} requests open, {open_.begun} begun since"


def draining_check(state: State, instance_key: str) -> Check | None:
    """The check by which the instance's sidecar is in maintenance; None where it is not."""
    row = state.instance(instance_key).rows
    if row is None:
        return None
    proxies = (row,) if row.proxy is not None else state.sidecars_of(row)
    found = (state.checks.get((proxy.node, SERVICE_MAINTENANCE + proxy.id)) for proxy in proxies)
    return next(filter(None, found), None)

"""The process that replaces this one: the same command once more, from what lies on the disk now."""

import asyncio
import os
import subprocess
import sys

import structlog

FLAG = "--takeover"

log = structlog.get_logger(__name__)


def command() -> list[str]:
    """This process's own command line, with the flag that makes it take over."""
    words = [sys.executable, *sys.orig_argv[1:]]
    return words if FLAG in words else [*words, FLAG]


class Successor:
    """`pid` is 0 where none is on its way."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def run(self) -> None:
        """Starts it, unless one is on its way, and says so if it fails. It outlives us."""
        if self._process is not None:
            log.warning("a successor is on its way", pid=self.pid)
            return
        try:
            process = self._process = await asyncio.to_thread(subprocess.Popen, command())
        except OSError as error:
            log.error("the successor cannot be started; we go on", error=str(error))
            return
        log.info("a successor is started", pid=process.pid)
        await ended(process.pid)
        log.error("the successor ended; we go on", exit_code=process.poll())
        self._process = None


async def ended(pid: int) -> None:
    """Waits for the end of a child. Not by a thread: it would keep us from ending before our successor."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

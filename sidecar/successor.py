"""The process that replaces this one: the same command once more, from what lies on the disk now."""

import asyncio
import os
import subprocess
import sys

import structlog

FLAG = "--takeover"
PID_BYTES_MAX = 20
# It is forked twice, so that its parent is the machine's first process: a service manager waits for its main
# process, when that is asked to end, only where it is its child.
_DETACH = """
import os, sys
told = int(sys.argv[1])
successor = os.fork()
if successor:
    os.write(told, b"%d" % successor)
    os._exit(0)
os.close(told)
os.execv(sys.argv[2], sys.argv[2:])
"""

log = structlog.get_logger(__name__)


def command() -> list[str]:
    """This process's own command line, with the flag that makes it take over."""
    words = [sys.executable, *sys.orig_argv[1:]]
    return words if FLAG in words else [*words, FLAG]


class Successor:
    """`pid` is 0 where none is on its way."""

    def __init__(self) -> None:
        self.pid = 0

    async def run(self) -> None:
        """Starts it, unless one is on its way, and says so if it fails. It outlives us."""
        if self.pid:
            log.warning("a successor is on its way", pid=self.pid)
            return
        try:
            self.pid = await asyncio.to_thread(_start)
        except (OSError, ValueError) as error:
            log.error("the successor cannot be started; we go on", error=str(error))
            return
        log.info("a successor is started", pid=self.pid)
        await ended(self.pid)
        log.error("the successor ended; we go on", pid=self.pid)
        self.pid = 0


def _start() -> int:
    """In a thread. Its process id. Raises OSError, ValueError."""
    read, told = os.pipe()
    try:
        words = [sys.executable, "-ISc", _DETACH, str(told), *command()]
        subprocess.run(words, pass_fds=[told], stdin=subprocess.DEVNULL, check=False)
        os.set_blocking(read, False)
        return int(os.read(read, PID_BYTES_MAX))
    finally:
        os.close(read)
        os.close(told)


async def ended(pid: int) -> None:
    """Waits for the end of a process, not by a thread: it would keep us from ending before our successor."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

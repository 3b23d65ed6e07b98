"""The process of `weft dev`, `weft server` or `weft agent`: started, told about, ended by a signal."""

import asyncio
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from .. import systemd
from ..aio import Tasks
from ..collection import Collector, settle
from ..errors import EnvironmentProblem, WeftError

log = structlog.get_logger(__name__)
P = TypeVar("P", bound="Process")
SWITCH_INTERVAL_S = 0.0005
"""How long the log's thread, with a write that is on disk, waits for the interpreter while the event loop is
busy. CPython's own 5 ms would be longer than the write."""


DESCRIPTORS = 65_536
"""Open files, of which connections are the most: HTTP and gRPC take 20,000 each at most."""


class Process(Protocol):
    """What runs until a signal."""

    tasks: Tasks
    leaving: asyncio.Event  # set where somebody has asked it to end

    async def failed(self) -> BaseException:
        """Returns only when it has to end."""

    def told(self) -> dict[str, str]:
        """Where it listens, for the ready file."""

    async def reload(self) -> None:
        """Reads again what may be changed while it runs. Raises WeftError; then nothing is changed."""

    async def close(self) -> None: ...


def serve(start: Callable[[], Awaitable[P]], tell: Callable[[P], None], ready_file: Path | None) -> None:
    """`run` on an event loop of its own: uvloop, which takes a third of the time per message."""
    import uvloop

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _take_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(start, tell, ready_file))


def _take_descriptors() -> None:
    """As many as the machine allows: a shell's soft limit of 1,024 would be the bound for clients, and who
    comes last would get no answer at all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def run(start: Callable[[], Awaitable[P]], tell: Callable[[P], None], ready_file: Path | None) -> None:
    """Returns on SIGINT or SIGTERM; SIGHUP reloads. Once everything listens `tell` is called, and the file
    written.

    Raises what `start` raises, and what the process must not go on without.
    """
    stop = asyncio.Event()
    collector = Collector()
    process = await _started(start, stop)
    if process is None:
        return
    settle()  # the modules and tables that are there now stay
    process.tasks.spawn(collector.run(), "garbage collection")
    try:
        tell(process)
        if ready_file is not None:
            _write(process, ready_file)
        systemd.notify("READY=1")
        process.tasks.spawn(systemd.feed_watchdog(), "watchdog")
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: process.tasks.spawn(_reload(process), "reload"))
        await _until(stop, process)
    finally:
        systemd.notify("STOPPING=1")
        await process.close()


async def _reload(process: Process) -> None:
    try:
        await process.reload()
    except WeftError as error:
        log.error("nothing is reloaded", reason=str(error))


async def _started(start: Callable[[], Awaitable[P]], stop: asyncio.Event) -> P | None:
    """None where a signal came first: an agent that has yet to join may wait long for its servers."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    starting = True

    def end() -> None:
        stop.set()
        if starting:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        return await start()
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        return None
    finally:
        starting = False


async def _until(stop: asyncio.Event, process: Process) -> None:
    """Returns on a signal, or when asked to leave. Raises what the process failed with."""
    stopped = process.tasks.spawn(stop.wait(), "signals")
    failed = process.tasks.spawn(process.failed(), "failure")
    left = process.tasks.spawn(process.leaving.wait(), "departure")
    await asyncio.wait((stopped, failed, left), return_when=asyncio.FIRST_COMPLETED)
    if not failed.done():
        return
    failure = failed.result()
    if isinstance(failure, WeftError):
        raise failure
    raise EnvironmentProblem(f"the log had to stop: {failure}; start again once it is mended") from failure


def _write(process: Process, ready_file: Path) -> None:
    import orjson

    from ..files import write_private

    write_private(ready_file, orjson.dumps(process.told()))

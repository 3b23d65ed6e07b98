"""A registry as the process of `weft dev` or `weft server`: started, told about, ended by a signal."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..collection import Collector, settle
from ..errors import EnvironmentProblem, WeftError

if TYPE_CHECKING:
    from registry.process import Registry, Settings


SWITCH_INTERVAL_S = 0.0005
"""How long the log's thread, with a write that is on disk, waits for the interpreter while the event loop is
busy. CPython's own 5 ms would be longer than the write."""


def serve(settings: "Settings", tell: Callable[["Registry"], None], ready_file: Path | None) -> None:
    """`run` on an event loop of its own: uvloop, which takes a third of the time per message."""
    import uvloop

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, tell, ready_file))


async def run(settings: "Settings", tell: Callable[["Registry"], None], ready_file: Path | None) -> None:
    """Returns on SIGINT or SIGTERM. `tell` is called, and the file written, once everything listens.

    Raises what `Registry.start` raises, and what the process must not go on without.
    """
    from registry.process import Registry

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    collector = Collector()
    registry = await Registry.start(settings)
    settle()  # the modules and tables that are there now stay
    registry.tasks.spawn(collector.run(), "garbage collection")
    try:
        tell(registry)
        if ready_file is not None:
            _write(registry, ready_file)
        await _until(stop, registry)
    finally:
        await registry.close()


async def _until(stop: asyncio.Event, registry: "Registry") -> None:
    """Returns on a signal. Raises what the registry failed with."""
    stopped = registry.tasks.spawn(stop.wait(), "signals")
    failed = registry.tasks.spawn(registry.failed(), "failure")
    await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
    if not failed.done():
        return
    failure = failed.result()
    if isinstance(failure, WeftError):
        raise failure
    raise EnvironmentProblem(f"the log had to stop: {failure}; start again once it is mended") from failure


def _write(registry: "Registry", ready_file: Path) -> None:
    import orjson

    from ..files import write_private

    told = {
        "http": registry.http,
        "https": registry.https,
        "grpc": registry.grpc,
        "dns": registry.dns,
        "server": registry.log.address,
        "server_id": registry.log.server_id,
        "node": registry.node,
        "registry_ca_pem": registry.registry_ca_pem,
        "trust_domain": registry.trust_domain,
    }
    write_private(ready_file, orjson.dumps(told))

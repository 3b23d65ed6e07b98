"""Script checks: a program is run, and its exit code is the verdict.

They run whatever the registration says with the agent's rights, so they are off unless the operator turns
them on (trap 28). There is no shell: `Args` are the words of the command line. The program gets a process
group of its own, which is killed as a whole when its time is over, and a small environment: what the agent
holds (tokens, key files, its socket to systemd) is no business of a script.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from enum import Enum

from ..catalog.model import CRITICAL, PASSING, WARNING, CheckDefinition
from .errors import InvalidDefinition
from .status import Outcome

TIMEOUT_DEFAULT_S = 30.0  # Consul's; programs are slower than sockets
OUTPUT_BYTES_DEFAULT = 4096  # Consul's OutputMaxSize, and what the catalog keeps
DRAIN_S = 1.0  # for output that is still in the pipe once the program has ended
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")
_STATUS_OF_EXIT = {0: PASSING, 1: WARNING}


class ScriptPolicy(Enum):
    """Where script checks may come from: nowhere, this machine's files, or the HTTP API as well."""

    OFF = "off"
    LOCAL = "local"
    ALL = "all"


def refuse_scripts(policy: ScriptPolicy, *, local: bool) -> None:
    """Raises InvalidDefinition, in Consul's words, where a script check may not be registered."""
    if policy is ScriptPolicy.OFF:
        raise InvalidDefinition(
            "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or "
            "'enable_local_script_checks' to true"
        )
    if policy is ScriptPolicy.LOCAL and not local:
        raise InvalidDefinition(
            "Scripts are disabled on this agent from remote calls; to enable, configure "
            "'enable_script_checks' to true"
        )


async def run_script(definition: CheckDefinition) -> Outcome:
    """Exit code 0 passes, 1 warns, anything else is critical. Raises OSError where it cannot be started."""
    tail = _Tail(definition.output_bytes_max or OUTPUT_BYTES_DEFAULT)
    timeout_s = definition.timeout_ms / 1000 or TIMEOUT_DEFAULT_S
    reading, writing = os.pipe()
    try:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: tail, os.fdopen(reading, "rb", 0)
        )
        try:
            code = await _run(definition.args, writing, timeout_s)
            os.close(writing)
            writing = -1
            with contextlib.suppress(TimeoutError):  # somebody who left the group still holds the pipe
                await asyncio.wait_for(asyncio.shield(tail.ended), DRAIN_S)
        finally:
            transport.close()
    finally:
        if writing >= 0:
            os.close(writing)
    if code is None:
        return Outcome(CRITICAL, f"Timed out ({timeout_s:g}s) running check\n{tail.text()}".strip())
    return Outcome(_STATUS_OF_EXIT.get(code, CRITICAL), tail.text())


async def _run(args: tuple[str, ...], output: int, timeout_s: float) -> int | None:
    """The exit code; None when the time was over. Nobody of its process group is left."""
    process = await asyncio.create_subprocess_exec(
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env=_environment(os.environ),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in own.items() if name in _PASSED_ON or name.startswith("LC_")}


class _Tail(asyncio.Protocol):
    """Keeps the end of what is written, in bounded memory: the reason stands last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self._seen = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._seen += len(data)
        self._kept += data
        del self._kept[: -self._most]

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def text(self) -> str:
        """In Consul's form where something is left out."""
        shown = self._kept.decode(errors="replace").replace("\0", "")
        if self._seen <= self._most:
            return shown
        return f"Captured {self._most} of {self._seen} bytes\n...\n{shown}"

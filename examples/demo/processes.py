"""Child processes that never outlive their starter."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
TETHER = Path(__file__).with_name("tether.py")
STOP_GRACE_S = 10.0
LOG_TAIL_BYTES = 4096


# Linux sends PR_SET_PDEATHSIG when the *thread* that made the child ends, so all are made by one that
# lives as long as the process.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def _spawn(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-IS", str(TETHER), str(os.getpid()), *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the starter alone, who ends us in order
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )


class Child:
    """One running process. Its output goes to `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self._process = _SPAWNER.submit(_spawn, command, log).result()
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def said(self) -> str:
        """The end of what it printed."""
        text = self.log.read_bytes()
        return text[-LOG_TAIL_BYTES:].decode(errors="replace")

    def rss_bytes(self) -> int:
        """Resident memory, from /proc."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class Processes:
    """Children that are ended together, in the reverse order of their start."""

    def __init__(self, logs: Path, stop_grace_s: float = STOP_GRACE_S) -> None:
        self._logs = logs
        self._stop_grace_s = stop_grace_s
        self._children: list[Child] = []

    def start(self, name: str, command: Sequence[str]) -> Child:
        child = Child(name, command, self._logs / f"{name}.log")
        self._children.append(child)
        return child

    def start_python(self, name: str, module: str, *arguments: str) -> Child:
        """Runs `python -m <module>` with this interpreter."""
        return self.start(name, [sys.executable, "-m", module, *arguments])

    def start_weft(self, name: str, *arguments: str) -> Child:
        """Runs the `weft` command with this interpreter."""
        return self.start_python(name, "weft", *arguments)

    def died(self) -> list[Child]:
        """Children that ended although nobody asked them to."""
        return [child for child in self._children if child.exit_code is not None]

    def forget(self, child: Child) -> None:
        """Stops watching a child that was ended on purpose."""
        self._children.remove(child)

    def stop(self) -> list[str]:
        """Asks all to end, then insists. Afterwards none is left.

        Answers the names of those that did not end well: killed after the grace, or exit code not 0.
        """
        for child in reversed(self._children):
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._stop_grace_s
        unclean = []
        for child in reversed(self._children):
            try:
                code = child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                code = -signal.SIGKILL
            if code:
                unclean.append(f"{child.name} ({code})")
        self._children.clear()
        return unclean

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

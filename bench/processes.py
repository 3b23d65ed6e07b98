"""Child processes of the benchmark: started, waited for, and ended by pid whatever happens."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .errors import NotReady

_POLL_S = 0.02
_END_GRACE_S = 10.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A process whose output goes to a log file; leaving the context ends it."""

    def __init__(self, name: str, command: Sequence[str], logs: Path, *, talks: bool = False) -> None:
        """`talks`: its stdin and stdout are pipes that carry lines of JSON."""
        self.name = name
        self.log = logs / f"{name}.log"
        pipe = subprocess.PIPE if talks else None
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=pipe or subprocess.DEVNULL, stdout=pipe or log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """As a machine that loses power."""
        self._process.kill()
        self._process.wait()

    def ask(self, line: str = "") -> dict[str, Any]:
        """Sends a line and reads the answer. Raises NotReady if the process has ended."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self.failure("ended") from None
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Reads one line of JSON. Raises NotReady if the process has ended."""
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            raise self.failure("ended")
        return dict(json.loads(answer))

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        """Returns when `ready()` is true. Raises NotReady when the process ends or the time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._process.poll() is not None:
                raise self.failure(f"ended with code {self._process.returncode} before {what}")
            if time.monotonic() > deadline:
                raise self.failure(f"took longer than {timeout_s:.0f} s until {what}")
            time.sleep(_POLL_S)

    def failure(self, happened: str) -> NotReady:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return NotReady(f"{self.name} {happened}: {lines[-1][:300] if lines else 'it logged nothing'}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.terminate()
        try:
            self._process.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def listening(port: int) -> Callable[[], bool]:
    """A condition for `wait_until`: something accepts connections on 127.0.0.1:port."""

    def ready() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return ready


def end_on_signals() -> None:
    """SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that every child is ended."""

    def unwind(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, unwind)


def start_backend(stack: ExitStack, logs: Path, *, http1: bool = False) -> tuple[Child, int]:
    """The backend and its port."""
    command = [sys.executable, "-m", "bench.backend", *(["--http1"] if http1 else [])]
    child = stack.enter_context(Child("backend", command, logs, talks=True))
    return child, int(child.hear()["port"])

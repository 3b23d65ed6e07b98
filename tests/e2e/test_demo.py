"""The demo proves itself; here: what it leaves behind, and that it survives taken ports."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo.mesh import HTTP_PORT, ORDERS_PORT, PUBLIC_PORT
from examples.demo.processes import ROOT
from tests.support.waiting import until

DEADLINE_S = 120.0
MARK = "WEFT_DEMO_TEST"


class Demo:
    """A running demo whose whole family can be told by an environment variable."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._mark = f"{MARK}={uuid.uuid4()}".encode()
        self._output = folder / "output"
        name, value = self._mark.decode().split("=")
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "examples.demo", *arguments],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {name: value, "TMPDIR": str(folder)},
            )

    def said(self) -> str:
        return self._output.read_text()

    def family(self) -> list[int]:
        """Processes that are or descend from the demo, itself included."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if self._mark in environ.read_bytes():
                    found.append(int(environ.parent.name))
        return found


@contextlib.contextmanager
def demo(*arguments: str) -> Iterator[Demo]:
    with tempfile.TemporaryDirectory(prefix="weft-test-") as folder:
        running = Demo(Path(folder), *arguments)
        try:
            yield running
        finally:
            running.process.kill()
            running.process.wait()


@contextlib.contextmanager
def taken(*ports: int) -> Iterator[list[int]]:
    """Listens on those of the ports that are free, and gives them."""
    with contextlib.ExitStack() as stack:
        held = []
        for port in ports:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                listener.listen()
                held.append(port)
        yield held


async def test_once_verifies_every_step_on_other_ports_and_leaves_nothing() -> None:
    with taken(HTTP_PORT, ORDERS_PORT, PUBLIC_PORT) as held, demo("--once") as running:
        assert held, "all default ports are somebody else's"
        await until(lambda: running.process.poll() is not None, "the demo ends", DEADLINE_S)
        said = running.said()
        assert running.process.returncode == 0, said
        for port in held:
            assert re.search(rf"port {port} \(.*\) is taken, using \d+", said)
        assert "Every step was verified" in said
        assert running.family() == []
        assert sorted(path.name for path in running._output.parent.iterdir()) == ["output"]


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGINT, "1. "),
        (signal.SIGKILL, "2. "),
        pytest.param(signal.SIGTERM, "3. ", marks=pytest.mark.long),
        pytest.param(signal.SIGINT, "Ctrl-C ends it", marks=pytest.mark.long),
    ],
    ids=["SIGINT early", "SIGKILL", "SIGTERM", "SIGINT at the end"],
)
async def test_an_interrupt_leaves_no_process(number: signal.Signals, when: str) -> None:
    with demo() as running:
        process = running.process
        await until(
            lambda: when in running.said() or process.poll() is not None, f"it says {when}", DEADLINE_S
        )
        assert process.poll() is None, running.said()
        process.send_signal(number)
        await until(lambda: process.poll() is not None, "it ends", 30)
        await until(lambda: running.family() == [], "all have ended")
        assert process.returncode == (-number if number == signal.SIGKILL else 130)

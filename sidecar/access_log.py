"""Writes the access log: lines in batches, from a thread, so that a slow disk or pipe slows no request.

A file is opened anew on SIGHUP, after whoever rotates logs has moved it.
"""

import asyncio
import errno
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from .events import ACCESS_LOG_LINES
from .outlets import LogLines
from .telemetry import Telemetry

PAUSE_S = 0.5  # how late a line may be
UNREAD_S = 1.0  # for whoever reads a full pipe
WRITE_BYTES_MAX = select.PIPE_BUF  # so much goes into a pipe in one piece, whoever else writes to it
FILE_MODE = 0o640  # it names callers and paths

log = structlog.get_logger(__name__)


class AccessLog:
    """`run` is its task. `use` says where to: a path, or "" for standard output."""

    def __init__(self, lines: LogLines, telemetry: Telemetry) -> None:
        self._lines = lines
        self._telemetry = telemetry
        self._path = ""
        self._file: int | None = None  # descriptor; None until something is written
        self._failing = False
        self._writing = asyncio.Lock()

    async def use(self, path: str) -> None:
        """What waits still goes where it was meant to."""
        if path != self._path:
            await self.flush()
            self._path = path
            await self.reopen()

    async def reopen(self) -> None:
        """The next line opens the file by its name."""
        async with self._writing:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_S)
            await self.flush()

    async def flush(self) -> None:
        async with self._writing:
            if lines := self._lines.take():
                written = await asyncio.to_thread(self._write, b"".join(lines))
                self._telemetry.count(ACCESS_LOG_LINES, "written" if written else "dropped").value += len(
                    lines
                )

    async def close(self) -> None:
        await self.flush()
        await self.reopen()

    def _write(self, text: bytes) -> bool:
        """In a thread."""
        try:
            target = self._open() if self._path else sys.stdout.fileno()
            for part in _whole_lines(text):
                _put(target, part)
        except (OSError, ValueError) as error:
            if not self._failing:
                log.error("the access log cannot be written", path=self._path or "stdout", error=str(error))
            self._failing = True
            return False
        self._failing = False
        return True

    def _open(self) -> int:
        if self._file is None:
            # O_NONBLOCK: a named pipe that nobody reads refuses, rather than letting us wait for a reader.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._file = os.open(Path(self._path), flags, FILE_MODE)
        return self._file


def _put(target: int, text: bytes) -> None:
    """Raises OSError, also where nobody reads a pipe: its writer must neither wait for ever nor keep us."""
    ready = select.poll()
    ready.register(target, select.POLLOUT)
    while text:
        if not ready.poll(UNREAD_S * 1000):
            raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")
        text = text[os.write(target, text[:WRITE_BYTES_MAX]) :]


def _whole_lines(text: bytes) -> Iterator[bytes]:
    """Parts that end with a line: workers of one sidecar share its standard output."""
    while text:
        end = text.rfind(b"\n", 0, WRITE_BYTES_MAX) + 1 or text.find(b"\n") + 1 or len(text)
        yield text[:end]
        text = text[end:]

"""Writes without end and prints what was answered: killed by test_kill.py."""

import asyncio
import os
import sys
from pathlib import Path

import structlog

from registry.catalog import commands
from registry.replica.replica import Replica
from tests.support.catalog import intention


async def _write(log: Replica, writer: int) -> None:
    for number in range(1_000_000):
        row = intention(f"w{writer}", f"n{number}")
        result = await log.propose(commands.set_intention(commands.Stamp(1, os.urandom(16)), row))
        os.write(1, f"{result.index} {writer} {number}\n".encode())


async def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for answers
    log = await Replica.open(Path(sys.argv[1]), snapshot_after_bytes=20_000)
    await asyncio.gather(*(_write(log, writer) for writer in range(8)))


if __name__ == "__main__":
    asyncio.run(main())

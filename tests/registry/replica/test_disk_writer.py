"""Writes in the background: what is told, by the kernel's ring and by the thread that stands in for it."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.replica.disk import DirectoryDisk
from registry.replica.disk_writer import KernelWriter, ThreadWriter, disk_writer

Writer = KernelWriter | ThreadWriter


@pytest.fixture(params=[KernelWriter, ThreadWriter], ids=["io_uring", "thread"])
async def writer(request: pytest.FixtureRequest) -> AsyncIterator[Writer]:
    try:
        made = request.param()
    except (ImportError, OSError) as error:
        pytest.skip(f"this kernel allows no io_uring: {error}")
    yield made
    made.close()


async def _written(writer: Writer, handle: int, data: bytes, offset: int) -> int:
    outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    writer.write(handle, data, offset, outcome.set_result)
    return await asyncio.wait_for(outcome, 20)


async def test_bytes_are_where_they_were_put(writer: Writer, tmp_path: Path) -> None:
    handle = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY | os.O_DSYNC)
    try:
        assert await _written(writer, handle, b"one", 0) == 3
        assert await _written(writer, handle, b"two" * 100_000, 3) == 300_000
        assert await _written(writer, handle, b"ONE", 0) == 3
    finally:
        os.close(handle)
    assert (tmp_path / "log").read_bytes() == b"ONE" + b"two" * 100_000


async def test_a_failure_is_told_as_its_number(writer: Writer, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    handle = os.open(tmp_path / "log", os.O_RDONLY)
    try:
        assert await _written(writer, handle, b"one", 0) == -errno.EBADF
    finally:
        os.close(handle)


async def test_a_file_of_the_log_takes_writes_where_room_is_reserved(writer: Writer, tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path)
    disk.writer = writer
    file = disk.create("log-1", log=True)
    results: list[int] = []
    told = asyncio.Event()

    def done(result: int) -> None:
        results.append(result)
        told.set()

    assert not file.begin(b"no room", done)
    file.append(b"head")
    file.reserve(100)
    assert disk.read("log-1") == b"head" + bytes(96)
    assert file.begin(b"-body", done)
    await asyncio.wait_for(told.wait(), 20)
    assert results == [5]
    assert not file.begin(b"x" * 92, done)
    file.append(b"-tail")
    file.truncate(14)
    assert disk.read("log-1") == b"head-body-tail"
    file.close()


async def test_there_is_always_one() -> None:
    disk_writer().close()

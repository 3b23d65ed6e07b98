"""The audit log on a disk: batches, turning over, restarts, and disks that take nothing."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.audit import batch as batch_module
from registry.audit import log as log_module
from registry.audit.chain import GENESIS, line_of
from registry.audit.errors import AuditFileUnusable, AuditUnavailable
from registry.audit.event import Event, Outcome
from registry.audit.files import AuditFiles, in_order
from registry.audit.log import DENIALS_BURST, AuditLog
from registry.audit.settings import AuditSettings
from registry.audit.verify import Place, Report, verify
from tests.support.registry import TIMEOUT_S, until
from weft.clock import SystemClock


@asynccontextmanager
async def running(settings: AuditSettings) -> AsyncIterator[AuditLog]:
    clock = SystemClock()
    log = AuditLog(settings, clock.wall, clock.monotonic)
    try:
        yield log
    finally:
        await log.close()


def write(log: AuditLog, *names: object) -> None:
    for name in names:
        log.record(Event("PUT /v1/kv/:key", Outcome.DONE, f"/v1/kv/{name}"))


def files_of(path: Path) -> list[Path]:
    return in_order(it for it in path.parent.glob("audit.log*") if it.suffix != ".head")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files_of(path) for line in file.read_bytes().splitlines()]


def checked(path: Path) -> Report:
    return verify(
        (Place(file.name, number), line)
        for file in files_of(path)
        for number, line in enumerate(file.read_bytes().splitlines(), 1)
    )


def resources(path: Path) -> list[str]:
    return [it["resource"] for it in lines_of(path) if it["operation"].startswith("PUT")]


async def test_what_was_written_is_there_when_written_returns(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running(AuditSettings(path)) as log:
        write(log, 1, 2)
        await log.written()
        assert resources(path) == ["/v1/kv/1", "/v1/kv/2"]
        await asyncio.gather(*(one(log, number) for number in range(50)))
    assert len(resources(path)) == 52
    assert checked(path).wrong == ""
    assert path.stat().st_mode & 0o777 == 0o600


async def one(log: AuditLog, number: int | str) -> None:
    write(log, number)
    await log.written()


async def test_the_chain_goes_on_over_turned_files_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    settings = AuditSettings(path, file_bytes=3000)
    for run in range(3):
        async with running(settings) as log:
            for number in range(10):
                await one(log, f"{run}-{number}")
    assert len(files_of(path)) > 3
    assert resources(path) == [f"/v1/kv/{run}-{number}" for run in range(3) for number in range(10)]
    found = checked(path)
    assert (found.wrong, found.first_seq, found.lines) == ("", 1, 36)
    begins = [it for it in lines_of(path) if it["operation"] == "audit begin"]
    assert [it["outcome"] for it in begins] == ["done"] * 3
    assert all(file.stat().st_size <= 3000 for file in files_of(path))


async def test_only_so_many_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running(AuditSettings(path, file_bytes=2000, files=3)) as log:
        for number in range(40):
            await one(log, number)
    assert len(files_of(path)) == 3
    found = checked(path)
    assert (found.wrong, found.head.seq) == ("", 42)
    assert found.first_seq > 20


async def test_a_line_that_a_crash_cut_off_is_no_tampering(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running(AuditSettings(path)) as log:
        write(log, 1)
    with path.open("ab") as file:
        file.write(b'{"seq":4,"prev":"')
    async with running(AuditSettings(path)) as log:
        write(log, 2)
    assert checked(path).wrong == ""
    begin = [it for it in lines_of(path) if it["operation"] == "audit begin"][-1]
    assert (begin["outcome"], begin["detail"]["torn_bytes"]) == ("done", 17)


async def test_lines_that_went_while_the_server_was_away_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running(AuditSettings(path)) as log:
        write(log, 1, 2)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:-2]))
    async with running(AuditSettings(path)) as log:
        write(log, 3)
    begin = [it for it in lines_of(path) if it["operation"] == "audit begin"][-1]
    assert begin["outcome"] == "failed"
    assert "are gone" in begin["reason"]
    assert begin["seq"] == len(whole) + 1  # no number is given twice
    assert "2 lines before this one were removed" in checked(path).wrong


async def test_a_log_that_is_gone_begins_again_and_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running(AuditSettings(path)) as log:
        write(log, 1)
    path.unlink()
    async with running(AuditSettings(path)) as log:
        write(log, 2)
    assert (lines_of(path)[0]["seq"], lines_of(path)[0]["prev"]) == (4, GENESIS)
    assert "removed" in checked(path).wrong


async def test_a_changed_last_line_is_told_of_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running(AuditSettings(path)) as log:
        write(log, 1)
    path.write_bytes(path.read_bytes().replace(b"audit end", b"nothing!!"))
    async with running(AuditSettings(path)):
        pass
    assert lines_of(path)[3]["reason"] == "the last line was changed"
    found = checked(path)
    assert ("changed" in found.wrong, found.place) == (True, Place("audit.log", 3))


class FullDisk:
    """Takes `room` bytes, then nothing, as a full file system does: parts of a line too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self.refused = 0
        self._pwrite = os.pwrite
        monkeypatch.setattr("registry.audit.files.os.pwrite", self.pwrite)

    async def refuses(self, times: int) -> None:
        wanted = self.refused + times
        await until(lambda: self.refused >= wanted)

    def pwrite(self, handle: int, data: Any, offset: int) -> int:
        if self.room is None:
            return self._pwrite(handle, data, offset)
        if not self.room:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._pwrite(handle, bytes(data)[: self.room], offset)
        self.room -= written
        return written


async def test_a_full_disk_refuses_writes_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = tmp_path / "audit.log", FullDisk(monkeypatch)
    async with running(AuditSettings(path)) as log:
        await one(log, 1)
        disk.room = 100
        write(log, 2)
        await until(lambda: log.failure != "")
        with pytest.raises(AuditUnavailable, match="No space left"):
            log.check()
        assert checked(path).wrong == ""  # no part of a line is left
        write(log, 3)
        disk.room = None
        await log.written()
        log.check()
    assert resources(path) == ["/v1/kv/1", "/v1/kv/2", "/v1/kv/3"]
    assert checked(path).wrong == ""


async def test_a_full_disk_stops_nothing_where_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = tmp_path / "audit.log", FullDisk(monkeypatch)
    async with running(AuditSettings(path, refuses=False)) as log:
        disk.room = 0
        write(log, 1)
        await until(lambda: log.failure != "")
        log.check()
        await log.written()
        disk.room = None
        await until(lambda: not log.failure)
    assert resources(path) == ["/v1/kv/1"]


async def test_a_full_disk_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, disk, made = tmp_path / "audit.log", FullDisk(monkeypatch), 0

    def counted(*given: Any) -> Any:
        nonlocal made
        made += 1
        return line_of(*given)

    monkeypatch.setattr(log_module, "RETRY_S", 0.01)
    monkeypatch.setattr(log_module, "WAITING_MAX", 10)
    async with running(AuditSettings(path, refuses=False)) as log:
        await until(lambda: log.lines == 1)
        monkeypatch.setattr(batch_module, "line_of", counted)
        disk.room = 0
        for first in range(0, 24, 8):
            write(log, *range(first, first + 8))
            await disk.refuses(3)
        assert log.lost == 14
        assert made <= 10, "lines are made once, not with each try"
        disk.room = None
        await until(lambda: not log.failure and log.lines == 11)
        write(log, 24)
    assert resources(path) == [f"/v1/kv/{number}" for number in (*range(10), 24)]
    assert checked(path).wrong == ""


async def test_what_a_slow_disk_has_in_hand_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pwrite = tmp_path / "audit.log", os.pwrite
    begun, goes_on = threading.Event(), threading.Event()

    def slow(handle: int, data: Any, offset: int) -> int:
        begun.set()
        goes_on.wait(TIMEOUT_S)
        return pwrite(handle, data, offset)

    monkeypatch.setattr(log_module, "WAITING_MAX", 10)
    async with running(AuditSettings(path)) as log:
        await log.written()
        monkeypatch.setattr("registry.audit.files.os.pwrite", slow)
        write(log, *range(10))
        await until(begun.is_set)
        try:
            with pytest.raises(AuditUnavailable, match="too slow"):
                log.check()
        finally:
            goes_on.set()
        await log.written()
        log.check()
    assert len(resources(path)) == 10


async def test_a_sync_that_fails_has_no_line_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock, now, fails = tmp_path / "audit.log", SystemClock(), 0.0, 2
    fdatasync = os.fdatasync

    def broken(handle: int) -> None:
        nonlocal fails
        if fails:
            fails -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fdatasync(handle)

    monkeypatch.setattr(log_module, "RETRY_S", 0.01)
    log = AuditLog(AuditSettings(path), clock.wall, lambda: now)
    await log.written()
    monkeypatch.setattr("registry.audit.files.os.fdatasync", broken)
    now += 1.0
    write(log, 1)
    await log.written()
    await log.close()
    assert fails == 0
    assert resources(path) == ["/v1/kv/1"]
    assert checked(path).wrong == ""


async def test_a_flood_of_refusals_does_not_turn_the_files_over(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running(AuditSettings(path)) as log:
        for number in range(5000):
            log.record(Event("GET /v1/x", Outcome.DENIED, "/v1/x", source=f"10.0.0.1:{number}"))
        await log.written()
        log.record(Event("GET /v1/x", Outcome.DENIED, "/v1/x", source="10.0.0.2:1"))
    denied = [it for it in lines_of(path) if it["outcome"] == "denied"]
    assert DENIALS_BURST <= len(denied) <= DENIALS_BURST + 20
    assert sum(it.get("suppressed", 0) for it in lines_of(path)) == 5001 - len(denied)
    assert denied[-1]["source"] == "10.0.0.2:1"


@pytest.mark.parametrize("name", ["missing/audit.log", "link"])
def test_a_place_that_cannot_be_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(AuditFileUnusable, match="let this user write there"):
        AuditFiles(AuditSettings(tmp_path / name))

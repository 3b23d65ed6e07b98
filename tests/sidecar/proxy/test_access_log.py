"""The access log: which requests get a line, what it says, and where it goes."""

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from sidecar import access_log
from sidecar.access_log import AccessLog
from sidecar.events import ACCESS_LOG_LINES
from sidecar.outlets import LOG_BYTES_MAX, Outlets
from sidecar.proxy.observe import Observer
from sidecar.snapshot import TelemetryPolicy
from sidecar.telemetry import Telemetry
from tests.support.otlp import ended
from tests.support.switch import Plain
from tests.support.wire import END_HEADERS, END_STREAM, GRPC, HEAD_OK, HEADERS, TRAILERS_OK, frame
from weft.clock import SystemClock

EVERY, ERRORS = TelemetryPolicy(access_log_ppm=1_000_000), TelemetryPolicy(access_log_errors=True)
FAILED = ((":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14"))


class Logged:
    def __init__(self, path: Path) -> None:
        self.telemetry = Telemetry()
        self.outlets = Outlets(self.telemetry, SystemClock())
        self.path = path
        self.log = AccessLog(self.outlets.log, self.telemetry)

    def counted(self, result: str) -> int:
        return self.telemetry.count(ACCESS_LOG_LINES, result).value

    async def start(self) -> "Logged":
        await self.log.use(str(self.path))
        return self

    async def lines(self) -> list[dict[str, Any]]:
        await self.log.flush()
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


@pytest.fixture
async def logged(tmp_path: Path) -> Logged:
    return await Logged(tmp_path / "access.log").start()


async def call(plain: Plain, policy: TelemetryPolicy, outlets: Outlets, *, fails: bool = False) -> None:
    plain.side.observe(Observer(policy, outlets, random.Random(5), SystemClock()))
    caller = await plain.caller()
    fields = (*GRPC[:1], (":path", "/s/m?token=s3cret"), *[f for f in GRPC[1:] if f[0] != ":path"])
    fields = (*fields, ("authorization", "Bearer s3cret"), ("x-request-id", "r-1"))
    before = plain.app.requests()
    caller.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, caller.block(fields)))
    app = await plain.app.wire()
    sid = (await app.asked(before + 1))[-1]
    if fails:
        app.headers(sid, FAILED, end=True)
    else:
        app.headers(sid, HEAD_OK)
        app.headers(sid, TRAILERS_OK, end=True)
    await caller.over(1)


async def test_a_line_says_who_called_what_and_how_it_ended(plain: Plain, logged: Logged) -> None:
    await call(plain, EVERY, logged.outlets)
    (line,) = await logged.lines()
    assert (line["source"], line["method"], line["path"]) == ("test", "POST", "/s/m")
    assert (line["http_status"], line["grpc_status"], line["request_id"]) == (200, 0, "r-1")
    assert line["duration_ms"] > 0 and line["time"] > 1e9 and line["peer"].startswith("127.0.0.1:")
    assert "s3cret" not in logged.path.read_text()
    assert logged.path.stat().st_mode & 0o007 == 0


async def test_only_those_that_fail(plain: Plain, logged: Logged) -> None:
    await call(plain, ERRORS, logged.outlets)
    assert await logged.lines() == []
    await call(plain, ERRORS, logged.outlets, fails=True)
    assert [line["grpc_status"] for line in await logged.lines()] == [14]


async def test_a_share_is_logged(logged: Logged) -> None:
    observer = Observer(
        TelemetryPolicy(access_log_ppm=250_000), logged.outlets, random.Random(5), SystemClock()
    )
    share = sum(observer._is_logged(failed=True) for _ in range(4000)) / 4000
    assert 0.22 < share < 0.28


async def test_a_file_that_was_moved_is_opened_anew(logged: Logged) -> None:
    logged.outlets.log.offer(ended())
    assert len(await logged.lines()) == 1
    logged.path.rename(logged.path.with_suffix(".1"))
    await logged.log.reopen()
    logged.outlets.log.offer(ended())
    assert len(await logged.lines()) == 1
    assert logged.counted("written") == 2


async def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    logged = await Logged(tmp_path / "no such folder" / "access.log").start()
    logged.outlets.log.offer(ended())
    assert await logged.lines() == []
    assert (logged.counted("written"), logged.counted("dropped")) == (0, 1)


async def test_what_waits_is_bounded(logged: Logged) -> None:
    size = len(json.dumps(ended().document()))
    for _ in range(LOG_BYTES_MAX // size + 500):
        logged.outlets.log.offer(ended())
    assert logged.counted("dropped") > 0
    assert sum(map(len, logged.outlets.log.take())) <= LOG_BYTES_MAX


async def test_a_pipe_that_nobody_reads_does_not_keep_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "UNREAD_S", 0.05)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    logged = await Logged(path).start()
    logged.outlets.log.offer(ended())
    await logged.log.flush()
    assert logged.counted("dropped") == 1, "it has no reader at all"
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for _ in range(1000):  # more than the pipe holds
            logged.outlets.log.offer(ended())
        await asyncio.wait_for(logged.log.close(), 10)
    finally:
        os.close(reader)
    assert logged.counted("dropped") == 1001

"""`weft sidecar` from outside: help that teaches, one line for each bad input, SIGTERM, memory."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import resources as make
from tests.support.fake_registry import FakeRegistry
from tests.support.processes import free_port
from tests.support.waiting import until

WEFT = [sys.executable, "-m", "weft", "sidecar"]
RSS_KB_MAX = 70 * 1024  # an Envoy 1.40 of `make bench` is 71 MB, an idle sidecar 65 MB


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WEFT, *arguments], capture_output=True, text=True, timeout=30, env=os.environ | environment
    )


def complaint(*arguments: str, code: int) -> str:
    """The only line that a failing start may print."""
    done = run(*arguments, "--log-level", "error")
    assert done.returncode == code, done.stderr
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("weft: ")
    return line


@pytest.fixture
def credential(tmp_path: Path) -> str:
    registry = FakeRegistry()
    registry.port = free_port()
    return str(registry.credential_file(tmp_path))


def test_help_teaches() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in (
        "--credential FILE",
        "--state-dir",
        "SIGTERM",
        "WEFT_CREDENTIAL",
        "weft dev",
        "default: 30.0",
    ):
        assert word in " ".join(done.stdout.split())


def test_usage_is_one_line(credential: str) -> None:
    assert "--credential" in complaint(code=2)
    assert "--nonsense" in complaint("--credential", credential, "--nonsense", code=2)
    assert "give host:port" in complaint("--credential", credential, "--registry", "nowhere", code=2)
    assert "0 to 3600" in complaint("--credential", credential, "--drain-timeout", "-1", code=2)
    assert "loopback" in complaint("--credential", credential, "--admin-address", "0.0.0.0:1", code=2)


def test_a_bad_credential_file_is_one_line(credential: str) -> None:
    Path(credential).chmod(0o644)
    assert f"chmod 600 {credential}" in complaint("--credential", credential, code=2)


def test_a_machine_in_the_way_is_one_line(tmp_path: Path, credential: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = complaint("--credential", credential, "--admin-address", address, code=1)
    assert "--admin-address" in said and address in said
    (tmp_path / "file").write_text("")
    said = complaint("--credential", credential, "--state-dir", str(tmp_path / "file"), code=1)
    assert "--state-dir" in said


@asynccontextmanager
async def running(
    registry: FakeRegistry, tmp_path: Path, orders_port: int = 0, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A sidecar that is ready, or has ended."""
    registry.set(make.proxy(public_port=free_port()), make.upstream(bind_port=orders_port or free_port()))
    await registry.start()
    ready = tmp_path / "ready"
    environment |= {"WEFT_CREDENTIAL": str(registry.credential_file(tmp_path)), "WEFT_READY_FILE": str(ready)}
    process = await asyncio.create_subprocess_exec(
        *WEFT, stderr=asyncio.subprocess.PIPE, env=os.environ | environment
    )
    try:
        await until(lambda: ready.exists() or process.returncode is not None, "it is ready", 30)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await registry.stop()


async def ended(process: asyncio.subprocess.Process) -> list[str]:
    """The lines on stderr of a process that is about to end."""
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    return said.decode().splitlines()


def resident_kb(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


async def test_a_sidecar_runs_from_its_environment_in_less_than_envoy_needs(tmp_path: Path) -> None:
    async with running(FakeRegistry(), tmp_path, WEFT_LOG_FORMAT="json") as process:
        assert resident_kb(process.pid) < RSS_KB_MAX
        process.terminate()
        events = [json.loads(line)["event"] for line in await ended(process)]
        assert process.returncode == 0
        assert events[-3:] == ["ready", "draining", "ended"]


async def test_a_withdrawn_credential_is_one_line(tmp_path: Path) -> None:
    registry = FakeRegistry()
    async with running(registry, tmp_path, WEFT_LOG_LEVEL="error") as process:
        await registry.revoke()
        (line,) = await ended(process)
        assert process.returncode == 1
        assert "register the service again" in line
        assert registry.secret not in line


async def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running(FakeRegistry(), tmp_path, port, WEFT_LOG_LEVEL="error") as process:
            (line,) = await ended(process)
            assert process.returncode == 1
    assert line.startswith("weft: ") and str(port) in line

"""The generator and the backend, as processes, without a proxy between."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import frames, generator, load, procfs
from bench.errors import LoadFailed, NotReady
from bench.measure import Bench, Side
from bench.processes import Child, free_port, start_backend
from bench.workloads import Workload

VARYING = Workload("test", connections=3, streams=4, varying=True)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[tuple[Child, int]]:
    with ExitStack() as stack:
        yield start_backend(stack, tmp_path)


def test_every_request_reaches_the_backend(backend: tuple[Child, int]) -> None:
    child, port = backend
    seen = load.run_own(VARYING, port, 500)
    assert seen.requests == 500
    assert 0 < seen.p50_ms <= seen.p99_ms
    assert child.ask() == {"requests": 500}


@pytest.mark.peer("h2load")
def test_http_1_1(tmp_path: Path) -> None:
    with ExitStack() as stack:
        child, port = start_backend(stack, tmp_path, http1=True)
        seen = load.run(Workload("test", connections=3, streams=1, http1=True), port, 300, tmp_path)
        assert seen.requests == 300 and 0 < seen.p50_ms <= seen.p99_ms
        assert child.ask() == {"requests": 300}


def test_rounds_alternate_and_account_for_every_request(backend: tuple[Child, int], tmp_path: Path) -> None:
    child, port = backend
    told: list[str] = []
    sides = {name: Side(name, port, (child,)) for name in ("a", "b")}
    samples = Bench(child, tmp_path, seconds=0.05).rounds(VARYING, sides, 2, told.append)
    assert [line.split()[3] for line in told] == ["a:", "b:", "b:", "a:"]
    assert all(len(rounds) == 2 and rounds[0].cpu_us_per_request > 0 for rounds in samples.values())


def test_an_unreachable_proxy_fails_the_run() -> None:
    with pytest.raises(LoadFailed):
        load.run_own(VARYING, free_port(), 1)


@pytest.mark.parametrize(
    ("trailers", "reason"),
    [([("grpc-status", "7")], "without grpc-status 0"), ([("x", "y")], "without grpc-status 0")],
)
async def test_a_call_that_is_not_ok_fails_the_run(trailers: list[tuple[str, str]], reason: str) -> None:
    block = frames.Blocks([(":status", "200"), *trailers]).first[0]
    answer = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, block)
    with pytest.raises(RuntimeError, match=reason):
        await generate_against(answer)


async def test_a_reset_stream_fails_the_run() -> None:
    with pytest.raises(RuntimeError, match="type 3"):
        await generate_against(frames.frame(frames.RST_STREAM, 0, 1, bytes(4)))


async def test_a_closed_connection_fails_the_run() -> None:
    with pytest.raises(RuntimeError, match="lost"):
        await generate_against(b"")


async def generate_against(answer: bytes) -> None:
    """One call to a server that answers the first bytes with SETTINGS and `answer`, then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(frames.settings({}))
        await reader.readuntil(b"q" * 100)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.wait_for(generator.generate(port, 1, 1, 1, False), timeout=10)


def test_cpu_time_of_this_process_grows() -> None:
    before = procfs.cpu_s(os.getpid())
    sum(range(5_000_000))
    assert procfs.cpu_s(os.getpid()) > before


def test_a_process_that_is_gone_is_named() -> None:
    with pytest.raises(NotReady, match="ended during"):
        procfs.cpu_s(2**22 + 1)


def test_a_child_that_ends_early_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('port 80 is taken')"]
    with (
        pytest.raises(NotReady, match="port 80 is taken"),
        Child("proxy", command, tmp_path) as child,
    ):
        child.wait_until(lambda: False, "it listened")


def test_a_child_is_gone_when_its_context_is_left(tmp_path: Path) -> None:
    with Child("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], tmp_path) as child:
        pid = child.pid
    assert not Path(f"/proc/{pid}").exists()

"""A flood of blocking queries against a real registry: who floods is refused, and memory stays."""

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.dev import Dev, running_dev
from tests.support.registry import until
from tests.support.waiting import until as eventually

WATCHES, CONNECTIONS, FLOOD = 300, 600, 2000
GROWTH_KIB_MAX = 48 * 1024  # 600 connections at 40 KiB, and as much again
PARK = b"GET /v1/kv/never?index=1000000&wait=120s HTTP/1.1\r\nHost: localhost\r\n\r\n"


SHELLS_DESCRIPTORS = 256  # fewer than the flood needs: a server raises what it was started with


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    flags = ("--max-watches-per-client", str(WATCHES), "--http-max-conns-per-client", str(CONNECTIONS))
    with ExitStack() as stack:
        with few_descriptors():
            found = stack.enter_context(running_dev(*flags, "--dns-port", "-1"))
        yield found


@contextmanager
def few_descriptors() -> Iterator[None]:
    """What is started inside begins with as few open files as a careless shell allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (SHELLS_DESCRIPTORS, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rss_kib(dev: Dev) -> int:
    status = Path(f"/proc/{dev.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def ask(address: str, refused: Counter[str], writers: list[asyncio.StreamWriter]) -> None:
    """Asks once and waits for ever; what comes back is a refusal."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writers.append(writer)
    try:
        writer.write(PARK)
        answer = await reader.readuntil(b"\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        refused["hung up"] += 1
    else:
        refused[answer.split()[1].decode()] += 1


async def test_a_flood_of_blocking_queries_leaves_the_registry_as_it_was(dev: Dev) -> None:
    before = rss_kib(dev)
    refused: Counter[str] = Counter()
    writers: list[asyncio.StreamWriter] = []
    asking = [asyncio.create_task(ask(dev.http, refused, writers)) for _ in range(FLOOD)]
    try:
        await until(lambda: refused.total() == FLOOD - WATCHES)
        assert set(refused) <= {"429", "hung up"}
        assert sum(not task.done() for task in asking) == WATCHES
        assert rss_kib(dev) - before < GROWTH_KIB_MAX
    finally:
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*asking)

    async def served() -> bool:
        return (await asyncio.to_thread(dev.call, "GET", "/v1/status/leader"))[0] == 200

    # Who was refused is served again once there is place.
    await eventually(served, "a request is served")

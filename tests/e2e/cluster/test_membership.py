"""Servers that come and go while clients write at a steady rate: no write may fail."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.cluster.network import Loopback
from tests.e2e.cluster.servers import Cluster, Server
from weft.aio import Tasks

WRITES_PER_S = 500
CLIENTS = 24
SNAPSHOT_AFTER_BYTES = 200_000
ENTRIES_KEPT = 200
CALL_S = 15.0


@dataclass
class Writers:
    """Write new intentions at a rate, through the servers they were given."""

    cluster: Cluster
    servers: list[Server]
    written: set[str] = field(default_factory=set)
    waits_s: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stopping: bool = False

    async def run(self, http: aiohttp.ClientSession, client: int) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        number = 0
        while not self.stopping:
            due = max(due + CLIENTS / WRITES_PER_S, loop.time() - 1.0)  # a second is caught up with, not more
            await asyncio.sleep(due - loop.time())
            number += 1
            await self._write(http, self.servers[client % len(self.servers)], f"c{client}-{number}")

    async def _write(self, http: aiohttp.ClientSession, server: Server, name: str) -> None:
        url = f"{server.http}/v1/connect/intentions/exact?source={name}&destination=joined"
        began = time.monotonic()
        try:
            async with http.put(url, json={"Action": "allow"}) as answer:
                text = await answer.text()
                if answer.status == 200:
                    self.written.add(name)
                    self.waits_s.append(time.monotonic() - began)
                else:
                    self.failed.append(f"{server.name} {answer.status} {text}")
        except (aiohttp.ClientError, OSError) as error:
            self.failed.append(f"{server.name} {type(error).__name__}: {error}")


@dataclass
class Phases:
    """How fast was written, and how slow the slowest write was, while this and that was done."""

    writers: Writers

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        first, began = len(self.writers.waits_s), time.monotonic()
        yield
        took_s, waits_s = time.monotonic() - began, sorted(self.writers.waits_s[first:])
        p99_s = waits_s[len(waits_s) * 99 // 100] if waits_s else 0.0
        print(
            f"{name}: {len(waits_s)} writes in {took_s:.1f} s, {len(waits_s) / took_s:.0f}/s, "
            f"p99 {p99_s * 1e3:.0f} ms, slowest {max(waits_s, default=0.0) * 1e3:.0f} ms"
        )


@asynccontextmanager
async def writing(cluster: Cluster, servers: list[Server]) -> AsyncIterator[Writers]:
    writers = Writers(cluster, servers)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"X-Consul-Token": cluster.token}
    timeout = aiohttp.ClientTimeout(CALL_S)
    tasks = Tasks()
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as http:
        clients = [tasks.spawn(writers.run(http, number), "writer") for number in range(CLIENTS)]
        try:
            yield writers
        finally:
            writers.stopping = True
            await asyncio.gather(*clients)


@pytest.mark.long
async def test_a_server_joins_with_an_empty_disk_and_another_is_removed_without_a_failed_write(
    tmp_path: Path,
) -> None:
    launcher = (f"--snapshot-after-bytes={SNAPSHOT_AFTER_BYTES}", f"--entries-kept={ENTRIES_KEPT}")
    with Cluster(tmp_path, Loopback(), 3, *launcher) as cluster:
        await asyncio.to_thread(cluster.start_all)
        leader = await asyncio.to_thread(cluster.leader)
        gone = next(server for server in cluster.servers if server is not leader)
        staying = [server for server in cluster.servers if server is not gone]
        async with writing(cluster, staying) as writers:
            phases = Phases(writers)
            with phases.phase("before"):
                await asyncio.to_thread(_until_written, cluster, writers, 2_000)
            with phases.phase("join"):
                joined = cluster.add()
                joined.start()
                await asyncio.to_thread(_until_voter, cluster, leader, joined)
            with phases.phase("removal"):
                path = f"/v1/operator/raft/peer?address={gone.address}"
                await asyncio.to_thread(cluster.ok, leader, "DELETE", path)
                await asyncio.to_thread(_until_written, cluster, writers, len(writers.written) + 1_000)
        print(f"{len(writers.written)} writes, failed {len(writers.failed)}")
        assert writers.failed == []
        assert "snapshot installed" in joined.output.read_text()
        for server in (*staying, joined):
            assert await asyncio.to_thread(_names, cluster, server) == writers.written
        assert "was removed from its cluster" in await asyncio.to_thread(_last_words, cluster, gone)
        for server in (*staying, joined):
            await asyncio.to_thread(server.end)


def _until_written(cluster: Cluster, writers: Writers, count: int) -> None:
    cluster.until(lambda: len(writers.written) >= count or writers.failed, f"{count} writes are answered")


def _until_voter(cluster: Cluster, leader: Server, joined: Server) -> None:
    def votes() -> bool:
        assert joined.running, joined.said()
        rows = cluster.ok(leader, "GET", "/v1/operator/raft/configuration")["Servers"]
        return any(row["Address"] == joined.address and row["Voter"] for row in rows)

    cluster.until(votes, "the new server is a voter")
    cluster.wait(joined)


def _names(cluster: Cluster, server: Server) -> set[str]:
    path = "/v1/connect/intentions/match?by=destination&name=joined&consistent"
    return {row["SourceName"] for row in cluster.ok(server, "GET", path)["joined"]}


def _last_words(cluster: Cluster, server: Server) -> str:
    cluster.until(lambda: not server.running, "the removed server ends")
    assert server.ended() != 0
    return server.said()

"""One sidecar of several processes: they share its port, its identity, its limits and its counters."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.e2e.test_handover import PATIENCE_S, World, everything, world
from tests.support.grpc_matrix import connect
from tests.support.load import calling
from tests.support.mesh import Member, in_thread
from tests.support.waiting import until

WORKERS = ("--workers", "2")
RSS_BYTES_MAX = 100 * 1024 * 1024  # of one worker, after load; the supervisor is measured by test_memory


async def shown(member: Member) -> list[dict[str, Any]]:
    """What `/config` says of each worker."""
    said = json.loads(await in_thread(member.admin, "/config"))
    workers: list[dict[str, Any]] = said["switch"]["workers"]
    return workers


def pids(member: Member) -> list[int]:
    """Its child processes; each is of the thread that started it."""
    threads = Path(f"/proc/{member.running.pid}/task").iterdir()
    return sorted(int(pid) for thread in threads for pid in (thread / "children").read_text().split())


async def spread(there: World) -> None:
    """Connections until every worker of web has some: the kernel divides them by chance."""
    for _ in range(200):
        async with connect(there.web.to("orders")) as client:
            await client.name()
        if await busy(there) == 2:
            return
    raise AssertionError("all connections went to one worker")


async def busy(there: World) -> int:
    """How many of web's workers have carried calls: each has a connection of its own to orders."""
    targets = [worker["targets"]["orders.default.default.dc1"] for worker in await shown(there.web)]
    return sum(any(it["connections"] for it in target["instances"]) for target in targets)


async def test_workers_share_calls_and_one_page_counts_them(tmp_path: Path) -> None:
    async with world(tmp_path, *WORKERS) as there:
        before = await in_thread(there.web.metric, "weft_requests_total")
        await spread(there)
        async with everything(there) as (load, http_load, streams):
            await until(lambda: len(load.outcomes) > 300 and http_load.answered > 300, "calls")
        assert load.failed == [] and http_load.failed == [] and not any(streams)
        counted = await in_thread(there.web.metric, "weft_requests_total") - before
        assert counted >= len(load.outcomes) + http_load.answered + len(streams)
        assert await in_thread(there.web.metric, "weft_workers") == 2
        memory = await in_thread(there.web.metric, "weft_worker_resident_memory_bytes")
        assert 0 < memory < 2 * RSS_BYTES_MAX
        assert there.web.is_ready()
        active = await in_thread(there.web.metric, "weft_active_streams")
        assert active == 0


async def test_a_worker_that_dies_is_replaced_and_its_counts_stay(tmp_path: Path) -> None:
    async with world(tmp_path, *WORKERS) as there:
        await spread(there)
        before = await in_thread(there.web.metric, "weft_requests_total")
        victims = pids(there.web)
        assert len(victims) == 2
        os.kill(victims[0], signal.SIGKILL)
        await until(
            lambda: victims[0] not in pids(there.web) and len(pids(there.web)) == 2, "another process"
        )
        # Its sockets were kept: whoever connects meanwhile waits for the new one, and is served.
        async with calling(there.web.to("orders"), callers=8) as load:
            await load.served_by({there.orders.id})
        assert load.failed == []
        await until(lambda: there.web.metric("weft_workers") == 2, "it is counted")
        assert await in_thread(there.web.metric, "weft_worker_restarts_total") == 1
        assert await in_thread(there.web.metric, "weft_requests_total") > before
        await spread(there)


async def test_changes_reach_every_worker(tmp_path: Path) -> None:
    async with world(tmp_path, *WORKERS) as there:
        await spread(there)
        await in_thread(there.mesh.registry.intend, "web", "orders", "deny")

        async def denied() -> bool:
            async with connect(there.web.to("orders")) as client:
                try:
                    await client.name()
                except Exception as error:
                    return "denied" in str(error)
                return False

        async def all_denied() -> bool:
            return all([await denied() for _ in range(12)])

        await until(all_denied, "no worker of orders lets it through", PATIENCE_S)


async def test_live_requests_of_all_workers_in_one_tap(tmp_path: Path) -> None:
    async with world(tmp_path, *WORKERS) as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.web.admin_port)
        writer.write(b"GET /tap?seconds=30 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        async with calling(there.web.to("orders"), callers=1) as load:
            await load.served_by({there.orders.id})
            line = json.loads(await asyncio.wait_for(reader.readline(), PATIENCE_S))
        assert line["destination"] == "orders"
        writer.close()


async def test_an_upgrade_may_change_how_many_there_are(tmp_path: Path) -> None:
    async with world(tmp_path) as there, everything(there) as (load, http_load, streams):
        for workers in ("2", "3", "1"):
            await there.replace(there.web, "--workers", workers)
            before = len(load.outcomes), http_load.answered
            await until(
                lambda: len(load.outcomes) > before[0] + 50 and http_load.answered > before[1] + 50,  # noqa: B023
                "calls go on",
            )
    assert load.failed == [] and http_load.failed == [] and [it for it in streams if it] == []


async def test_when_the_supervisor_is_killed_nobody_serves_on(tmp_path: Path) -> None:
    async with world(tmp_path, *WORKERS) as there:
        workers = pids(there.web)
        old = there.web.running
        await in_thread(there.mesh.kill, old)
        await until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers), "workers end", 20)


async def test_a_worker_that_dies_while_all_drain_is_not_replaced(tmp_path: Path) -> None:
    async with world(tmp_path, *WORKERS) as there:
        await spread(there)
        supervisor, workers = there.web.running, pids(there.web)
        async with connect(there.web.to("orders")) as client:
            stream = client.bidi(timeout=PATIENCE_S)
            await stream.write(b"on")
            assert await stream.read() == b"on"
            os.kill(supervisor.pid, signal.SIGTERM)
            await until(lambda: len(pids(there.web)) < 2, "who carries nothing ends at once")
            for pid in pids(there.web):
                os.kill(pid, signal.SIGKILL)
            await until(lambda: supervisor.exit_code is not None, "the supervisor ends", 10)
        assert supervisor.exit_code == 0, supervisor.said()
        there.mesh.processes.forget(supervisor)
        await until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers), "nobody is left")


async def test_workers_that_are_only_just_started_end_with_their_supervisor(tmp_path: Path) -> None:
    async with world(tmp_path, *WORKERS) as there:
        supervisor = there.web.running
        victims = pids(there.web)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: set(pids(there.web)) - set(victims), "others are started")
        os.kill(supervisor.pid, signal.SIGTERM)
        await until(lambda: supervisor.exit_code is not None, "the supervisor ends", 10)
        assert supervisor.exit_code == 0, supervisor.said()
        there.mesh.processes.forget(supervisor)

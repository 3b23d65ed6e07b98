"""One server with many instances: what they cost, and how long it takes to tell who watches one of them.

    python -m bench.registry_scale INSTANCES READERS REGISTRATIONS

Runs alone in its process and prints one JSON object, or ends with where it was after `DEADLINE_S`. The server
is the real log of one voter, durable, in a temporary directory; readers are the API's own blocking queries,
without HTTP around them.
"""

import asyncio
import faulthandler
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from registry.api.handling import Answer, answer
from registry.api.views import health_entry
from registry.catalog import commands
from registry.catalog.feature_level import ID_META, LEVEL_META, SERVER_SERVICE
from registry.catalog.model import PASSING, Check, CheckDefinition, Cluster, Node, Service
from registry.catalog.operator import RESTORE_ID_BYTES, digest_of
from registry.catalog.snapshot import decode_steps, encode, slices
from registry.catalog.state import State
from registry.replica.limits import SNAPSHOT_AFTER_BYTES, SNAPSHOT_SLICE_S
from registry.replica.replica import Replica
from registry.replica.slicing import in_slices
from weft import logs
from weft.aio import Tasks
from weft.collection import Collector, settle

from . import procfs
from .stalls import Stalls

PER_SERVICE = 10  # instances; 100,000 make 10,000 services, and each reader gets one
PER_NODE = 20
CHANGES_PER_S = 100  # while snapshots are written
BUSY_S = 10.0  # with 100,000 instances, less with less
PART_RECORDS = 32  # of a snapshot in one command, some hundred KiB
_PARKED_S = 600.0
DEADLINE_S = 900.0  # 100,000 instances take one to two minutes


def registration(number: int, services: int, port: int = 0) -> tuple[Node, Service, Check]:
    """The instance of that number, with a TTL check, as an agent would register it.

    Instances of one service are on different nodes.
    """
    return _rows(number, number % services, number // PER_NODE, port)


def _rows(number: int, service: int, node: int, port: int) -> tuple[Node, Service, Check]:
    host = Node(f"node-{node:05d}", f"10.{node >> 8 & 255}.{node & 255}.1", "dc1", _node_id(node))
    name = f"service-{service:05d}"
    instance = Service(
        host.name,
        f"{name}-{number}",
        name,
        "dc1",
        tags=("v1", "production"),
        port=port or 8000 + number % 1000,
        meta={"version": "1.2.3"},
    )
    check = Check(
        host.name,
        f"service:{instance.id}",
        f"Service '{name}' check",
        PASSING,
        service_id=instance.id,
        type="ttl",
        definition=CheckDefinition(ttl_ms=30_000),
    )
    return host, instance, check


def _node_id(node: int) -> str:
    return f"00000000-0000-4000-8000-{node:012x}"


class Scale:
    """The phases, in order, on one server."""

    def __init__(self, log: Replica, instances: int) -> None:
        self.log = log
        self.instances = instances
        self.services = max(1, instances // PER_SERVICE)
        self.stalls = Stalls()
        self.watched = self.services
        self._writes = 0

    def stamp(self) -> commands.Stamp:
        return commands.Stamp(int(time.time() * 1000), os.urandom(commands.REQUEST_ID_BYTES))

    async def fill(self) -> dict[str, Any]:
        """A node with all its instances per command, and what that costs."""
        cluster = Cluster("00000000-0000-4000-8000-000000000000", "dc1", "bench.weft")
        await self.log.propose(commands.init_cluster(self.stamp(), cluster))
        await self._say_what_it_knows()
        settle()
        before, began = procfs.rss_mb(os.getpid()), time.monotonic()
        async with self.stalls.watch("fill"):
            for first in range(0, self.instances, PER_NODE):
                rows = [registration(first + at, self.services) for at in range(PER_NODE)]
                services, checks = [row[1] for row in rows], [row[2] for row in rows]
                await self.log.propose(commands.register(self.stamp(), rows[0][0], services, checks))
        took = time.monotonic() - began
        settle()
        grown = procfs.rss_mb(os.getpid()) - before
        return {
            "instances": self.instances,
            "services": self.services,
            "memory_bytes_per_instance": round(grown * 1e6 / self.instances),
            "registrations_per_s_batched": round(self.instances / took),
        }

    async def _say_what_it_knows(self) -> None:
        """As every server does; else no newer command is taken."""
        meta = {ID_META: self.log.status().server_id, LEVEL_META: str(commands.COMMAND_VERSION)}
        server = Service("server", SERVER_SERVICE, SERVER_SERVICE, "dc1", meta=meta)
        node = Node("server", "127.0.0.1", "dc1", _node_id(0xFFFF))
        await self.log.propose(commands.register(self.stamp(), node, [server], []))

    async def apply_cost(self, count: int) -> dict[str, Any]:
        """One registration per command, each durable before the next."""
        began_s, began = time.process_time(), time.monotonic()
        for number in range(count):
            await self.change(number * 31 % self.instances)
        return {
            "write_cpu_us": round((time.process_time() - began_s) / count * 1e6),
            "write_ms": round((time.monotonic() - began) / count * 1e3, 3),
        }

    async def change(self, number: int) -> None:
        """Registers an instance again, on another port."""
        self._writes += 1
        node, service, check = registration(number, self.services, 10_000 + self._writes % 50_000)
        await self.log.propose(commands.register(self.stamp(), node, [service], [check]))

    async def snapshot(self) -> tuple[list[bytes], dict[str, Any]]:
        """Encoded in slices between which the loop runs, as a server does it."""
        began, began_cpu_s = time.monotonic(), time.process_time()
        records: list[bytes] = []
        async with self.stalls.watch("snapshot"):
            for part in slices(encode(self.log.view()), time.monotonic, SNAPSHOT_SLICE_S):
                records += part
                await asyncio.sleep(0)
            took, cpu_s = time.monotonic() - began, time.process_time() - began_cpu_s
        return records, {
            "snapshot_s": round(took, 3),
            "snapshot_cpu_s": round(cpu_s, 3),
            "snapshot_mb": round(sum(map(len, records)) / 1e6, 3),
        }

    async def restore(self, records: list[bytes]) -> dict[str, Any]:
        """Decoded in steps likewise, and compared with what it was made of."""
        began, began_cpu_s = time.monotonic(), time.process_time()
        async with self.stalls.watch("restore"):
            state = await in_slices(decode_steps(records), SNAPSHOT_SLICE_S)
            took, cpu_s = time.monotonic() - began, time.process_time() - began_cpu_s
        if any(ours != theirs for ours, theirs in zip(encode(state), records, strict=True)):
            raise RuntimeError("the restored state is not the one that was written")
        return {"restore_s": round(took, 3), "restore_cpu_s": round(cpu_s, 3)}

    async def wake_ups(self, registrations: int, woken: "Woken") -> dict[str, Any]:
        """Instances of single services change, one after the other."""
        async with self.stalls.watch("wake_ups"):
            for number in range(registrations):
                await woken.after(self.change, self._watched(number))
        return woken.figures("wake_up") | {"woken_per_registration": woken.per_change()}

    async def busy(self, seconds: float, woken: "Woken") -> dict[str, Any]:
        """The same at a fixed rate, while the server writes one snapshot after the other."""
        tasks = Tasks()
        async with self.stalls.watch("busy"):
            tasks.spawn(self._snapshots(), "snapshots")
            began = time.monotonic()
            try:
                for number in range(int(seconds * CHANGES_PER_S)):
                    await asyncio.sleep(began + number / CHANGES_PER_S - time.monotonic())
                    tasks.spawn(woken.after(self.change, self._watched(number)), "change")
                await woken.settled()
            finally:
                await tasks.close()
        return woken.figures("busy_wake_up") | {"busy_changes_per_s": CHANGES_PER_S}

    def _watched(self, number: int) -> int:
        return number * 37 % self.watched

    async def _snapshots(self) -> None:
        """As when so much log has been written: rows, then bytes on disk by another thread."""
        while True:
            self.log.written(SNAPSHOT_AFTER_BYTES)
            await asyncio.sleep(0.05)

    async def all_at_once(self, woken: "Woken") -> dict[str, Any]:
        """Another state takes the place of this one, and each reader has to look again."""
        records = list(encode(self.log.view()))
        parts = [records[at : at + PART_RECORDS] for at in range(0, len(records), PART_RECORDS)]
        restore_id = os.urandom(RESTORE_ID_BYTES)
        async with self.stalls.watch("restore_command"):
            for number, part in enumerate(parts[:-1]):
                await self.log.propose(commands.restore(self.stamp(), restore_id, number, part))
            last = commands.restore(self.stamp(), restore_id, len(parts) - 1, parts[-1], digest_of(records))
            woken.expect_all()
            began = time.monotonic()
            await self.log.propose(last)
            restored_s = time.monotonic() - began
            took_s = await woken.everybody(began)
        return {"restore_command_s": round(restored_s, 3), "all_readers_answered_s": round(took_s, 3)}

    @asynccontextmanager
    async def readers(self, count: int) -> AsyncIterator["Woken"]:
        """So many clients of health/service, each waiting for a change of a service of its own."""
        self.watched = min(count, self.services)
        tasks, woken = Tasks(), Woken(count, -(-count // self.services))
        for number in range(count):
            tasks.spawn(self._read(number % self.services, woken), "reader")
        await asyncio.sleep(0.5)
        try:
            yield woken
        finally:
            await tasks.close()

    async def _read(self, service: int, woken: "Woken") -> None:
        """A client of health/service that asks again whenever it is answered, as the API's blocking read."""
        look, index = _health(f"service-{service:05d}"), 0
        while True:
            state = self.log.view()
            found = look(state)
            if found.index > index:
                if index:
                    woken.tell(service)
                index = found.index
            keys, state_index = found.keys, state.index
            del state, found
            await self.log.wait(keys, state_index, _PARKED_S)


class Woken:
    """Who was answered, and how long after the write of what he reads was begun."""

    def __init__(self, readers: int, per_service: int) -> None:
        self._readers = readers
        self._per_service = per_service
        self._began: dict[int, float] = {}  # service -> when a change of it was begun
        self._missing: dict[int, int] = {}  # service -> readers who have not been answered yet
        self._waits: list[float] = []
        self._changes = 0
        self._answered = 0
        self._more = asyncio.Event()
        self._all = False

    async def after(self, change: Callable[[int], Awaitable[None]], service: int) -> None:
        """Changes an instance of the service; returns when all its readers were answered."""
        self._changes += 1
        self._missing[service] = self._per_service
        self._began[service] = time.monotonic()
        await change(service)
        await self._until(lambda: service not in self._missing)

    def tell(self, service: int) -> None:
        self._answered += 1
        self._more.set()
        if self._all:
            return
        if service not in self._missing:
            raise RuntimeError(f"a reader of service {service} was woken, though nothing of it changed")
        self._waits.append(time.monotonic() - self._began[service])
        self._missing[service] -= 1
        if not self._missing[service]:
            del self._missing[service]

    async def settled(self) -> None:
        await self._until(lambda: not self._missing)

    async def everybody(self, began: float) -> float:
        """Seconds until every reader was answered once more."""
        await self._until(lambda: self._answered >= self._readers)
        return time.monotonic() - began

    def expect_all(self) -> None:
        self._all, self._answered = True, 0

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                self._more.clear()
                await self._more.wait()

    def per_change(self) -> float:
        return round(self._answered / self._changes, 2)

    def figures(self, name: str) -> dict[str, float]:
        waits, self._waits = sorted(self._waits), []
        return {
            f"{name}_p50_ms": round(median(waits) * 1e3, 3),
            f"{name}_p99_ms": round(waits[len(waits) * 99 // 100] * 1e3, 3),
        }


def _health(name: str) -> Callable[[State], Answer]:
    def look(state: State) -> Answer:
        found = state.service_nodes(name)
        return answer(found, [health_entry(row) for row in found.rows])

    return look


async def _phases(scale: Scale, readers: int, registrations: int) -> dict[str, Any]:
    found = await scale.fill()
    found |= await scale.apply_cost(registrations)
    async with scale.readers(readers) as woken:
        found |= await scale.wake_ups(registrations, woken)
        found |= await scale.busy(min(1.0, scale.instances / 100_000) * BUSY_S, woken)
        records, about = await scale.snapshot()
        found |= about | await scale.restore(records)
        found |= await scale.all_at_once(woken)
    began = time.monotonic()
    gc.collect()
    found["collection_ms"] = round((time.monotonic() - began) * 1e3, 1)
    return found | {"readers": readers} | scale.stalls.figures()


async def measure(instances: int, readers: int, registrations: int) -> dict[str, Any]:
    tasks = Tasks()
    tasks.spawn(Collector().run(), "garbage collection")
    with tempfile.TemporaryDirectory(prefix="weft-scale-") as directory:
        log = await Replica.open(Path(directory) / "data")
        work = tasks.spawn(_phases(Scale(log, instances), readers, registrations), "phases")
        stopped = tasks.spawn(log.failed(), "failure")
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                raise stopped.result()
            found: dict[str, Any] = work.result()
            return found
        finally:
            await tasks.close()
            await log.close()


def main() -> None:
    logs.configure("warning")
    faulthandler.dump_traceback_later(DEADLINE_S, exit=True)
    instances, readers, registrations = map(int, sys.argv[1:])
    print(json.dumps(asyncio.run(measure(instances, readers, registrations))))


if __name__ == "__main__":
    main()

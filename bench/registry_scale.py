"""One server with many instances: what they cost, and how long it takes to tell who watches one of them.

    python -m bench.registry_scale INSTANCES READERS REGISTRATIONS

Runs alone in its process and prints one JSON object. The server is the real log of one voter, durable, in a
temporary directory; readers are the API's own blocking queries, without HTTP around them.
"""

import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from registry.api.handling import Answer, answer
from registry.api.views import health_entry
from registry.catalog import commands
from registry.catalog.model import PASSING, Check, CheckDefinition, Node, Service
from registry.catalog.snapshot import decode_steps, encode, slices
from registry.catalog.state import State
from registry.replica.limits import SNAPSHOT_SLICE_S
from registry.replica.replica import Replica
from registry.replica.slicing import in_slices
from weft import logs
from weft.aio import Tasks
from weft.collection import Collector, settle

from . import procfs

PER_SERVICE = 10  # instances; 100,000 make 10,000 services, and each reader gets one
PER_NODE = 20
_WATCH_S = 0.002  # how often the loop is asked whether it stalls
_PARKED_S = 600.0


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


class Stalls:
    """How late the event loop was at worst, by phase, and how much CPU its thread spent in one such wait.

    On a shared machine the first counts also the time that others had the core; the second does not.
    """

    def __init__(self) -> None:
        self.worst_s: dict[str, tuple[float, float]] = {}

    @asynccontextmanager
    async def watch(self, phase: str) -> AsyncIterator[None]:
        tasks = Tasks()
        self.worst_s[phase] = 0.0, 0.0
        tasks.spawn(self._look(phase), "stalls")
        await asyncio.sleep(0)
        try:
            yield
            await asyncio.sleep(2 * _WATCH_S)
        finally:
            await tasks.close()

    async def _look(self, phase: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, cpu_s = loop.time() + _WATCH_S, time.thread_time()
            await asyncio.sleep(_WATCH_S)
            late, spent = self.worst_s[phase]
            self.worst_s[phase] = max(late, loop.time() - due), max(spent, time.thread_time() - cpu_s)

    def figures(self) -> dict[str, dict[str, float]]:
        found = self.worst_s.items()
        return {
            "longest_stall_ms": {phase: round(late * 1e3, 1) for phase, (late, _) in found},
            "longest_stall_cpu_ms": {phase: round(spent * 1e3, 1) for phase, (_, spent) in found},
        }


class Scale:
    """The phases, in order, on one server."""

    def __init__(self, log: Replica, instances: int) -> None:
        self.log = log
        self.instances = instances
        self.services = max(1, instances // PER_SERVICE)
        self.stalls = Stalls()
        self._writes = 0

    def stamp(self) -> commands.Stamp:
        return commands.Stamp(int(time.time() * 1000), os.urandom(commands.REQUEST_ID_BYTES))

    async def fill(self) -> dict[str, Any]:
        """A node with all its instances per command, and what that costs."""
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
        began = time.monotonic()
        records: list[bytes] = []
        async with self.stalls.watch("snapshot"):
            for part in slices(encode(self.log.view()), time.monotonic, SNAPSHOT_SLICE_S):
                records += part
                await asyncio.sleep(0)
            took = time.monotonic() - began
        return records, {
            "snapshot_s": round(took, 3),
            "snapshot_mb": round(sum(map(len, records)) / 1e6, 1),
        }

    async def restore(self, records: list[bytes]) -> dict[str, Any]:
        """Decoded in steps likewise, and compared with what it was made of."""
        began = time.monotonic()
        async with self.stalls.watch("restore"):
            state = await in_slices(decode_steps(records), SNAPSHOT_SLICE_S)
            took = time.monotonic() - began
        if any(ours != theirs for ours, theirs in zip(encode(state), records, strict=True)):
            raise RuntimeError("the restored state is not the one that was written")
        return {"restore_s": round(took, 3)}

    async def wake_ups(self, readers: int, registrations: int) -> dict[str, Any]:
        """Readers park on a service each; then instances of single services change."""
        tasks, woken = Tasks(), Woken()
        for number in range(readers):
            tasks.spawn(self._read(number % self.services, woken), "reader")
        await asyncio.sleep(0.5)
        per_service = -(-readers // self.services)
        waits: list[float] = []
        try:
            async with self.stalls.watch("wake_ups"):
                for number in range(registrations):
                    service = number * 37 % min(readers, self.services)
                    woken.begin(service)
                    await self.change(service)
                    waits += await woken.all(per_service)
        finally:
            await tasks.close()
        waits.sort()
        return {
            "readers": readers,
            "woken_per_registration": round(woken.count / registrations, 2),
            "wake_up_p50_ms": round(median(waits) * 1e3, 3),
            "wake_up_p99_ms": round(waits[len(waits) * 99 // 100] * 1e3, 3),
        }

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
            await self.log.wait(found.keys, state.index, _PARKED_S)


class Woken:
    """Who was answered since the registration that is being measured."""

    def __init__(self) -> None:
        self.count = 0
        self._service = -1
        self._began = 0.0
        self._waits: list[float] = []
        self._more = asyncio.Event()

    def begin(self, service: int) -> None:
        self._service, self._began, self._waits = service, time.monotonic(), []

    def tell(self, service: int) -> None:
        self.count += 1
        if service != self._service:
            raise RuntimeError(f"a reader of service {service} was woken by one of {self._service}")
        self._waits.append(time.monotonic() - self._began)
        self._more.set()

    async def all(self, count: int) -> list[float]:
        while len(self._waits) < count:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 30)
        return self._waits


def _health(name: str) -> Callable[[State], Answer]:
    def look(state: State) -> Answer:
        found = state.service_nodes(name)
        return answer(found, [health_entry(row) for row in found.rows])

    return look


async def measure(instances: int, readers: int, registrations: int) -> dict[str, Any]:
    tasks = Tasks()
    tasks.spawn(Collector().run(), "garbage collection")
    with tempfile.TemporaryDirectory(prefix="weft-scale-") as directory:
        log = await Replica.open(Path(directory) / "data")
        try:
            scale = Scale(log, instances)
            found = await scale.fill()
            found |= await scale.apply_cost(registrations)
            found |= await scale.wake_ups(readers, registrations)
            records, about = await scale.snapshot()
            found |= about | await scale.restore(records)
            began = time.monotonic()
            gc.collect()
            found["collection_ms"] = round((time.monotonic() - began) * 1e3, 1)
        finally:
            await tasks.close()
            await log.close()
    return found | scale.stalls.figures()


def main() -> None:
    logs.configure("warning")
    instances, readers, registrations = map(int, sys.argv[1:])
    print(json.dumps(asyncio.run(measure(instances, readers, registrations))))


if __name__ == "__main__":
    main()

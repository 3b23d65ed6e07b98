"""A busy mesh that changes all the time: no request is lost, none comes twice, and memory stays.

Calls come at 70 % of what the sidecars could carry when the test began, while each second a new configuration
is swapped in, leaves are renewed, and instances are drained and replaced one after the other. A minute by
default; `WEFT_SOAK_S=600 .venv/bin/python -m pytest -s -m long tests/e2e/test_soak.py` is the ten minutes of
docs/benchmarks.md.
"""

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.processes import Child
from tests.support.mesh import Member, Mesh, in_thread
from tests.support.processes import free_port

SECONDS = float(os.environ.get("WEFT_SOAK_S", "60"))
SHARE = 0.7
LEAF_TTL = "40s"  # renewed before half of it is left
INSTANCES = 3
RSS_GROWTH_MAX = 1.03, 2_000_000  # of the last quarter over the second: a factor, and octets


class Soak:
    """`web` calls `orders`, whose instances come and go in front of applications that stay."""

    def __init__(self, mesh: Mesh, stack: ExitStack, folder: Path) -> None:
        self.mesh = mesh
        self.folder = folder
        self.apps: list[tuple[Child, int]] = []
        for number in range(INSTANCES):
            (folder / f"app-{number}").mkdir()
            command = [sys.executable, "-m", "tests.support.soak_app"]
            child = stack.enter_context(Child("app", command, folder / f"app-{number}", talks=True))
            self.apps.append((child, int(child.hear()["port"])))
        self._number = itertools.count(1)
        self.members: list[Member] = []
        self.swaps = self.replaced = 0
        self.leaving = "nobody"  # the sidecar of the instance that is being replaced

    def begin(self) -> None:
        self.write("service-defaults", Protocol="grpc")
        self.mesh.registry.intend("web", "orders", "allow")
        self.members = [self.mesh.add("orders", next(self._number), app_port=port) for _, port in self.apps]
        self.web = self.mesh.add("web", upstreams=["orders"], app_port=free_port())
        self.mesh.wait(*self.members, self.web)

    def write(self, kind: str, **entry: Any) -> None:
        self.mesh.registry._ask("PUT", "config", {"Kind": kind, "Name": "orders", **entry})

    def swap(self) -> None:
        """Each one changes what the caller's sidecar does with every request, if only a header."""
        self.swaps += 1
        destination = {"NumRetries": 1, "RequestHeaders": {"Set": {"x-swap": str(self.swaps)}}}
        route = {"Match": {"HTTP": {"PathPrefix": "/"}}, "Destination": destination}
        self.write("service-router", Routes=[route])

    async def replace(self) -> None:
        """The oldest instance is drained, and ends; another takes its place."""
        old, port = self.members.pop(0), self.apps[self.replaced % INSTANCES][1]
        new = await in_thread(lambda: self.mesh.add("orders", next(self._number), app_port=port))
        self.members.append(new)
        await in_thread(self.mesh.wait, new)
        self.leaving = old.running.name
        await self._drained(old)  # which deregisters it, so that its sidecar ends, and not with 0
        await in_thread(old.running.wait, 40.0)
        self.mesh.processes.forget(old.running)
        self.replaced += 1

    async def _drained(self, member: Member) -> None:
        address = f"127.0.0.1:{self.mesh.registry_ports[0]}"
        command = [sys.executable, "-m", "weft", "drain", member.id, "--wait", "30s", "--http-addr", address]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()

    async def load(self, rate: float, seconds: float, first: int) -> dict[str, Any]:
        command = ["--port", str(self.web.upstreams["orders"]), "--first", str(first)]
        command += ["--rate", str(rate), "--seconds", str(seconds)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.soak_load", *command, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        found: dict[str, Any] = json.loads(said)
        return found

    def times(self, sent: int) -> bytearray:
        """How often each id came, over all applications."""
        total = bytearray(sent)
        for number, (child, _) in enumerate(self.apps):
            file = self.folder / f"seen-{number}"
            child.ask(str(file))
            for at, times in enumerate(file.read_bytes()[:sent]):
                total[at] += times
        return total


@contextlib.asynccontextmanager
async def meanwhile(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """They go on while the block runs, which fails where one of them has."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            if task.done():
                await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def every_second(soak: Soak) -> None:
    while True:
        await in_thread(soak.swap)
        await asyncio.sleep(1)


async def churn(soak: Soak) -> None:
    while True:
        await soak.replace()


async def watch(member: Member, seen: list[tuple[int, float]]) -> None:
    while True:
        expiry = await in_thread(member.metric, "weft_certificate_expiry_timestamp_seconds")
        seen.append((member.running.rss_bytes(), expiry))
        await asyncio.sleep(1)


@pytest.mark.long
async def test_nothing_is_lost_or_doubled_while_everything_changes(tmp_path: Path) -> None:
    mesh = await in_thread(Mesh, tmp_path, "--leaf-ttl", LEAF_TTL)
    try:
        with ExitStack() as stack:
            soak = Soak(mesh, stack, tmp_path)
            await _soak(soak)
    finally:
        ended = await in_thread(mesh.close)
    assert [name for name in ended if not name.startswith(soak.leaving)] == []


async def _soak(soak: Soak) -> None:
    await in_thread(soak.begin)
    warm = await soak.load(rate=1e6, seconds=1.0, first=0)
    tried = await soak.load(rate=1e6, seconds=2.0, first=warm["sent"])
    before, most = warm["sent"] + tried["sent"], tried["sent"] / 2.0
    seen: list[tuple[int, float]] = []
    async with meanwhile(every_second(soak), churn(soak), watch(soak.web, seen)):
        told = await soak.load(SHARE * most, SECONDS, first=before)
    times = soak.times(before + told["sent"])
    rss, leaves = [rss for rss, _ in seen], {expiry for _, expiry in seen}
    print(
        f"{told['sent']:,} calls at {SHARE * most:,.0f} a second wanted, {told['sent'] / SECONDS:,.0f} sent: "
        f"{times.count(0)} lost, {len(times) - times.count(0) - times.count(1)} doubled; {soak.swaps} swaps, "
        f"{soak.replaced} instances replaced, {len(leaves)} leaves; RSS in MB "
        f"{[round(octets / 1e6, 1) for octets in rss[:: max(1, len(rss) // 12)]]}"
    )
    assert told["failure"] == "" and told["answered"] == told["sent"]
    assert set(times) == {1}
    assert soak.swaps > SECONDS / 3 and soak.replaced >= 2 and len(leaves) > SECONDS / 40
    assert told["sent"] > SECONDS * SHARE * most / 4, "the load was not what it is said to be"
    _assert_flat(rss)


def _assert_flat(rss: list[int]) -> None:
    quarter = len(rss) // 4
    early, late = max(rss[quarter : 2 * quarter]), max(rss[-quarter:])
    factor, octets = RSS_GROWTH_MAX
    assert late <= early * factor + octets, (early, late)

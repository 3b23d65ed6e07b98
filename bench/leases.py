"""Ten thousand agents' leases at three real servers: what joining, connecting, living and dying costs.

    python -m bench.leases [--agents 10000] [--seconds 30]

The agents are simulated in this process (`lease_agents`); the servers are processes of their own. Prints the
figures, and writes those of 10,000 agents to bench/results/latest.json and docs/benchmarks.md.
"""

import asyncio
import gc
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import click
import uvloop

from weft.aio import Tasks
from weft.errors import WeftError

from . import procfs, registry_servers, report, results
from .errors import LoadFailed
from .lease_agents import CONNECTING, Lease, Member, connect, join_all, put
from .processes import Child, end_on_signals

Json = dict[str, Any]
Progress = Callable[[str], None]

AGENTS, SECONDS = 10_000, 30.0
KILLED = 100  # agents that die at once
POLL_S = 0.1
SETTLE_S = 60.0
PART = "leases"


class Park:
    """Agents with their leases; one that loses it goes to another server at once, as agents do."""

    def __init__(self, servers: list[str], roots_pem: bytes) -> None:
        self.servers = servers
        self.leases: set[Lease] = set()
        self.reconnected = 0
        self._roots = roots_pem
        self._turn = 0
        self._gone: list[Member] = []
        self._killing = False

    def _lost(self, lease: Lease) -> None:
        if lease in self.leases:
            self.leases.discard(lease)
            if not self._killing:
                self._gone.append(lease.member)

    async def hold(self, members: list[Member]) -> None:
        """Raises LoadFailed."""
        waiting = iter(members)

        async def work() -> None:
            for member in waiting:
                self._turn += 1
                address = self.servers[self._turn % len(self.servers)]
                self.leases.add(await connect(member, address, self._roots, self._lost))

        await asyncio.gather(*(work() for _ in range(CONNECTING)))

    async def hold_again(self) -> int:
        """Reconnects whoever has lost the lease. Answers how many."""
        members, self._gone = self._gone, []
        await self.hold(members)
        return len(members)

    def kill(self, count: int) -> list[str]:
        """Answers the nodes."""
        dying = list(self.leases)[:count]
        self._killing = True
        for lease in dying:
            self.leases.discard(lease)
            lease.kill()
        self._killing = False
        return [lease.member.node for lease in dying]


async def measure(agents: int, seconds: float, progress: Progress) -> Json:
    """All phases. Raises BenchError."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        children, told = registry_servers.weft(stack, directory)
        roots = (directory / "weft-server-ca.pem").read_bytes()
        async with _client(told) as client:
            return await _phases(
                client, children, Park(list(told["agents"]), roots), agents, seconds, progress
            )


class Client:
    """The servers' HTTP, by their order."""

    def __init__(self, session: aiohttp.ClientSession, told: Json) -> None:
        self.session = session
        self.http: list[str] = told["http"]
        self.token: str = told["token"]

    async def get(self, path: str, server: int = 0) -> Any:
        headers = {"X-Consul-Token": self.token}
        async with self.session.get(f"http://{self.http[server]}{path}", headers=headers) as answer:
            if answer.status != 200:
                raise LoadFailed(f"{path}: {answer.status} {(await answer.text())[:200]}")
            return await answer.json(content_type=None)

    async def in_state(self, status: str, server: int = 0) -> set[str]:
        rows = await self.get(f"/v1/health/state/{status}?stale", server)
        return {
            row["Node"] for row in rows if row["CheckID"] == "serfHealth" and row["Node"].startswith("vm-")
        }

    async def ready(self) -> None:
        """Until all servers are known and the CA has a root; it signs as fast as it can then."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            try:
                known = await self.get("/v1/catalog/service/consul")
                if len(known) == len(self.http) and (await self.get("/v1/connect/ca/roots"))["ActiveRootID"]:
                    path, body = "/v1/connect/ca/configuration", {"Config": {"CSRMaxPerSecond": 0}}
                    await put(self.session, self.http[0], path, self.token, body)
                    return
            except LoadFailed:
                pass
            await asyncio.sleep(POLL_S)
        raise LoadFailed("the servers did not become ready")

    async def leader(self) -> int:
        """Which of the servers leads."""
        rows = (await self.get("/v1/operator/raft/configuration"))["Servers"]
        return next(
            number for number, row in enumerate(sorted(rows, key=lambda it: it["Node"])) if row["Leader"]
        )


@asynccontextmanager
async def _client(told: Json) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        yield Client(session, told)


class Spent:
    """CPU of the servers since it was made, in cores or milliseconds."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children
        self._began = time.monotonic()
        self._before = [procfs.cpu_s(child.pid) for child in children]

    def seconds(self) -> list[float]:
        pairs = zip(self._children, self._before, strict=True)
        return [procfs.cpu_s(child.pid) - before for child, before in pairs]

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._began

    def percent(self) -> list[float]:
        wall = self.wall_s
        return [round(100 * spent / wall, 1) for spent in self.seconds()]


async def _phases(
    client: Client, children: list[Child], park: Park, agents: int, seconds: float, progress: Progress
) -> Json:
    await client.ready()
    before_mb = [procfs.rss_mb(child.pid) for child in children]
    spent = Spent(children)
    members = await join_all(client.http, client.token, agents)
    found: Json = {"agents": agents, "join": _each(spent, agents)}
    progress(f"joined: {found['join']}")
    joined_mb = [procfs.rss_mb(child.pid) for child in children]
    spent = Spent(children)
    await park.hold(members)
    found["connect"] = _each(spent, agents)
    progress(f"connected: {found['connect']}")
    await _until(client, lambda: client.in_state("passing"), lambda nodes: len(nodes) == agents, "all pass")
    leader = await client.leader()
    found["living"] = await _living(children, park, leader, seconds)
    found["memory"] = {
        "idle_mb": _rounded(before_mb),
        "joined_mb": _rounded(joined_mb),
        "held_mb": _rounded([procfs.rss_mb(child.pid) for child in children]),
    }
    progress(f"living: {found['living']}, {found['memory']}")
    found["killed"] = await _killed(client, park)
    progress(f"killed: {found['killed']}")
    found["server_lost"] = await _server_lost(client, children, park, leader)
    progress(f"a server lost: {found['server_lost']}")
    return found


def _rounded(values: list[float]) -> list[int]:
    return [round(value) for value in values]


def _each(spent: Spent, agents: int) -> Json:
    cpu_s = sum(spent.seconds())
    return {"per_s": round(agents / spent.wall_s), "cpu_ms_each": round(cpu_s / agents * 1000, 2)}


async def _living(children: list[Child], park: Park, leader: int, seconds: float) -> Json:
    gc.collect()
    answers, spent = sum(lease.answers for lease in park.leases), Spent(children)
    await asyncio.sleep(seconds)
    percent, wall = spent.percent(), spent.wall_s
    told = sum(lease.answers for lease in park.leases) - answers
    return {
        "cpu_percent": [percent[leader], *(it for n, it in enumerate(percent) if n != leader)],
        "keepalives_per_s": round(told / wall),
        "cpu_us_per_keepalive": round(sum(spent.seconds()) / told * 1e6),
    }


async def _killed(client: Client, park: Park) -> Json:
    dying = set(park.kill(KILLED))
    began = time.monotonic()
    found = await _until(
        client, lambda: client.in_state("critical"), lambda nodes: dying <= nodes, "the dead are critical"
    )
    return {
        "agents": len(dying),
        "critical_after_s": round(time.monotonic() - began, 1),
        "others": len(found - dying),
    }


async def _server_lost(client: Client, children: list[Child], park: Park, leader: int) -> Json:
    """A follower is killed. Nobody that lives may become critical until long after."""
    victim = next(number for number in range(len(children)) if number != leader)
    asked = next(number for number in range(len(children)) if number not in (leader, victim))
    dead = await client.in_state("critical", asked)
    del park.servers[victim]
    children[victim].kill()
    began, moved, last = time.monotonic(), 0, 0.0
    critical: set[str] = set()

    async def look() -> None:
        while True:
            critical.update(await client.in_state("critical", asked) - dead)
            await asyncio.sleep(POLL_S)

    tasks = Tasks()
    looking = tasks.spawn(look(), "nodes that became critical")  # also while agents move, which takes long
    while time.monotonic() < began + 20 and not looking.done():
        if again := await park.hold_again():
            moved, last = moved + again, time.monotonic() - began
        await asyncio.sleep(POLL_S)
    if looking.done():
        looking.result()  # raises what ended it
    await tasks.close()
    return {"agents_moved": moved, "within_s": round(last, 1), "made_critical": len(critical)}


async def _until(client: Client, ask: Any, holds: Callable[[set[str]], bool], what: str) -> set[str]:
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        found: set[str] = await ask()
        if holds(found):
            return found
        await asyncio.sleep(POLL_S)
    raise LoadFailed(f"not within {SETTLE_S:g} s: {what}")


def markdown(found: Json, measured: str) -> str:
    """The part of docs/benchmarks.md."""
    join, connecting, living, memory = (found[part] for part in ("join", "connect", "living", "memory"))
    killed, lost = found["killed"], found["server_lost"]
    leader, *others = living["cpu_percent"]
    cpu = f"leader {leader} %, others {_and(others)} % of a core; {living['cpu_us_per_keepalive']} µs a word"
    idle = f"{max(memory['idle_mb'])} MB before, {max(memory['joined_mb'])} MB with the members in the log"
    rows = (
        ("joining: a token made and redeemed", f"{join['per_s']}/s", f"{join['cpu_ms_each']} ms each"),
        ("connecting", f"{connecting['per_s']}/s", f"{connecting['cpu_ms_each']} ms each"),
        ("living", f"{living['keepalives_per_s']:,} words/s", cpu),
        ("memory of a server", f"{_and(memory['held_mb'])} MB", idle),
        (
            f"{killed['agents']} agents killed at once",
            f"critical after {killed['critical_after_s']} s",
            f"{killed['others']} other nodes",
        ),
        (
            "a follower killed",
            f"{lost['agents_moved']:,} agents moved within {lost['within_s']} s",
            f"{lost['made_critical']} nodes became critical",
        ),
    )
    head = ("", f"{found['agents']:,} agents, three servers", "CPU of the three together, and more")
    lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * 3, *rows)]
    return "\n".join((*lines, "", measured))


def _and(values: list[Any]) -> str:
    return " and ".join(map(str, values))


def record(progress: Progress, command: str, agents: int = AGENTS, seconds: float = SECONDS) -> Json:
    """Measures; figures of the usual number of agents are kept. Raises BenchError."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(agents, seconds, progress))
    if agents == AGENTS:
        about = results.about(command, "bench.lease_agents", 1, "")
        kept = results.merge(results.load(), {PART: found})
        kept["about"] = results.merge(kept.get("about", {}), {PART: about})
        results.save(kept)
        report.update_page(PART, markdown(found, _measured(about)))
        progress(f"recorded in {results.LATEST} and {report.PAGE}")
    return found


def _measured(about: Json) -> str:
    return (
        f"{about['date']}; {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}; "
        f"CPython {about['python']}; one run; `{about['command']}`.\n"
    )


@click.command()
@click.option("--agents", default=AGENTS, show_default=True, type=click.IntRange(2 * KILLED, 20_000))
@click.option("--seconds", default=SECONDS, show_default=True, type=click.FloatRange(1, 600))
def main(agents: int, seconds: float) -> None:
    """Leases of many agents at three servers."""
    end_on_signals()
    try:
        record(click.echo, f"python -m bench.leases --agents {agents}", agents, seconds)
    except WeftError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

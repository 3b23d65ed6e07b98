"""Three real servers under eight writers and eight readers, and what can happen to servers.

python -m tests.e2e.cluster.nemesis --rounds 20

Each round does one thing to the cluster while clients work, waits until it is whole again, and then judges
what the clients were told: no acknowledged write lost, nothing there that was refused, every key
linearizable. Exits 1 at the first round that does not hold, and keeps its files.
"""

import argparse
import asyncio
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster import network
from tests.e2e.cluster.load import Load, Round, now_us
from tests.e2e.cluster.servers import ELECTED_S, Cluster, Server
from tests.simulation.linearizability import linearizable

SNAPSHOT_AFTER_BYTES = 200_000  # some hundred writes: every few seconds
ENTRIES_KEPT = 200  # a server that was away needs a snapshot
WARM_S = 2.0
AFTER_S = 1.5
STOPPED_S = 4.0  # several elections
POLL_S = 0.01


@dataclass
class Fault:
    """What one round did. `leaderless` says whether it took the leader away."""

    name: str
    at_us: int = 0
    done_us: int = 0  # a cut takes some 100 ms, in which the leader may still answer
    leaderless: bool = False
    leader_s: float | None = None  # until another server leads
    write_s: float | None = None  # until a write that began when it was done was answered
    notes: list[str] = field(default_factory=list)


Nemesis = Callable[[Cluster, Fault, Round], Awaitable[None]]


async def _call(work: Callable[..., object], *arguments: object) -> object:
    """Blocking work, beside the clients."""
    return await asyncio.to_thread(work, *arguments)


async def _leader(cluster: Cluster, among: list[Server] | None = None) -> Server:
    return await asyncio.to_thread(cluster.leader, among)


async def kill_leader(cluster: Cluster, fault: Fault, found: Round) -> None:
    leader = await _leader(cluster)
    fault.at_us, fault.leaderless = now_us(), True
    leader.kill()
    await _recovers(cluster, fault, found, leader)
    leader.start()


async def kill_all(cluster: Cluster, fault: Fault, found: Round) -> None:
    for server in cluster.servers:
        server.signal(signal.SIGKILL)
    for server in cluster.servers:
        server.kill()
    fault.at_us = now_us()
    for server in cluster.servers:
        server.start()
    await _writes_again(fault, found)


async def kill_during_snapshot(cluster: Cluster, fault: Fault, found: Round) -> None:
    """Whoever writes a snapshot dies in the middle of it; every other time, all of them."""
    leader = await _leader(cluster)
    caught = await asyncio.to_thread(_catch_snapshot, cluster)
    fault.notes.append(f"{caught.name} killed in a snapshot" if caught else "no snapshot was caught")
    everybody = "-all" in fault.name
    victims = cluster.servers if everybody else [caught or leader]
    for server in victims:
        server.kill()
    fault.at_us = now_us()
    if leader in victims and not everybody:
        fault.leaderless = True
        await _recovers(cluster, fault, found, leader)
    for server in victims:
        server.start()
    await _writes_again(fault, found)


def _catch_snapshot(cluster: Cluster) -> Server | None:
    """Stops the first server that is seen with half a snapshot on its disk."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for server in cluster.servers:
            if server.makes_snapshot():
                server.signal(signal.SIGSTOP)  # until it is killed
                return server
        time.sleep(0.001)
    return None


async def pause_leader(cluster: Cluster, fault: Fault, found: Round) -> None:
    """SIGSTOP: when it comes back it believes that it leads, and has calls waiting."""
    leader = await _leader(cluster)
    fault.at_us, fault.leaderless = now_us(), True
    leader.signal(signal.SIGSTOP)
    try:
        await _recovers(cluster, fault, found, leader)
        await asyncio.sleep(STOPPED_S)
    finally:
        leader.signal(signal.SIGCONT)


async def partition_leader(cluster: Cluster, fault: Fault, found: Round) -> None:
    """Clients still reach it."""
    leader = await _leader(cluster)
    fault.at_us, fault.leaderless = now_us(), True
    others = [server.number for server in cluster.servers if server is not leader]
    await _call(cluster.network.cut, leader.number, others)
    fault.done_us = now_us()
    try:
        await _recovers(cluster, fault, found, leader)
        await asyncio.sleep(STOPPED_S)
    finally:
        await _call(cluster.network.heal)


NEMESES: dict[str, Nemesis] = {
    "kill-leader": kill_leader,
    "kill-all": kill_all,
    "kill-during-snapshot": kill_during_snapshot,
    "pause-leader": pause_leader,
    "partition-leader": partition_leader,
    "kill-all-during-snapshot": kill_during_snapshot,
}
CYCLE = ("kill-leader", "kill-all", "kill-during-snapshot", "pause-leader", "partition-leader")


async def _recovers(cluster: Cluster, fault: Fault, found: Round, gone: Server) -> None:
    """Returns when another server leads and a write has been answered."""
    others = [server for server in cluster.servers if server is not gone]
    await _call(cluster.until, lambda: cluster.leader(others) is not gone, "another server leads")
    fault.leader_s = (now_us() - fault.at_us) / 1e6
    await _writes_again(fault, found)


async def _writes_again(fault: Fault, found: Round) -> None:
    end = time.monotonic() + ELECTED_S
    while (at_us := found.recovered_us(max(fault.at_us, fault.done_us))) is None:
        assert time.monotonic() < end, f"no write succeeded within {ELECTED_S:g} s: {found.failures[-3:]}"
        await asyncio.sleep(POLL_S)
    fault.write_s = (at_us - fault.at_us) / 1e6


async def play(cluster: Cluster, number: int, name: str) -> tuple[Fault, Round]:
    """One round. Raises AssertionError when something does not hold."""
    load = Load(cluster, f"round-{number}", number)
    load.start()
    fault = Fault(name)
    try:
        await asyncio.sleep(WARM_S)
        await NEMESES[name](cluster, fault, load.round)
        for server in cluster.servers:
            await _call(cluster.wait, server)
        await asyncio.sleep(AFTER_S)
        await load.stop()
        await judge(cluster, load)
    finally:
        await load.close()
    return fault, load.round


async def judge(cluster: Cluster, load: Load) -> None:
    """What the clients were told, against what the servers show."""
    found = load.round
    await load.read_all()
    for server in cluster.servers:
        shown = await load.elements(server)
        lost = found.added - shown
        assert not lost, f"{server.name} lost {len(lost)} acknowledged writes: {sorted(lost)[:5]}"
        strange = shown - found.added - found.perhaps
        assert not strange, f"{server.name} shows writes that were refused: {sorted(strange)[:5]}"
    for key, operations in found.history.by_key().items():
        holds = await asyncio.to_thread(linearizable, operations)
        if not holds:
            told = "\n".join(map(str, sorted(operations, key=lambda it: it.called_us)))
            raise AssertionError(f"key {key} is not linearizable:\n{told}")


@dataclass
class Figures:
    """Of all rounds."""

    faults: list[Fault] = field(default_factory=list)
    acknowledged: int = 0
    operations: int = 0
    unknown: int = 0

    def add(self, fault: Fault, found: Round) -> None:
        self.faults.append(fault)
        self.acknowledged += len(found.writes)
        self.operations += len(found.history.operations)
        self.unknown += len(found.perhaps) + sum(it.unknown for it in found.history.operations)

    def __str__(self) -> str:
        gone = [fault for fault in self.faults if fault.leaderless]
        lines = [
            f"rounds {len(self.faults)}: acknowledged writes {self.acknowledged}, lost 0; "
            f"operations judged linearizable {self.operations}, unknown outcomes {self.unknown}",
            f"a leader was taken away {len(gone)} times",
        ]
        for what, values in (
            ("until another server led", [it.leader_s for it in gone if it.leader_s is not None]),
            ("until a write succeeded", [it.write_s for it in gone if it.write_s is not None]),
        ):
            if values:
                lines.append(f"  {what}: median {statistics.median(values):.2f} s, max {max(values):.2f} s")
        return "\n".join(lines)


def chosen(rounds: int, cuts: bool) -> list[str]:
    """What each round does. Where servers cannot be cut off, those rounds are named and left out."""
    names = [CYCLE[number % len(CYCLE)] for number in range(rounds)]
    seen = 0
    for at, name in enumerate(names):
        if name == "kill-during-snapshot":
            seen += 1
            if seen % 2 == 0:
                names[at] = "kill-all-during-snapshot"
    if not cuts:
        for at, name in enumerate(names, 1):
            if name == "partition-leader":
                print(f"round {at}: partition-leader SKIPPED: no network namespaces on this machine")
        names = [name for name in names if name != "partition-leader"]
    return names


async def run(folder: Path, rounds: int) -> Figures:
    """All rounds on one cluster. Raises AssertionError."""
    figures = Figures()
    way = network.network(3)
    launcher = (f"--snapshot-after-bytes={SNAPSHOT_AFTER_BYTES}", f"--entries-kept={ENTRIES_KEPT}")
    with Cluster(folder, way, 3, *launcher) as cluster:
        await _call(cluster.start_all)
        for number, name in enumerate(chosen(rounds, way.cuts), 1):
            fault, found = await play(cluster, number, name)
            figures.add(fault, found)
            print(_told(number, fault, found), flush=True)
        for server in cluster.servers:
            await _call(server.end)
    return figures


def _told(number: int, fault: Fault, found: Round) -> str:
    times = "".join(
        f", {what} after {seconds:.2f} s"
        for what, seconds in (("new leader", fault.leader_s), ("write", fault.write_s))
        if seconds is not None
    )
    notes = "".join(f"; {note}" for note in fault.notes)
    return f"round {number}: {fault.name}: {len(found.writes)} acknowledged, none lost{times}{notes}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    network.enter()
    folder = Path(tempfile.mkdtemp(prefix="weft-nemesis-"))
    try:
        print(asyncio.run(run(folder, given.rounds)))
    except AssertionError as error:
        print(f"FAILED: {error}\nfiles are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Three servers and five agents, anything killed, stopped or cut off at random, while services come and go.

python -m tests.e2e.agent.churn --seed 7 --seconds 60

In the end everything is healed. Then the catalog must become what the agents have: no ghost stays, no healthy
instance is lost; and what the agents have must be what they acknowledged. Exits 1 where it does not, and
keeps its files.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.agent.machines import Machine, Machines
from tests.e2e.cluster import network
from tests.e2e.cluster.servers import ROOT, Cluster, Server

SERVERS, AGENTS = 3, 5
SERVICES = 6  # ids that an agent may have
SETTLED_WITHIN_S = 90.0  # after everything is healed: elections, back-off of 15 s, and two busy cores
FAULT_EVERY_S = (0.5, 2.5)
FAULT_LASTS_S = (1.0, 6.0)
CHANGE_EVERY_S = 0.08
POLL_S = 0.2

Undo = Callable[[], None]


@dataclass
class Truth:
    """What one agent acknowledged. A call whose answer is lost may have been done or not."""

    present: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)


@dataclass
class Told:
    """Figures of a run."""

    faults: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    lost: int = 0
    settled_s: float = 0.0
    services: int = 0

    def line(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (
            f"settled after {self.settled_s:.1f} s, {self.services} services; {self.acknowledged} changes "
            f"acknowledged, {self.lost} answers lost; {faults}"
        )


class Churn:
    """One run. `chance` decides everything that happens."""

    def __init__(self, cluster: Cluster, machines: Machines, chance: random.Random) -> None:
        self.cluster = cluster
        self.agents = machines.agents
        self.chance = chance
        self.told = Told()
        self.truth = {agent.name: Truth() for agent in self.agents}
        self._undo: list[tuple[float, str, Undo]] = []  # when, whose

    # Changes at the agents

    def change(self) -> None:
        """One call at one agent's own API."""
        agent = self.chance.choice(self.agents)
        name = f"{agent.name}-{self.chance.randrange(SERVICES)}"
        kind = self.chance.choice(("register", "register", "deregister", "status", "status"))
        if not agent.running or f"stop {agent.name}" in self._under_way():
            return
        if kind == "register":
            check = {"CheckID": f"check-{name}", "TTL": "600s"}
            body = {"Name": "churned", "ID": name, "Port": self.chance.randint(1, 65535), "Check": check}
            self._acknowledged(agent, name, True, "/v1/agent/service/register", body)
        elif kind == "deregister":
            self._acknowledged(agent, name, False, f"/v1/agent/service/deregister/{name}")
        else:
            verb = self.chance.choice(("pass", "pass", "warn", "fail"))
            self._call(agent, f"/v1/agent/check/{verb}/check-{name}")

    def _acknowledged(self, agent: Machine, name: str, there: bool, path: str, body: object = None) -> None:
        truth = self.truth[agent.name]
        status = self._call(agent, path, body)
        if status is None:
            truth.unsure.add(name)
        elif status == 200 or (status == 404 and not there):
            truth.unsure.discard(name)
            (truth.present.add if there else truth.present.discard)(name)
        elif status != 500:  # 500: no server could say whether the token may
            raise AssertionError(f"{agent.name} {path}: {status}")

    def _call(self, agent: Machine, path: str, body: object = None) -> int | None:
        try:
            status, _ = agent.call("PUT", path, body)
        except OSError:
            self.told.lost += 1
            return None
        self.told.acknowledged += status == 200
        return status

    # Faults

    def fault(self, now: float) -> None:
        """One thing goes wrong, for a while."""
        kinds = [self._kill_server, self._kill_agent, self._stop_server, self._stop_agent]
        kinds += [self._forget_node, self._plant_ghost]
        if self.cluster.network.cuts:
            kinds += [self._cut_agent, self._cut_agent, self._cut_server]
        made = self.chance.choice(kinds)()
        if made:
            kind, whose, undo = made
            self.told.faults[kind] = self.told.faults.get(kind, 0) + 1
            self._undo.append((now + self.chance.uniform(*FAULT_LASTS_S), whose, undo))

    def _under_way(self) -> set[str]:
        return {whose for _, whose, _ in self._undo}

    def heal(self, now: float) -> None:
        """Ends what has lasted long enough."""
        for due in [it for it in self._undo if it[0] <= now]:
            self._undo.remove(due)
            due[2]()

    def heal_all(self) -> None:
        self.heal(float("inf"))
        everybody: list[Server | Machine] = [*self.cluster.servers, *self.agents]
        for each in everybody:
            if not each.running:
                each.start()

    def _kill(self, each: Server | Machine, kind: str) -> tuple[str, str, Undo] | None:
        if not each.running or any(whose.endswith(each.name) for whose in self._under_way()):
            return None
        each.kill()
        return kind, f"kill {each.name}", each.start

    def _kill_server(self) -> tuple[str, str, Undo] | None:
        return self._kill(self.chance.choice(self.cluster.servers), "server killed")

    def _kill_agent(self) -> tuple[str, str, Undo] | None:
        return self._kill(self.chance.choice(self.agents), "agent killed")

    def _stop(self, each: Server | Machine, kind: str) -> tuple[str, str, Undo] | None:
        if not each.running or any(whose.endswith(each.name) for whose in self._under_way()):
            return None
        each.signal(signal.SIGSTOP)
        return kind, f"stop {each.name}", lambda: each.signal(signal.SIGCONT)

    def _stop_server(self) -> tuple[str, str, Undo] | None:
        return self._stop(self.chance.choice(self.cluster.servers), "server stopped")

    def _stop_agent(self) -> tuple[str, str, Undo] | None:
        return self._stop(self.chance.choice(self.agents), "agent stopped")

    def _cut_agent(self) -> tuple[str, str, Undo]:
        """From one server, two, or all of them."""
        agent = self.chance.choice(self.agents)
        others = self.chance.sample(range(SERVERS), self.chance.randint(1, SERVERS))
        self.cluster.network.cut(agent.number, others)
        return "agent cut off", "cut", self._mend

    def _cut_server(self) -> tuple[str, str, Undo]:
        server = self.chance.choice(self.cluster.servers)
        everybody = [it for it in range(SERVERS + AGENTS) if it != server.number]
        self.cluster.network.cut(server.number, self.chance.sample(everybody, self.chance.randint(1, 7)))
        return "server cut off", "cut", self._mend

    def _mend(self) -> None:
        """Every cut at once: the network knows no finer way."""
        self.cluster.network.heal()

    def _forget_node(self) -> tuple[str, str, Undo] | None:
        agent = self.chance.choice(self.agents)
        if not self._write("/v1/catalog/deregister", {"Node": agent.name}):
            return None
        return "node forgotten", "none", lambda: None

    def _plant_ghost(self) -> tuple[str, str, Undo] | None:
        agent = self.chance.choice(self.agents)
        ghost = {"ID": f"ghost-{self.chance.randrange(3)}", "Service": "churned", "Port": 1}
        body = {"Node": agent.name, "SkipNodeUpdate": True, "Address": "10.0.0.1", "Service": ghost}
        return ("ghost planted", "none", lambda: None) if self._write("/v1/catalog/register", body) else None

    def _write(self, path: str, body: object) -> bool:
        server = self.chance.choice(self.cluster.servers)
        if not server.running:
            return False
        try:
            return self.cluster.call(server, "PUT", path, body, timeout_s=1.0)[0] == 200
        except OSError:
            return False

    # Judgement

    def run(self, seconds: float) -> None:
        now = time.monotonic()
        end, fault_at = now + seconds, now + 1.0
        while (now := time.monotonic()) < end:
            self.heal(now)
            if now >= fault_at:
                self.fault(now)
                fault_at = now + self.chance.uniform(*FAULT_EVERY_S)
            self.change()
            time.sleep(CHANGE_EVERY_S)

    def settle(self) -> None:
        """Heals everything, and waits until the catalog is what the agents have. Raises AssertionError."""
        self.heal_all()
        healed = time.monotonic()
        while wrong := self.differences():
            assert time.monotonic() < healed + SETTLED_WITHIN_S, "\n".join(wrong[:20])
            time.sleep(POLL_S)
        self.told.settled_s = time.monotonic() - healed
        for agent in self.agents:
            here, truth = set(agent.get("/v1/agent/services")), self.truth[agent.name]
            assert here - truth.unsure == truth.present - truth.unsure, f"{agent.name}: {here} {truth}"
            self.told.services += len(here)
        assert not self.differences(), "what was settled stays so"

    def differences(self) -> list[str]:
        """What the servers have and the agents do not, and the other way around; [] when all agree."""
        found: list[str] = []
        everywhere: dict[tuple[str, str], str] = {}  # (node, service id) -> status of its check
        for agent in self.agents:
            services, checks = agent.get("/v1/agent/services"), agent.get("/v1/agent/checks")
            if services is None or checks is None:
                return [f"{agent.name} does not answer"]
            for name, row in services.items():
                everywhere[agent.name, name] = checks[f"check-{name}"]["Status"]
                found += self._at_servers(agent.name, name, row["Port"])
        for server in self.cluster.servers:
            found += self._entries(server, everywhere)
        return found

    def _at_servers(self, node: str, name: str, port: int) -> Iterator[str]:
        for server in self.cluster.servers:
            rows = self._get(server, f"/v1/catalog/node/{node}?stale") or {"Services": {}}
            row = rows["Services"].get(name)
            if row is None or row["Port"] != port:
                yield f"{server.name} has {row} for {name} of {node}, which listens on {port}"

    def _entries(self, server: Server, everywhere: dict[tuple[str, str], str]) -> Iterator[str]:
        entries = self._get(server, "/v1/health/service/churned?stale")
        if entries is None:
            yield f"{server.name} does not answer"
            return
        seen = {(it["Node"]["Node"], it["Service"]["ID"]): it["Checks"] for it in entries}
        yield from (f"{server.name}: a ghost: {it}" for it in seen if it not in everywhere)
        yield from (f"{server.name}: lost: {it}" for it in everywhere if it not in seen)
        for key, checks in seen.items():
            statuses = {row["Status"] for row in checks if row["CheckID"].startswith("check-")}
            if key in everywhere and statuses != {everywhere[key]}:
                yield f"{server.name}: {key} is {everywhere[key]}, not {statuses}"

    def _get(self, server: Server, path: str) -> Any:
        try:
            return self.cluster.ok(server, "GET", path)
        except (OSError, AssertionError):
            return None


@contextmanager
def running(folder: Path, seed: int) -> Iterator[Churn]:
    net = network.network(SERVERS + AGENTS)
    with Cluster(folder, net, SERVERS) as cluster:
        machines = Machines(cluster, folder, SERVERS)
        try:
            cluster.start_all()
            for _ in range(AGENTS):
                machines.add("--sync-interval", "2s").start()
            yield Churn(cluster, machines, random.Random(seed))
        except AssertionError:
            print(*(f"--- {it.name} said:\n{it.said()}" for it in machines.agents), sep="\n")
            raise
        finally:
            machines.close()


def one(seed: int, seconds: float) -> Told:
    """Raises AssertionError where the run does not hold; its files stay then."""
    folder = Path(tempfile.mkdtemp(prefix="weft-churn-"))
    with running(folder, seed) as churn:
        churn.settle()  # all are there before anything happens
        churn.told = Told()
        churn.run(seconds)
        churn.settle()
    shutil.rmtree(folder)
    return churn.told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1, help="with this seed and the following ones")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    if given.runs > 1:  # a network is made once in a process
        for seed in range(given.seed, given.seed + given.runs):
            apart = [sys.executable, "-m", "tests.e2e.agent.churn", "--seed", str(seed)]
            subprocess.run([*apart, "--seconds", str(given.seconds)], cwd=ROOT, check=True)
        return
    network.enter()
    print(f"seed {given.seed}: {one(given.seed, given.seconds).line()}", flush=True)


if __name__ == "__main__":
    main()

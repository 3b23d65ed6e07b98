"""Agents that join real servers, and what the servers know of their life when either is killed or hangs."""

import json
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.agents import Agent, joining_agent
from tests.support.servers import Cluster, eventually, running_servers

pytestmark = pytest.mark.long


@contextmanager
def joined(cluster: Cluster, *names: str) -> Iterator[list[Agent]]:
    """Agents that the servers hear; what runs at the end is killed."""
    agents = [joining_agent(cluster, name) for name in names]
    try:
        for agent in agents:
            agent.start()
        for name in names:
            until_status(cluster, name, "passing")
        yield agents
    finally:
        for agent in agents:
            if agent.running:
                agent.kill()


def life(cluster: Cluster, node: str) -> tuple[str, int]:
    """Status of the node's serfHealth, and the index at which that was last written."""
    rows = cluster.leader().ok("GET", f"/v1/health/node/{node}")
    found = [row for row in rows if row["CheckID"] == "serfHealth"]
    return (found[0]["Status"], found[0]["ModifyIndex"]) if found else ("", 0)


def until_status(cluster: Cluster, node: str, wanted: str) -> None:
    eventually(lambda: life(cluster, node)[0] == wanted, f"{node} is {wanted}\n{cluster.said()}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One server, which every test leaves running."""
    with running_servers(tmp_path_factory.mktemp("cluster"), 1) as found:
        yield found


def test_an_agent_joins_needs_nothing_else_and_comes_back(cluster: Cluster) -> None:
    with joined(cluster, "vm-1") as (agent,):
        assert agent.ok("PUT", "/v1/agent/service/register", {"Name": "web", "Port": 80}) is None
        eventually(lambda: cluster.running[0].knows("web"), f"web in the catalog\n{agent.said()}")
        kept = agent.data / "membership.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        for secret in (json.loads(kept.read_bytes())["acl_secret"], "weft-join."):
            assert secret not in agent.said()
        agent.kill()
        until_status(cluster, "vm-1", "critical")
        health = cluster.running[0].ok("GET", "/v1/health/service/web?passing")
        assert health == []
        agent.start()  # the join token was used already
        until_status(cluster, "vm-1", "passing")


def test_an_agent_that_hangs_is_critical_until_it_speaks(cluster: Cluster) -> None:
    with joined(cluster, "vm-2") as (agent,):
        agent.signal(signal.SIGSTOP)
        try:
            until_status(cluster, "vm-2", "critical")
        finally:
            agent.signal(signal.SIGCONT)
        until_status(cluster, "vm-2", "passing")


def test_a_token_lets_in_one_agent_and_the_other_is_told(cluster: Cluster, tmp_path: Path) -> None:
    text = cluster.running[0].ok("PUT", "/v1/join-token", {"NodePrefix": "vm-3"})["Token"]
    first, second = (joining_agent(cluster, name, text=text) for name in ("vm-3a", "vm-3b"))
    try:
        first.start()
        second.launch()
        assert second.process is not None
        assert second.process.wait(10) == 2
        assert "used already" in second.said().splitlines()[-1]
    finally:
        first.kill()
        second.process = None


def test_an_agent_that_waits_for_its_servers_ends_by_a_signal(cluster: Cluster) -> None:
    text = cluster.running[0].ok("PUT", "/v1/join-token", {"Node": "vm-4"})["Token"]
    agent = joining_agent(cluster, "vm-4", text=text)
    agent.flags = ("--server", "127.0.0.1:1", *agent.flags[2:])
    import subprocess

    with agent._output().open("ab") as output:
        agent.process = subprocess.Popen([*agent.command(), *agent.flags], stdout=output, stderr=output)
    eventually(lambda: "has not joined yet" in agent.said(), "it waits")
    agent.stop()


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
@pytest.mark.parametrize("leads", [False, True], ids=["follower", "leader"])
def test_the_loss_of_a_server_makes_no_node_critical(
    tmp_path: Path, how: signal.Signals, leads: bool
) -> None:
    """Each server holds some leases. That the leader still judges, an agent shows which dies after it."""
    names = [f"vm-{number}" for number in range(6)]
    with running_servers(tmp_path, 3) as cluster, joined(cluster, *names) as agents:
        before = {name: life(cluster, name) for name in names}
        victim = cluster.leader() if leads else cluster.followers()[0]
        victim.signal(how)
        hung, victim.process = victim.process, None
        try:
            cluster.leader()
            agents[0].kill()
            until_status(cluster, names[0], "critical")
            assert {name: life(cluster, name) for name in names[1:]} == {
                name: before[name] for name in names[1:]
            }
        finally:
            victim.process = hung
            victim.kill()

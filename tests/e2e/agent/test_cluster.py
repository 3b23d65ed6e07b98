"""Agents beside three servers, of which any may go."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.agents import Agent, make_agent, running_agents
from tests.support.servers import Cluster, eventually, running_servers

pytestmark = pytest.mark.long

REGISTER = "/v1/agent/service/register"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_servers(tmp_path_factory.mktemp("cluster"), 3) as found:
        yield found


@pytest.fixture(scope="module")
def agents(cluster: Cluster) -> Iterator[list[Agent]]:
    with running_agents(cluster, 2) as found:
        yield found


def test_each_agent_sees_what_the_other_registers(agents: list[Agent]) -> None:
    one, other = agents
    one.ok("PUT", REGISTER, {"Name": "of-one", "Port": 1})
    other.ok("PUT", REGISTER, {"Name": "of-other", "Port": 2})
    for agent in agents:
        for name in ("of-one", "of-other"):
            eventually(partial(agent.knows, name), f"{name} seen by {agent.name}")


def test_an_alias_follows_a_service_of_another_machine(agents: list[Agent]) -> None:
    one, other = agents
    one.ok("PUT", REGISTER, {"Name": "db", "Check": {"TTL": "600s", "Status": "passing"}})
    follows = {"AliasNode": one.name, "AliasService": "db"}
    other.ok("PUT", REGISTER, {"Name": "needs-db", "Check": {"CheckID": "of-db", **follows}})

    def status() -> str:
        found: str = other.ok("GET", "/v1/agent/checks")["of-db"]["Status"]
        return found

    eventually(lambda: status() == "passing", "as the other")
    one.ok("PUT", "/v1/agent/check/fail/service:db")
    eventually(lambda: status() == "critical", "the other's end is seen")
    one.ok("PUT", "/v1/agent/check/pass/service:db")
    eventually(lambda: status() == "passing", "and its return")


def test_one_server_leads_to_all_and_any_may_go(cluster: Cluster) -> None:
    """The agent is told of one server only, which then dies; so does the leader."""
    seed, *_ = cluster.followers()
    agent = make_agent(cluster, "seeded", seeds=[seed])
    agent.start()
    try:
        eventually(lambda: cluster.servers[0].ok("GET", "/v1/catalog/node/seeded"), "it is known")
        agent.ok("PUT", "/v1/kv/a", b"1")
        https = seed.told["https"]
        eventually(lambda: learnt(agent, cluster), "it has learnt of the others")
        seed.kill()
        agent.ok("PUT", REGISTER, {"Name": "after-the-seed", "Port": 1})
        eventually(lambda: agent.call("PUT", "/v1/kv/b", b"2")[0] == 200, "writes go to another server")
        others = [server for server in cluster.servers if server is not seed]
        eventually(lambda: others[0].knows("after-the-seed"), "and registrations")
        flags = seed.flags
        seed.flags = (*flags, "--https-port", https.rpartition(":")[2])
        seed.start()
        seed.flags = flags
        leader = cluster.leader()
        leader.kill()
        eventually(lambda: agent.call("GET", "/v1/kv/b")[0] == 200, "there is another leader")
        leader.start()
    finally:
        agent.kill()


def learnt(agent: Agent, cluster: Cluster) -> bool:
    """Whether it says so: only a lost server would show."""
    return all(server.told["https"] in agent.said() for server in cluster.servers)

"""Real agents beside a real server: what is registered with an agent is in the catalog, and stays right."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import Agent, make_agent, running_agents
from tests.support.dev import WEFT
from tests.support.servers import Cluster, Server, eventually, running_servers

REGISTER = "/v1/agent/service/register"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One server, which every test leaves running."""
    with running_servers(tmp_path_factory.mktemp("cluster"), 1) as found:
        yield found


@pytest.fixture(scope="module")
def agents(cluster: Cluster) -> Iterator[list[Agent]]:
    """Two agents, running before and after each test."""
    with running_agents(cluster, 2) as found:
        yield found


@pytest.fixture
def server(cluster: Cluster) -> Server:
    return cluster.servers[0]


@pytest.fixture
def agent(agents: list[Agent]) -> Agent:
    return agents[0]


def on_node(server: Server, node: str) -> set[str]:
    """Ids of the services that the catalog has for a node."""
    found = server.ok("GET", f"/v1/catalog/node/{node}")
    return set(found["Services"]) if found else set()


def statuses(server: Server, service: str) -> list[str]:
    return [row["Status"] for row in server.ok("GET", f"/v1/health/checks/{service}")]


def test_a_registration_is_told_to_the_servers_with_its_node(server: Server, agent: Agent) -> None:
    agent.ok("PUT", REGISTER, {"Name": "web", "ID": "web-1", "Port": 80, "Tags": ["v1"], "Meta": {"a": "b"}})
    (row,) = eventually(lambda: server.ok("GET", "/v1/catalog/service/web"), "web in the catalog")
    assert (row["Node"], row["ServiceID"], row["ServicePort"]) == ("a1", "web-1", 80)
    assert row["ServiceTags"] == ["v1"]
    assert row["ServiceMeta"] == {"a": "b"}
    assert row["ID"] == agent.told["node_id"]
    agent.ok("PUT", "/v1/agent/service/deregister/web-1")
    eventually(lambda: "web-1" not in on_node(server, "a1"), "web gone from the catalog")


def test_the_agent_answers_for_its_node_and_asks_servers_for_the_rest(
    server: Server, agents: list[Agent]
) -> None:
    one, other = agents
    one.ok("PUT", REGISTER, {"Name": "shared", "Port": 80})
    assert set(one.ok("GET", "/v1/agent/services")) >= {"shared"}
    assert "shared" not in other.ok("GET", "/v1/agent/services")
    eventually(lambda: other.knows("shared"), "seen through another agent")
    told = one.ok("GET", "/v1/agent/self")
    assert (told["Config"]["NodeName"], told["Config"]["Server"]) == ("a1", False)
    assert one.ok("PUT", "/v1/kv/through/agent", {"a": 1}) is True
    assert json.loads(server.call("GET", "/v1/kv/through/agent?raw")[2]) == {"a": 1}


def test_a_blocking_query_waits_through_the_agent(server: Server, agent: Agent) -> None:
    status, headers, _ = agent.call("GET", "/v1/health/service/late")
    assert status == 200
    index = headers["X-Consul-Index"]
    server.ok("PUT", REGISTER, {"Name": "late", "Port": 1})
    status, after, body = agent.call("GET", f"/v1/health/service/late?index={index}&wait=20s")
    assert [row["Service"]["ID"] for row in json.loads(body)] == ["late"]
    assert int(after["X-Consul-Index"]) > int(index)


def test_a_restarted_agent_keeps_its_services_and_the_status_of_their_checks(
    server: Server, agent: Agent
) -> None:
    agent.ok("PUT", REGISTER, {"Name": "kept", "Port": 80, "Check": {"TTL": "600s"}})
    agent.ok("PUT", "/v1/agent/check/pass/service:kept")
    eventually(lambda: statuses(server, "kept") == ["passing"], "the check is told")
    agent.kill()
    assert statuses(server, "kept") == ["passing"]
    agent.start()
    assert "kept" in agent.services()
    assert agent.ok("GET", "/v1/agent/checks")["service:kept"]["Status"] == "passing"
    assert statuses(server, "kept") == ["passing"]


def test_what_servers_have_and_the_agent_does_not_goes_away(server: Server, agent: Agent) -> None:
    ghost = {"ID": "ghost", "Service": "ghost", "Port": 1}
    node = {"Node": "a1", "SkipNodeUpdate": True}
    check = {"CheckID": "stray", "Name": "stray", "Status": "passing"}
    assert server.ok("PUT", "/v1/catalog/register", {**node, "Service": ghost, "Check": check})
    eventually(lambda: "ghost" not in on_node(server, "a1"), "the ghost is gone")
    found = server.ok("GET", "/v1/health/node/a1")
    assert "stray" not in {row["CheckID"] for row in found}


def test_servers_that_forget_the_node_are_told_again(server: Server, agent: Agent) -> None:
    agent.ok("PUT", REGISTER, {"Name": "back", "Port": 80, "Check": {"TTL": "600s", "Status": "passing"}})
    eventually(lambda: server.knows("back"), "told")
    assert server.ok("PUT", "/v1/catalog/deregister", {"Node": "a1"})
    eventually(lambda: "back" in on_node(server, "a1"), "the node comes back")
    eventually(lambda: statuses(server, "back") == ["passing"], "and its checks")


def test_a_registration_while_servers_are_away_is_told_later(cluster: Cluster, agent: Agent) -> None:
    (server,) = cluster.servers
    https = server.told["https"]
    agent.ok("PUT", REGISTER, {"Name": "before", "Port": 80})  # the agent knows the token from now on
    server.kill()
    agent.ok("PUT", REGISTER, {"Name": "meanwhile", "Port": 80})
    status, _, body = agent.call("GET", "/v1/kv/x")
    assert (status, body) == (500, b"No known Consul servers")
    flags = server.flags
    server.flags = (*flags, "--https-port", https.rpartition(":")[2])
    server.start()
    server.flags = flags
    eventually(lambda: "meanwhile" in on_node(server, "a1"), "told to the server that came back")


def test_a_sidecar_credential_is_minted_by_a_server(server: Server, agent: Agent) -> None:
    definition = {"Name": "meshed", "Port": 80, "Connect": {"SidecarService": {}}}
    credential = agent.ok("PUT", f"{REGISTER}?credential", definition)
    assert credential["InstanceKey"] == "dc1/a1/meshed"
    assert credential["RegistryAddresses"][0] == server.told["grpc"]
    eventually(lambda: "meshed-sidecar-proxy" in on_node(server, "a1"), "its sidecar is registered too")


def test_an_agent_that_leaves_takes_its_node_along_and_brings_it_back(
    server: Server, agents: list[Agent]
) -> None:
    agent = agents[1]
    agent.ok("PUT", REGISTER, {"Name": "leaver", "Port": 80})
    eventually(lambda: server.knows("leaver"), "told")
    agent.ok("PUT", "/v1/agent/leave")
    assert agent.process is not None
    assert agent.process.wait(20) == 0, agent.said()
    assert server.ok("GET", f"/v1/catalog/node/{agent.name}") is None
    assert server.running, "it is the agent that left"
    agent.start()
    eventually(lambda: server.knows("leaver"), "it is back with what it had")


def test_an_agent_measures_itself(agent: Agent) -> None:
    agent.ok("PUT", REGISTER, {"Name": "measured", "Check": {"TTL": "600s"}})
    found = {row["Name"]: row["Value"] for row in agent.ok("GET", "/v1/agent/metrics")["Gauges"]}
    assert found["weft.agent.services"] == len(agent.services())
    assert found["weft.agent.checks.critical"] >= 1


def test_an_agent_does_not_take_the_name_of_a_server(cluster: Cluster, tmp_path: Path) -> None:
    rival = make_agent(cluster, cluster.servers[0].name)
    rival.folder = tmp_path
    rival.start()
    try:
        eventually(lambda: "another machine has it" in rival.said(), "it says so")
        assert "consul" in on_node(cluster.servers[0], cluster.servers[0].name)
    finally:
        rival.kill()


def test_a_drain_through_an_agent_sees_what_sidecars_told_the_servers(
    cluster: Cluster, server: Server, agent: Agent
) -> None:
    """The sidecar's part is played: it reports to whichever server holds its subscription."""
    agent.ok("PUT", REGISTER, {"Name": "leaving", "Port": 80, "Connect": {"SidecarService": {"Port": 21000}}})
    eventually(lambda: "leaving-sidecar-proxy" in on_node(server, "a1"), "the sidecar in the catalog")
    command = [*WEFT, "drain", "leaving", "--wait", "60s", "--http-addr", agent.told["http"]]
    command += ["--token-file", str(cluster.folder / "token")]
    drain = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        check_id = "_service_maintenance:leaving-sidecar-proxy"

        def told(output: str) -> bool:
            rows = server.ok("GET", "/v1/health/checks/leaving-sidecar-proxy")
            for row in rows:
                if row["CheckID"] == check_id and row["Output"] != output:
                    body = {"Node": "a1", "SkipNodeUpdate": True, "Check": row | {"Output": output}}
                    server.ok("PUT", "/v1/catalog/register", body)
            return any(row["CheckID"] == check_id and row["Output"] == output for row in rows)

        assert drain.stdout is not None
        assert drain.stdout.readline() == "leaving takes no new requests\n"
        assert drain.stdout.readline() == "waiting for the sidecar to tell\n"
        eventually(lambda: told("1 requests open, 4 begun since"), "the report stands")
        assert drain.stdout.readline() == "1 open, 4 begun since\n"
        eventually(lambda: told("0 requests open, 4 begun since"), "the next report stands")
        assert drain.stdout.read() == "0 open, 4 begun since\nleaving is deregistered\n"
        assert drain.wait(20) == 0
    finally:
        drain.kill()
        drain.communicate()
    eventually(lambda: "leaving" not in on_node(server, "a1"), "gone from the catalog")

"""An agent whose servers are away: what it answered lately it answers still, to whom it may."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import Agent, running_agents
from tests.support.servers import Cluster, Server, eventually, running_servers

pytestmark = pytest.mark.long

HEALTH = "/v1/health/service/web"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_servers(tmp_path, 1) as found:
        yield found


@pytest.fixture
def server(cluster: Cluster) -> Server:
    return cluster.servers[0]


@pytest.fixture
def agent(cluster: Cluster) -> Iterator[Agent]:
    with running_agents(cluster, 1) as (found,):
        yield found


def new_token(server: Server, name: str, rules: str) -> dict[str, Any]:
    server.ok("PUT", "/v1/acl/policy", {"Name": name, "Rules": rules})
    made: dict[str, Any] = server.ok("PUT", "/v1/acl/token", {"Policies": [{"Name": name}]})
    return made


def known_to_be_old(found: tuple[int, dict[str, str], bytes]) -> dict[str, str] | None:
    """The headers of an answer that says that no server stands behind it."""
    status, headers, _ = found
    assert status == 200
    return headers if headers["X-Consul-KnownLeader"] == "false" else None


READS = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'


def test_reads_go_on_without_servers_and_each_token_sees_its_own(server: Server, agent: Agent) -> None:
    agent.ok("PUT", "/v1/agent/service/register", {"Name": "web", "Port": 80})
    eventually(lambda: agent.knows("web"), "told")
    reader = new_token(server, "reader", READS)["SecretID"]
    blind = new_token(server, "blind", 'key_prefix "" { policy = "read" }')["SecretID"]

    def look(token: str, query: str = "?cached") -> tuple[int, dict[str, str], bytes]:
        return agent.call("GET", HEALTH + query, token=token)

    status, headers, body = look(reader)
    assert (status, headers["X-Cache"]) == (200, "MISS")
    assert [row["Service"]["ID"] for row in json.loads(body)] == ["web"]
    status, headers, again = look(reader)
    assert (status, headers["X-Cache"], again) == (200, "HIT", body)
    assert int(headers["Age"]) <= 1
    assert json.loads(look(blind)[2]) == []
    server.kill()

    known = eventually(lambda: known_to_be_old(look(reader)), "older than what ?cached may be otherwise")
    assert (known["X-Cache"], known["X-Consul-Index"]) == ("HIT", headers["X-Consul-Index"])
    assert int(known["X-Consul-LastContact"]) >= 1000
    assert look(reader)[2] == body
    assert look(reader, "?stale")[2] == body, "what ?cached left serves ?stale as well"
    assert json.loads(look(blind)[2]) == [], "nobody sees with another's token"
    status, _, told = look("11111111-2222-3333-4444-555555555555")
    assert (status, told) == (500, b"No known Consul servers"), "nothing is known of this token"
    assert look(reader, "")[0] == 500, "a read that must be sure is not answered from memory"
    assert look(reader, "?cached&passing")[0] == 500, "nobody asked this before"
    young = "max-age=0, stale-if-error=0"
    assert agent.call("GET", HEALTH + "?cached", token=reader, Cache_Control=young)[0] == 500
    index = headers["X-Consul-Index"]
    assert look(reader, f"?cached&index={index}&wait=100ms")[2] == body, "a watcher gets what is known"


def test_the_local_api_goes_on_without_servers(server: Server, agent: Agent) -> None:
    agent.ok("PUT", "/v1/agent/service/register", {"Name": "web", "Check": {"TTL": "600s"}})
    server.kill()
    agent.ok("PUT", "/v1/agent/check/pass/service:web")
    assert agent.ok("GET", "/v1/agent/checks")["service:web"]["Status"] == "passing"
    assert agent.call("GET", "/v1/agent/health/service/name/web")[0] == 200


def test_rights_that_are_taken_away_end_at_once(server: Server, agent: Agent) -> None:
    agent.ok("PUT", "/v1/agent/service/register", {"Name": "web"})
    eventually(lambda: agent.knows("web"), "told")
    made = new_token(server, "reader", READS)
    accessor, secret = made["AccessorID"], made["SecretID"]
    found = agent.call("GET", HEALTH + "?cached", token=secret, Cache_Control="max-age=600")
    assert json.loads(found[2])
    policy = server.ok("GET", "/v1/acl/policy/name/reader")
    server.ok(
        "PUT", f"/v1/acl/policy/{policy['ID']}", {"Name": "reader", "Rules": 'key "x" { policy = "read" }'}
    )

    def seen() -> tuple[int, Any]:
        status, _, body = agent.call("GET", HEALTH + "?cached", token=secret, Cache_Control="max-age=600")
        return status, json.loads(body) if status == 200 else None

    eventually(lambda: seen() == (200, []), "the changed policy is in force for cached reads too")
    server.ok("DELETE", f"/v1/acl/token/{accessor}")
    eventually(lambda: seen()[0] == 403, "and the token's end")
    assert agent.call("GET", "/v1/agent/services", token=secret)[0] == 403


def test_the_agents_own_api_asks_for_rights(server: Server, agent: Agent) -> None:
    web = {"Name": "web", "Port": 80}
    register = "/v1/agent/service/register"
    status, _, body = agent.call("PUT", register, web, token="")
    assert status == 403
    assert b"anonymous token lacks permission 'service:write' on \"web\"" in body
    writer = new_token(server, "writer", 'service "web" { policy = "write" }')["SecretID"]
    assert agent.call("PUT", register, web, token=writer)[0] == 200
    assert agent.call("PUT", register, {"Name": "api"}, token=writer)[0] == 403
    eventually(lambda: server.knows("web"), "told with the token that registered it")
    assert agent.call("PUT", "/v1/agent/service/deregister/web", token=writer)[0] == 200
    eventually(lambda: not server.knows("web"), "and taken away with the agent's")


def test_a_service_is_told_with_its_own_token(server: Server, agent: Agent) -> None:
    """The agent's own token may write the node and no service: Consul's least rights for an agent."""
    least = new_token(server, "least", 'node "a1" { policy = "write" } ' + READS)["SecretID"]
    agent.ok("PUT", "/v1/agent/token/agent", {"Token": least})
    writer = new_token(server, "writer", 'service "web" { policy = "write" }')["SecretID"]
    web = {"Name": "web", "Check": {"TTL": "600s"}}
    assert agent.call("PUT", "/v1/agent/service/register", web, token=writer)[0] == 200
    eventually(lambda: server.knows("web"), "told")
    agent.kill()
    agent.flags = tuple(it for it in agent.flags if not it.endswith(("--agent-token-file", "/token")))
    agent.start()  # with the tokens that it kept, and none of the command line
    assert agent.call("PUT", "/v1/agent/check/pass/service:web", token=writer)[0] == 200

    def statuses() -> list[str]:
        return [row["Status"] for row in server.ok("GET", "/v1/health/checks/web")]

    eventually(lambda: statuses() == ["passing"], "the service's token is kept")
    server.ok(
        "PUT", "/v1/catalog/register", {"Node": "a1", "SkipNodeUpdate": True, "Service": {"Service": "ghost"}}
    )
    eventually(lambda: not server.knows("ghost"), "node:write takes away what is not registered here")

"""DNS of a real agent beside a real server."""

from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.support.agents import Agent, running_agents
from tests.support.servers import Cluster, eventually, running_servers

WITHIN_S = 10.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_servers(tmp_path, 1) as found:
        yield found


@pytest.fixture
def agent(cluster: Cluster) -> Iterator[Agent]:
    token = ("--dns-token-file", str(cluster.folder / "token"))
    with running_agents(cluster, 1, *token) as (found,):
        yield found


def ask(agent: Agent, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    host, _, port = agent.told["dns"].partition(":")
    send = dns.query.tcp if tcp else dns.query.udp
    return send(dns.message.make_query(name, kind), host, WITHIN_S, int(port))


def texts(message: dns.message.Message) -> list[str]:
    return sorted(str(row) for rrset in message.answer for row in rrset)


def test_names_are_answered_by_servers_and_remembered_without(cluster: Cluster, agent: Agent) -> None:
    web = {"Name": "web", "Port": 80, "Address": "10.1.2.3", "Check": {"TTL": "600s", "Status": "passing"}}
    register = "/v1/agent/service/register"
    eventually(lambda: agent.call("PUT", register, web)[0] == 200, "the server knows its tokens")
    eventually(lambda: texts(ask(agent, "web.service.consul")) == ["10.1.2.3"], "the instance is told")
    assert texts(ask(agent, "web.service.consul", tcp=True)) == ["10.1.2.3"]
    assert texts(ask(agent, "web.service.weft", "SRV")) == ["1 1 80 0a010203.addr.dc1.weft."]
    assert texts(ask(agent, "a1.node.consul")) == ["127.0.0.1"]
    assert ask(agent, "nobody.service.consul").rcode() == dns.rcode.NXDOMAIN
    assert ask(agent, "example.org").rcode() == dns.rcode.REFUSED

    agent.ok("PUT", "/v1/agent/check/fail/service:web")
    eventually(lambda: ask(agent, "web.service.consul").rcode() == dns.rcode.NXDOMAIN, "nothing is kept")
    agent.ok("PUT", "/v1/agent/check/pass/service:web")
    eventually(lambda: texts(ask(agent, "web.service.consul")) == ["10.1.2.3"], "it is well again")

    meshed = {"Name": "meshed", "Port": 80, "Connect": {"SidecarService": {}}}
    agent.ok("PUT", "/v1/agent/service/register", meshed)
    (address,) = eventually(lambda: texts(ask(agent, "meshed.virtual.consul")), "it has a virtual address")
    assert address.startswith("240.0.0.")
    (endpoint,) = agent.ok("GET", "/v1/catalog/connect/meshed")
    assert endpoint["ServiceTaggedAddresses"]["consul-virtual"]["Address"] == address

    cluster.servers[0].kill()
    assert texts(ask(agent, "web.service.consul")) == ["10.1.2.3"]
    assert ask(agent, "never-asked.service.consul").rcode() == dns.rcode.SERVFAIL

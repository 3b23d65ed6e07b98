"""Following an agent's log and metrics; joining, leaving, and being made to leave, without gossip."""

import json
import os
import urllib.request
from collections.abc import AsyncIterator, Iterator

import pytest

from registry.catalog import commands
from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.support.catalog import check, node
from tests.support.dev import Dev, running_dev
from tests.support.registry import Client, running_registry


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--log-level", "info", "--node-name", "n1") as found:
        yield found


def followed(dev: Dev, query: str) -> Iterator[bytes]:
    """Lines of the log while something happens that is logged."""
    url = f"http://{dev.http}/v1/agent/monitor?{query}&seconds=15"
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.status == 200
        dev.ok("PUT", "/v1/agent/service/register", {"Name": "web", "Check": {"TTL": "150ms"}})
        dev.ok("PUT", "/v1/agent/check/pass/service:web")  # and soon it has expired
        yield from answer


def test_the_log_is_followed_as_text_and_as_json(dev: Dev) -> None:
    line = next(it for it in followed(dev, "loglevel=debug") if b"web" in it).decode()
    assert "[INFO] " in line
    found = json.loads(next(it for it in followed(dev, "logjson") if b"web" in it))
    assert (found["@level"], bool(found["@message"]), bool(found["@timestamp"])) == ("info", True, True)


def test_a_level_that_is_none_is_refused(dev: Dev) -> None:
    assert dev.call("GET", "/v1/agent/monitor?loglevel=loud") == (400, b"Unknown log level: loud")
    assert dev.call("GET", "/v1/agent/monitor?seconds=0")[0] == 400


def test_trap_28_no_secret_is_seen_in_a_followed_log(dev: Dev) -> None:
    url = f"http://{dev.http}/v1/agent/monitor?loglevel=debug&seconds=1&token=hidden-secret"
    with urllib.request.urlopen(url, timeout=20) as answer:
        dev.call("GET", "/v1/agent/self?token=hidden-secret")
        assert b"hidden-secret" not in answer.read()


async def test_metrics_come_a_line_at_a_time() -> None:
    async with (
        running_registry() as client,
        client.http.get(client.url("/v1/agent/metrics/stream?seconds=0.2")) as answer,
    ):
        (line,) = (await answer.read()).splitlines()
        assert {row["Name"] for row in json.loads(line)["Gauges"]} >= {"consul.raft.term"}


async def test_a_stream_ends_with_its_token() -> None:
    async with running_registry(acl=AclSettings()) as client:
        management = await bootstrap(client)
        policy = {"Name": "watch", "Rules": 'agent_prefix "" { policy = "read" }'}
        await make(client, management, "/v1/acl/policy", policy)
        token = await make(client, management, "/v1/acl/token", {"Policies": [{"Name": "watch"}]})
        url = client.url("/v1/agent/monitor")
        async with client.http.get(url, headers={"X-Consul-Token": token["SecretID"]}) as answer:
            assert answer.status == 200
            path = f"/v1/acl/token/{token['AccessorID']}"
            await client.call("DELETE", path, X_Consul_Token=management)
            await answer.read()  # within the time-out of the client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_registry() as found:
        yield found


async def test_joining_who_is_a_member_is_done_and_others_cannot_be(client: Client) -> None:
    (leader,) = await client.get("/v1/agent/members")
    await client.put(f"/v1/agent/join/{leader['Addr']}:{leader['Port']}")
    await client.put(f"/v1/agent/join/{leader['Addr']}?wan=1")
    status, _, text = await client.call("PUT", "/v1/agent/join/10.9.9.9")
    assert (status, b"--retry-join" in text) == (400, True)


async def test_a_node_that_is_silent_can_be_made_to_leave(client: Client) -> None:
    status, _, text = await client.call("PUT", "/v1/agent/force-leave/nobody")
    assert (status, text) == (404, b"agent: No node found with name 'nobody'")
    assert (await client.call("PUT", "/v1/agent/force-leave/n1"))[0] == 400, "a server is no such node"
    for name, alive in (("gone", "critical"), ("there", "passing")):
        row = check("serfHealth", status=alive, on=name)
        stamp = commands.Stamp(1, os.urandom(16))
        command = commands.register(stamp, node(name, address="10.0.0.9"), (), [row])
        await client.registry.log.propose(command)
        await client.put(f"/v1/agent/force-leave/{name}?prune=1")
    assert {row["Node"] for row in await client.get("/v1/catalog/nodes")} == {"n1", "there"}


def test_leaving_ends_the_process_in_order() -> None:
    with running_dev("--acl") as dev:
        assert dev.call("PUT", "/v1/agent/leave")[0] == 403
        assert dev.process.poll() is None
    with running_dev() as dev:
        assert dev.call("PUT", "/v1/agent/leave") == (200, b"")
        assert dev.process.wait(20) == 0

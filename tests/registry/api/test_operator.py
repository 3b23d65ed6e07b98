"""`/v1/operator`, `/v1/agent/members` and `/v1/snapshot` on a cluster of one."""

import asyncio
import io
import json

import consul
import pytest

from registry.operator.archive import read_archive
from tests.support.registry import Client, running_registry, until

AUTOPILOT = "/v1/operator/autopilot/configuration"
PEER = "/v1/operator/raft/peer"


async def test_a_cluster_of_one_shows_itself(client: Client) -> None:
    (row,) = (await client.get("/v1/operator/raft/configuration"))["Servers"]
    assert row.keys() == {"ID", "Node", "Address", "Leader", "ProtocolVersion", "Voter", "LastIndex"}
    assert (row["ID"], row["Node"]) == (client.registry.log.server_id, client.registry.node)
    assert (row["Leader"], row["Voter"]) == (True, True)
    (member,) = await client.get("/v1/agent/members")
    assert (member["Name"], member["Status"], member["Tags"]["dc"]) == (row["Node"], 1, "dc1")
    health = await client.get("/v1/operator/autopilot/health")
    assert (health["Healthy"], health["FailureTolerance"]) == (True, 0)
    state = await client.get("/v1/operator/autopilot/state")
    assert state["Voters"] == [state["Leader"]] == [row["ID"]]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("", 400, "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"),
        ("?id=a&address=b", 400, "Must specify only one of ?id or ?address"),
        ("?id=nobody", 500, 'id "nobody" was not found in the Raft configuration'),
        ("?address=10.0.0.1:8300", 500, 'address "10.0.0.1:8300" was not found in the Raft configuration'),
    ],
)
async def test_a_peer_must_be_named(client: Client, query: str, status: int, text: str) -> None:
    found, _, body = await client.call("DELETE", f"{PEER}{query}")
    assert (found, body.decode()) == (status, text)


async def test_the_last_server_stays(client: Client) -> None:
    status, _, text = await client.call("DELETE", f"{PEER}?id={client.registry.log.server_id}")
    assert (status, b"last voter" in text) == (500, True)


async def test_leadership_goes_to_nobody_else(client: Client) -> None:
    assert (await client.call("POST", "/v1/operator/raft/transfer-leader?id=nobody"))[0] == 500
    assert (await client.call("POST", "/v1/operator/raft/transfer-leader"))[0] == 500


async def test_autopilot_is_shown_changed_and_compared(client: Client) -> None:
    before = await client.get(AUTOPILOT)
    assert (before["LastContactThreshold"], before["MinQuorum"], before["ModifyIndex"]) == ("200ms", 3, 0)
    changed = before | {"MinQuorum": 5, "LastContactThreshold": "1s"}
    assert await client.put(f"{AUTOPILOT}?cas=0", changed) == b"true"
    assert await client.put(f"{AUTOPILOT}?cas=0", before) == b"false"
    after = await client.get(AUTOPILOT)
    assert (after["MinQuorum"], after["LastContactThreshold"]) == (5, "1s")
    assert await client.put(f"{AUTOPILOT}?cas=1", before) == b"false"
    assert await client.put(f"{AUTOPILOT}?cas={after['ModifyIndex']}", before) == b"true"
    assert (await client.get(AUTOPILOT))["MinQuorum"] == 3


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"MinQuorum": 99}, "MinQuorum: use 0 to 15"),
        ({"MinQuorum": -1}, "MinQuorum is out of range"),
        ({"LastContactThreshold": "-1s"}, "must not be negative"),
        ({"LastContactThreshold": "soon"}, "is not a duration"),
        ({"CleanupDeadServers": "yes"}, "must be true or false"),
        ({"CleanUpDeadServer": True}, "unknown field"),
    ],
)
async def test_autopilot_refuses_nonsense(client: Client, body: dict[str, object], text: str) -> None:
    status, _, told = await client.call("PUT", AUTOPILOT, body)
    assert (status, text in told.decode()) == (400, True), told


async def test_a_snapshot_brings_back_what_was_and_wakes_who_waits(client: Client) -> None:
    await client.register({"Name": "kept", "Port": 1})
    status, headers, archive = await client.call("GET", "/v1/snapshot")
    assert (status, headers["Content-Type"], archive[:2]) == (200, "application/x-gzip", b"\x1f\x8b")
    with read_archive(io.BytesIO(archive)) as found:
        assert found.meta.index == int(headers["X-Consul-Index"])
    await client.register({"Name": "lost", "Port": 2})
    index = await client.index("/v1/health/service/kept")
    waiting = asyncio.ensure_future(client.call("GET", f"/v1/health/service/kept?index={index}&wait=60s"))
    watchers = client.registry.log._machine.watchers
    await until(lambda: bool(watchers._waiting.get(("service", "kept"))))
    assert await client.put("/v1/snapshot", archive) == b""
    _, headers, body = await waiting
    assert json.loads(body)[0]["Service"]["Service"] == "kept"
    assert int(headers["X-Consul-Index"]) > index
    services = await client.get("/v1/catalog/services")
    assert "kept" in services
    assert "lost" not in services


async def test_a_snapshot_goes_to_a_new_registry_which_stays_who_it_is() -> None:
    """Disaster recovery: the state and the trust domain are the old ones, the server is the new one."""
    async with running_registry() as old:
        await old.register({"Name": "web", "Port": 1})
        archive = (await old.call("GET", "/v1/snapshot"))[2]
        trust_domain = old.registry.trust_domain
    async with running_registry() as new:
        await new.put("/v1/snapshot", archive)
        assert new.registry.trust_domain == trust_domain
        assert (await new.get("/v1/catalog/service/web"))[0]["ServicePort"] == 1
        (row,) = (await new.get("/v1/operator/raft/configuration"))["Servers"]
        assert row["ID"] == new.registry.log.server_id


@pytest.mark.parametrize("body", [b"", b"nonsense", b"\x1f\x8b\x08\x00broken"])
async def test_what_is_no_snapshot_changes_nothing(client: Client, body: bytes) -> None:
    index = client.registry.log.view().index
    status, _, text = await client.call("PUT", "/v1/snapshot", body)
    assert (status, text.startswith(b"Invalid snapshot: ")) == (400, True)
    assert client.registry.log.view().index == index


async def test_py_consul_reads_all_of_it(client: Client) -> None:
    host, port = client.registry.http.split(":")

    def ask() -> None:
        found = consul.Consul(host, int(port))
        assert found.operator.raft_config()["Servers"][0]["Leader"]
        assert found.agent.members()[0]["Name"] == client.registry.node
        assert found.snapshot.save()[:2] == b"\x1f\x8b"

    await asyncio.to_thread(ask)

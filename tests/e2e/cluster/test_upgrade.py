"""A rolling upgrade: servers become one version newer, one after the other, while clients write."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.cluster.network import Loopback
from tests.e2e.cluster.servers import Cluster, Server
from tests.e2e.cluster.test_membership import writing

AUTOPILOT = "/v1/operator/autopilot/configuration"
MATCH = "/v1/connect/intentions/match?by=destination&name=joined&consistent"


def new_command(cluster: Cluster, server: Server) -> tuple[int, str]:
    """What the next version proposes with a command that this one does not know."""
    return cluster.call(server, "PUT", AUTOPILOT, {"MinQuorum": 3})


def upgrade(cluster: Cluster, server: Server) -> None:
    server.end()
    server.launcher = ["--next-version"]
    server.start()
    cluster.wait(server)


def led_by(cluster: Cluster, server: Server) -> None:
    servers = cluster.ok(server, "GET", "/v1/operator/raft/configuration")["Servers"]
    [server_id] = [row["ID"] for row in servers if row["Address"] == server.address]

    def leads() -> bool:
        if cluster.leader() is server:
            return True
        cluster.call(server, "PUT", f"/v1/operator/raft/transfer-leader?id={server_id}")
        return False

    cluster.until(leads, f"{server.name} leads")


@pytest.mark.long
async def test_trap_21_a_server_a_version_ahead_halts_nobody_and_nothing_is_lost(tmp_path: Path) -> None:
    with Cluster(tmp_path, Loopback(), 3) as cluster:
        await asyncio.to_thread(cluster.start_all)
        first, second, third = cluster.servers
        async with writing(cluster, [third]) as writers:
            await asyncio.to_thread(upgrade, cluster, first)
            await asyncio.to_thread(_nobody_takes_it, cluster, first)
            await asyncio.to_thread(upgrade, cluster, second)
            await asyncio.to_thread(led_by, cluster, first)
            assert (await asyncio.to_thread(new_command, cluster, first))[0] == 400
        assert all(server.running for server in cluster.servers)
        assert writers.failed == []
        await asyncio.to_thread(upgrade, cluster, third)
        await asyncio.to_thread(
            cluster.until, lambda: new_command(cluster, first)[0] == 200, "the new command is taken"
        )
        for server in cluster.servers:
            assert writers.written == await asyncio.to_thread(_names, cluster, server)
            assert (await asyncio.to_thread(cluster.ok, server, "GET", AUTOPILOT))["MinQuorum"] == 3
        for server in cluster.servers:
            await asyncio.to_thread(server.end)


def _nobody_takes_it(cluster: Cluster, newer: Server) -> None:
    """Neither when the newer server leads, nor when it asks an older leader."""
    led_by(cluster, newer)
    status, text = new_command(cluster, newer)
    assert (status, "upgrade all servers" in text) == (400, True), text
    led_by(cluster, cluster.servers[2])
    assert new_command(cluster, newer)[0] == 500
    assert all(server.running for server in cluster.servers)


def _names(cluster: Cluster, server: Server) -> set[str]:
    return {row["SourceName"] for row in cluster.ok(server, "GET", MATCH)["joined"]}

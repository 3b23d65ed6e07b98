"""What an agent tells a server comes back the same, or it would be told again for ever."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from registry.acl.caller import EVERYBODY
from registry.agent.local import Agent
from registry.agent.scripts import ScriptPolicy
from registry.agent.writer import Writer
from registry.catalog.commands import Stamp
from registry.catalog.model import Node
from registry.client_agent.local_log import LocalLog
from registry.client_agent.local_view import body, held
from registry.client_agent.plan import Held, Remove, Tell, TellNode, plan
from registry.client_agent.store import Store
from tests.support.registry import Client, running_registry
from weft.clock import SystemClock

NODE = Node(
    "vm1", "10.0.0.1", "dc1", "5a0bbd0e-7c4d-4e0f-9c0a-3f2b1d9e8a77", {"lan": "10.0.0.1"}, {"rack": "7"}
)
UPSTREAM = {"DestinationName": "db", "LocalBindPort": 9191, "Config": {"limits": {"max_connections": 3}}}
PROXY = {"Upstreams": [UPSTREAM], "Config": {"protocol": "http"}, "Expose": {"Checks": True}}
DEFINITIONS: list[dict[str, Any]] = [
    {"Name": "bare"},
    {"Name": "web", "ID": "web/1", "Port": 80, "Tags": ["b", "a"], "Meta": {"x": "y"}, "Address": "10.1.1.1"},
    {"Name": "weighed", "Weights": {"Passing": 7, "Warning": 0}, "EnableTagOverride": True},
    {"Name": "tagged", "TaggedAddresses": {"wan": {"Address": "192.0.2.1", "Port": 81}}},
    {"Name": "local", "SocketPath": "/run/app.sock", "Locality": {"Region": "r", "Zone": "z"}},
    {"Name": "native", "Port": 80, "Connect": {"Native": True}},
    {"Name": "meshed", "Port": 80, "Connect": {"SidecarService": {"Port": 21111, "Proxy": PROXY}}},
    {
        "Name": "checked",
        "Checks": [
            {"TTL": "90s", "Notes": "of a person", "Status": "passing"},
            {
                "HTTP": "http://127.0.0.1:1/x",
                "Interval": "10s",
                "Timeout": "3s",
                "Header": {"X-Key": ["s3cret"]},
            },
            {"TCP": "127.0.0.1:1", "Interval": "1m", "DeregisterCriticalServiceAfter": "2h"},
            {"Args": ["true"], "Interval": "5s"},
            {"AliasService": "web/1"},
        ],
    },
]


async def carried_out(client: Client, step: TellNode | Tell | Remove) -> bytes:
    """The body that went over the wire."""
    assert not isinstance(step, Remove)
    told = body(NODE) if isinstance(step, TellNode) else body(NODE, step.service, step.checks)
    status, _, answer = await client.call("PUT", "/v1/catalog/register", told)
    assert status == 200, answer
    return json.dumps(told).encode()


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda it: it["Name"])
async def test_what_is_told_is_what_is_seen(tmp_path: Path, definition: dict[str, Any]) -> None:
    log = LocalLog.open(Store(tmp_path), NODE, lambda: Stamp(1, os.urandom(16)))
    agent = Agent(Writer(log, SystemClock(), os.urandom), NODE, lambda _: True, ScriptPolicy.ALL)
    await agent.register(json.dumps(definition).encode(), EVERYBODY)
    await agent.maintain_node(True, "moving", EVERYBODY)
    local = held(log.view(), NODE)
    async with running_registry() as client:
        for step in plan(local, Held(None), frozenset()):
            assert b"s3cret" not in await carried_out(client, step), "how a check looks stays on its machine"
        found, checks = await client.get("/v1/catalog/node/vm1"), await client.get("/v1/health/node/vm1")
        remote = Held(found["Node"], found["Services"], {row["CheckID"]: row for row in checks})
        assert plan(local, remote, frozenset()) == []
        assert len(remote.checks) == len(local.checks)
    await log.close()

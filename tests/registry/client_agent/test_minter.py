"""Credentials that an agent asks its servers for."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.acl.caller import EVERYBODY
from registry.agent.local import Agent
from registry.agent.writer import Writer
from registry.catalog.commands import Stamp
from registry.catalog.model import Node
from registry.client_agent.fleet import Fleet
from registry.client_agent.local_log import LocalLog
from registry.client_agent.minter import RemoteMinter
from registry.client_agent.servers import Servers, Trust
from registry.client_agent.store import Store
from registry.client_agent.sync import Pace, Sync
from registry.client_agent.tokens import KeptTokens
from registry.errors import NotFound
from weft.clock import SystemClock

NODE = Node("n1", "10.0.0.1", "dc1", "5a0bbd0e-7c4d-4e0f-9c0a-3f2b1d9e8a77")


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[LocalLog]:
    found = LocalLog.open(Store(tmp_path), NODE, lambda: Stamp(1, os.urandom(16)))
    yield found
    await found.close()


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    """None that answers."""
    now = SystemClock().monotonic
    found = Servers(Fleet(("http://127.0.0.1:1",), lambda: 0.5, now()), Trust(None, ""), now)
    yield found
    await found.close()


async def test_a_service_that_goes_while_servers_are_told_of_it_is_not_found(
    tmp_path: Path, log: LocalLog, servers: Servers
) -> None:
    agent = Agent(Writer(log, SystemClock(), os.urandom), NODE, lambda _: True)
    tokens = KeptTokens(tmp_path, {}, tuple)

    class Overtaken(Sync):
        async def told(self) -> None:
            await agent.deregister("web", EVERYBODY)

    sync = Overtaken(log, NODE, servers, tokens, SystemClock(), Pace(60.0, lambda: 0.5))
    await agent.register(b'{"Name": "web"}', EVERYBODY)
    with pytest.raises(NotFound, match="web is not registered here any more"):
        await RemoteMinter(log, NODE, servers, tokens, sync).mint("dc1/n1/web")

"""On an agent, what is parked or still being answered hears of a token that was withdrawn (trap 26)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.agent_process import AgentProcess, AgentSettings
from registry.client_agent import callers
from registry.client_agent.callers import DownPolicy
from registry.client_agent.servers import Told, Trust
from registry.errors import NoServers
from registry.limits.guard import Limits
from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.support.registry import Client, running_registry
from weft.aio import Tasks

RULES = 'agent_prefix "" { policy = "read" } service_prefix "" { policy = "write" }'
WEB = "/v1/agent/service/web"


@dataclass
class Pair:
    """A server with access control, an agent of it, and the token of who asks the agent."""

    server: Client
    agent: AgentProcess
    management: str
    token: dict[str, Any]

    def url(self, path: str) -> str:
        return f"http://{self.agent.http}{path}"

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Consul-Token": str(self.token["SecretID"])}

    async def withdraw(self) -> None:
        path = f"/v1/acl/token/{self.token['AccessorID']}"
        status, _, _ = await self.server.call("DELETE", path, X_Consul_Token=self.management)
        assert status == 200

    async def register(self, port: int) -> None:
        headers = {"X-Consul-Token": self.management}
        body = {"Name": "web", "Port": port}
        url = self.url("/v1/agent/service/register")
        async with self.server.http.put(url, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()


@asynccontextmanager
async def pair(folder: Path, down_policy: DownPolicy = DownPolicy.EXTEND_CACHE) -> AsyncIterator[Pair]:
    async with running_registry(acl=AclSettings()) as server:
        management = await bootstrap(server)
        await make(server, management, "/v1/acl/policy", {"Name": "it", "Rules": RULES})
        token = await make(server, management, "/v1/acl/token", {"Policies": [{"Name": "it"}]})
        servers, here = (f"http://{server.registry.http}",), "127.0.0.1"
        settings = AgentSettings(
            folder, servers, Trust(None, ""), "dc1", "a1", here, here, 0, None, 1.0,
            down_policy=down_policy, tokens={"agent": management},
        )  # fmt: skip
        agent = await AgentProcess.start(settings)
        try:
            yield Pair(server, agent, management, token)
        finally:
            await agent.close()


@pytest.mark.parametrize("path", ["/v1/agent/monitor?loglevel=err", "/v1/agent/metrics/stream"])
async def test_trap_26_an_agents_stream_ends_with_its_token(tmp_path: Path, path: str) -> None:
    async with pair(tmp_path) as it, it.server.http.get(it.url(path), headers=it.headers) as answer:
        assert answer.status == 200
        await it.withdraw()
        await answer.read()  # within the time-out of the client


async def test_a_stream_ends_in_order_where_nobody_can_be_asked_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sees the end of an answer, not a connection that broke off."""

    async def away(*_: object, **_more: object) -> Told:
        raise NoServers("No known Consul servers")

    async with (
        pair(tmp_path, DownPolicy.DENY) as it,
        it.server.http.get(it.url("/v1/agent/metrics/stream"), headers=it.headers) as answer,
    ):
        assert await answer.content.readline()
        monkeypatch.setattr(it.agent.servers, "ask", away)
        await answer.read()


async def test_trap_26_a_parked_look_at_a_service_is_by_the_token_of_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "FRESH_S", 0.0)  # no answer of a server is of any worth after it
    async with pair(tmp_path) as it, _tasks() as tasks:
        await it.register(1)
        async with it.server.http.get(it.url(WEB), headers=it.headers) as answer:
            known = answer.headers["X-Consul-ContentHash"]
        parked = _when_parked(monkeypatch, it.token["AccessorID"])
        status = tasks.spawn(_status(it, f"{WEB}?hash={known}&wait=60s"), "parked")
        await parked.wait()
        await it.withdraw()
        await it.register(2)
        assert await status == 403


@asynccontextmanager
async def _tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    try:
        yield tasks
    finally:
        await tasks.close()


def _when_parked(monkeypatch: pytest.MonkeyPatch, accessor_id: str) -> asyncio.Event:
    """Set once a query of this token waits."""
    real, parked = Limits.watch, asyncio.Event()

    def watch(limits: Limits, token: str, source: str) -> AbstractContextManager[None]:
        if token == accessor_id:
            parked.set()
        return real(limits, token, source)

    monkeypatch.setattr(Limits, "watch", watch)
    return parked


async def _status(it: Pair, path: str) -> int:
    async with it.server.http.get(it.url(path), headers=it.headers) as answer:
        return answer.status

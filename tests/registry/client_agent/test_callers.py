"""What an agent knows of tokens: how soon a change counts, and what does while servers are away."""

import asyncio
import json
from dataclasses import dataclass, field

import pytest
from multidict import CIMultiDict

from registry.acl.access import Access
from registry.acl.caller import PermissionDenied
from registry.catalog.state import State
from registry.client_agent.callers import FRESH_S, RETRY_S, DownPolicy, RemoteCallers
from registry.client_agent.servers import Told
from registry.errors import NoServers
from registry.identity.errors import TokenUnknown
from tests.support.waiting import until

STATE = State()
ENDS_AT = 1_000_000.0


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return ENDS_AT - 100 + self.now


@dataclass
class Servers:
    """Tells rules by token; None: cut off."""

    rules: dict[str, str] | None = field(default_factory=lambda: {"s": 'key "a" { policy = "write" }'})
    asked: int = 0
    gate: asyncio.Event | None = None

    async def ask(self, method: str, target: str, token: str) -> Told:
        self.asked += 1
        if self.gate:
            await self.gate.wait()
        if self.rules is None:
            raise NoServers("No known Consul servers")
        headers = CIMultiDict({"X-Consul-Default-ACL-Policy": "deny"})
        if token not in self.rules:
            return Told(403, headers, b"ACL not found")
        shown = {
            "AccessorID": f"of-{token}",
            "ExpirationTime": "1970-01-12T13:46:40Z",
            "ExpandedPolicies": [{"Rules": self.rules[token]}],
            "ExpandedRoles": [],
        }
        return Told(200, headers, json.dumps(shown).encode())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servers() -> Servers:
    return Servers()


def may_write(callers: RemoteCallers, secret: str = "s") -> bool:
    return callers.caller(STATE, secret).may.allows("key", "a", Access.WRITE)


async def test_a_changed_policy_counts_as_soon_as_what_is_known_is_not_fresh(
    clock: Clock, servers: Servers
) -> None:
    callers = RemoteCallers(servers, "dc1", clock)
    for _ in range(5):
        await callers.ask("s")
    assert (may_write(callers), servers.asked) == (True, 1)
    assert servers.rules
    servers.rules["s"] = 'key "a" { policy = "deny" }'
    clock.now = FRESH_S
    await callers.ask("s")
    assert (may_write(callers), servers.asked) == (False, 2)
    assert FRESH_S <= 0.05  # and the way to a server: within 100 ms


async def test_a_token_that_is_gone_or_has_ended_is_unknown(clock: Clock, servers: Servers) -> None:
    callers = RemoteCallers(servers, "dc1", clock)
    await callers.ask("other")
    with pytest.raises(TokenUnknown):
        callers.caller(STATE, "other")
    await callers.ask("s")
    servers.rules = None
    clock.now = 99
    await callers.ask("s")
    assert may_write(callers)
    clock.now = 100
    with pytest.raises(TokenUnknown):  # it has ended, whatever the policy is for those that have not
        callers.caller(STATE, "s")


@pytest.mark.parametrize("policy", DownPolicy)
async def test_the_down_policy_decides_while_no_server_answers(
    clock: Clock, servers: Servers, policy: DownPolicy
) -> None:
    callers = RemoteCallers(servers, "dc1", clock, policy)
    await callers.ask("s")
    servers.rules = None
    clock.now = 1.0
    for secret in ("s", "new"):
        await callers.ask(secret)
    if policy is DownPolicy.ALLOW:
        assert may_write(callers)
        assert may_write(callers, "new")
    elif policy is DownPolicy.DENY:
        for secret in ("s", "new"):
            with pytest.raises(PermissionDenied, match="down policy"):
                callers.caller(STATE, secret)
    else:
        assert may_write(callers)
        with pytest.raises(NoServers):
            callers.caller(STATE, "new")
    # Nobody waits for servers that have just not answered.
    before = servers.asked
    await callers.ask("s")
    assert servers.asked == before
    # They are back: what they say counts.
    servers.rules = {"s": 'key "a" { policy = "read" }'}
    clock.now = 1.0 + RETRY_S
    await callers.ask("s")
    await until(lambda: not may_write(callers), "the servers' word counts again")
    await callers.close()


async def test_async_cache_does_not_wait_where_a_token_is_known(clock: Clock, servers: Servers) -> None:
    callers = RemoteCallers(servers, "dc1", clock, DownPolicy.ASYNC_CACHE)
    await callers.ask("s")
    servers.gate = asyncio.Event()
    servers.rules = {"s": ""}
    clock.now = 10.0
    await asyncio.wait_for(callers.ask("s"), 5)
    assert may_write(callers)
    servers.gate.set()
    await until(lambda: not may_write(callers), "the background has asked")
    await callers.close()

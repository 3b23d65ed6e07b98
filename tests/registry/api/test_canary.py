"""Canaries from the outside: they begin by PUT /v1/config, the leader moves them, operators have a word."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from registry.measurements.tally import Edge, Tally
from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.support.registry import Client, running_registry
from tests.support.waiting import until
from weft.aio import Tasks

V2 = Edge(False, "web", "orders", "default", "v2.orders.default.default.dc1")
RESOLVER = {
    "Kind": "service-resolver",
    "Name": "orders",
    "DefaultSubset": "v1",
    "Subsets": {"v1": {}, "v2": {}},
}
SPLITTER = {
    "Kind": "service-splitter",
    "Name": "orders",
    "Splits": [{"Weight": 100, "ServiceSubset": "v1"}],
    "Meta": {"owner": "shop"},
}
CANARY = {
    "Kind": "service-canary",
    "Name": "orders",
    "ServiceSubset": "v2",
    "Steps": [10, 50, 100],
    "Interval": "1s",
    "MinRequests": 10,
    "Patience": "60s",
}


async def write(client: Client, entry: dict[str, Any], **changed: Any) -> None:
    await client.put("/v1/config", entry | changed)


async def prepared(client: Client, *, splitter: bool = True) -> None:
    await client.register({"Name": "orders", "Port": 1, "Connect": {"SidecarService": {"Checks": []}}})
    await write(client, RESOLVER)
    if splitter:
        await write(client, SPLITTER)


async def canary(client: Client) -> Any:
    (found,) = await client.get("/v1/mesh/canaries?service=orders")
    return found


async def weights(client: Client) -> dict[str, float] | None:
    status, _, body = await client.call("GET", "/v1/config/service-splitter/orders")
    if status == 404:
        return None
    return {split["ServiceSubset"]: split.get("Weight", 0) for split in json.loads(body)["Splits"]}


async def ended(client: Client, phase: str) -> Any:
    async def has_ended() -> Any:
        found = await canary(client)
        return found if found["Status"]["Phase"] not in ("running", "paused") else None

    found = await until(has_ended, f"the end of the canary, {await canary(client)}", 30)
    assert found["Status"]["Phase"] == phase, found
    return found["Status"]


@asynccontextmanager
async def traffic(client: Client, make_tally: Callable[[], Tally]) -> AsyncIterator[None]:
    """Some thirty calls of v2 a second, as sidecars would tell them."""

    async def flow() -> None:
        while True:
            client.registry.measuring.take(iter([(V2, make_tally())]))
            await asyncio.sleep(0.1)

    tasks = Tasks()
    tasks.spawn(flow(), "traffic")
    try:
        yield
    finally:
        await tasks.close()


def good() -> Tally:
    return Tally(3, 0, [3], 0.001)


def bad() -> Tally:
    return Tally(3, 3, [3], 0.001)


def slow() -> Tally:
    return Tally(3, 0, [0] * 10 + [3], 2.0)


async def test_a_good_version_gets_everything(client: Client) -> None:
    await prepared(client)
    async with traffic(client, good):
        await write(client, CANARY)
        status = await ended(client, "promoted")
    assert await weights(client) == {"v1": 0, "v2": 100}
    events = [(it["Event"], it.get("Weight", 0)) for it in status["History"]]
    assert events == [("start", 0), ("step", 10), ("step", 50), ("step", 100), ("promoted", 100)]
    assert "calls, 0.00% failed" in status["History"][2]["Reason"]
    assert (await client.get("/v1/config/service-splitter/orders"))["Meta"] == {"owner": "shop"}


async def test_a_failing_version_is_taken_back(client: Client) -> None:
    await prepared(client)
    async with traffic(client, bad):
        await write(client, CANARY, Interval="60s")
        status = await ended(client, "rolled-back")
    assert await weights(client) == {"v1": 100}
    assert "calls failed (100.00%), allowed are 1 %" in status["History"][-1]["Reason"]


async def test_a_slow_version_is_taken_back_to_no_splitter_at_all(client: Client) -> None:
    await prepared(client, splitter=False)
    async with traffic(client, slow):
        await write(client, CANARY, Interval="60s", MaxP99="300ms")
        status = await ended(client, "rolled-back")
    assert await weights(client) is None
    assert "took longer than 300ms" in status["History"][-1]["Reason"]


async def test_without_traffic_nothing_is_promoted(client: Client) -> None:
    await prepared(client)
    await write(client, CANARY, Patience="2s")
    status = await ended(client, "rolled-back")
    assert [it.get("Weight", 0) for it in status["History"]] == [0, 10, 0]
    assert "0 of 10 calls that are needed" in status["History"][-1]["Reason"]
    assert await weights(client) == {"v1": 100}


async def test_nothing_moves_before_the_new_version_is_there(client: Client) -> None:
    await write(client, RESOLVER)
    await write(client, CANARY)
    found = await canary(client)
    assert "v2 has no healthy instance" in found["Live"]["Next"]
    await client.register({"Name": "orders", "Port": 1, "Connect": {"SidecarService": {"Checks": []}}})

    async def moved() -> bool:
        return bool((await canary(client))["Status"].get("Step"))

    await until(moved, "the first step", 20)


async def test_an_edit_of_the_splitter_ends_it(client: Client) -> None:
    await prepared(client)
    await write(client, CANARY, Interval="60s")
    await until(lambda: split_is(client, {"v1": 90, "v2": 10}), "the first step", 20)
    edited = [{"Weight": 70, "ServiceSubset": "v1"}, {"Weight": 30, "ServiceSubset": "v2"}]
    await write(client, SPLITTER, Splits=edited)
    status = await ended(client, "ended")
    assert "by somebody else; it is left as it is" in status["History"][-1]["Reason"]
    assert await weights(client) == {"v1": 70, "v2": 30}


async def split_is(client: Client, wanted: dict[str, float]) -> bool:
    return await weights(client) == wanted


async def test_operators_pause_resume_promote_and_abort(client: Client) -> None:
    await prepared(client)
    await write(client, CANARY, Interval="1h")
    await until(lambda: split_is(client, {"v1": 90, "v2": 10}), "the first step", 20)
    await client.put("/v1/mesh/canary/pause/orders", {"Reason": "lunch"})
    found = await canary(client)
    assert (found["Status"]["Phase"], found["Live"]["Next"]) == ("paused", "paused")
    assert found["Status"]["History"][-1]["Reason"] == "lunch"
    status, _, body = await client.call("PUT", "/v1/mesh/canary/pause/orders")
    assert (status, b"paused, not running" in body) == (409, True)
    await client.put("/v1/mesh/canary/resume/orders")
    await client.put("/v1/mesh/canary/abort/orders")
    assert await weights(client) == {"v1": 100}
    await write(client, CANARY, Interval="1h")
    await client.put("/v1/mesh/canary/promote/orders")
    assert await weights(client) == {"v1": 0, "v2": 100}
    assert (await canary(client))["Status"]["Phase"] == "promoted"
    assert (await client.call("PUT", "/v1/mesh/canary/abort/nobody"))[0] == 404


async def test_what_cannot_begin_is_refused_with_the_mend(client: Client) -> None:
    status, _, body = await client.call("PUT", "/v1/config", CANARY)
    assert status == 400
    assert b"ServiceSubset: the service-resolver of 'orders' has no subset 'v2': write it first" in body


async def test_a_token_sees_and_moves_only_what_it_may() -> None:
    async with running_registry(acl=AclSettings()) as client:
        management = await bootstrap(client)
        rules = 'service "orders" { policy = "read" }'
        await make(client, management, "/v1/acl/policy", {"Name": "reader", "Rules": rules})
        token = (await make(client, management, "/v1/acl/token", {"Policies": [{"Name": "reader"}]}))[
            "SecretID"
        ]
        for name in ("orders", "stock"):
            for entry in (RESOLVER, CANARY):
                body = entry | {"Name": name}
                await client.call("PUT", "/v1/config", body, X_Consul_Token=management)
        _, headers, body = await client.call("GET", "/v1/mesh/canaries", X_Consul_Token=token)  # type: ignore[assignment]
        assert [row["Name"] for row in json.loads(body)] == ["orders"]  # type: ignore[arg-type]
        assert headers["X-Consul-Results-Filtered-By-ACLs"] == "true"
        for path in ("/v1/mesh/canary/abort/orders", "/v1/mesh/canary/promote/orders"):
            status, _, _ = await client.call("PUT", path, X_Consul_Token=token)
            assert status == 403

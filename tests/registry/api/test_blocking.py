"""Blocking queries: reference section 3."""

import asyncio
import time

import pytest

from registry.api import blocking
from registry.api.handling import Answer
from registry.api.query import Consistency
from registry.catalog.state import State
from registry.replica.port import Status
from tests.support.registry import Client, running_registry, until

HEALTH = "/v1/health/service/web"


async def parked(client: Client, path: str) -> "asyncio.Task[tuple[int, dict[str, str], bytes]]":
    """A query that waits on the server: the log's watchers have seen it."""
    watchers = client.registry.log._machine.watchers
    before = len(watchers)
    task = asyncio.ensure_future(client.call("GET", path))
    await until(lambda: len(watchers) > before or task.done())
    return task


async def test_an_absent_service_has_an_index_and_blocks_until_it_appears(client: Client) -> None:
    index = await client.index(HEALTH)
    assert index >= 1
    waiting = await parked(client, f"{HEALTH}?index={index}&wait=60s")
    await client.register({"Name": "web"})
    _, headers, body = await waiting
    assert b'"web"' in body
    assert int(headers["X-Consul-Index"]) > index


async def test_the_index_is_scoped_to_the_service(client: Client) -> None:
    await client.register({"Name": "web"})
    index = await client.index(HEALTH)
    waiting = await parked(client, f"{HEALTH}?index={index}&wait=60s")
    for n in range(5):
        await client.register({"Name": f"other-{n}", "Check": {"TTL": "10s"}})
    await client.put("/v1/connect/intentions/exact?source=a&destination=web", {"Action": "deny"})
    assert not waiting.done()
    assert await client.index(HEALTH) == index
    await client.register({"Name": "web", "ID": "web-2"})
    await waiting


async def test_a_check_and_a_deregistration_wake_the_watcher_of_their_service(client: Client) -> None:
    await client.register({"Name": "web", "Check": {"TTL": "60s"}})
    waiting = await parked(client, f"{HEALTH}?index={await client.index(HEALTH)}&wait=60s")
    await client.put("/v1/agent/check/pass/service:web")
    assert b'"Status":"passing"' in (await waiting)[2]
    waiting = await parked(client, f"{HEALTH}?index={await client.index(HEALTH)}&wait=60s")
    await client.put("/v1/agent/service/deregister/web")
    assert (await waiting)[2] == b"[]"


async def test_on_time_out_the_same_body_and_the_same_index_come_back(client: Client) -> None:
    await client.register({"Name": "web"})
    index = await client.index(HEALTH)
    _, headers, body = await client.call("GET", f"{HEALTH}?index={index}&wait=10ms")
    assert int(headers["X-Consul-Index"]) == index
    assert body == (await client.call("GET", HEALTH))[2]


async def test_an_older_index_and_zero_answer_at_once(client: Client) -> None:
    await client.register({"Name": "web"})
    index = await client.index(HEALTH)
    for older in (0, index - 1):
        assert (await client.call("GET", f"{HEALTH}?index={older}&wait=60s"))[0] == 200


async def test_the_list_of_names_moves_for_names_and_tags_and_not_for_health(client: Client) -> None:
    await client.register({"Name": "web", "ID": "web-2", "Check": {"TTL": "60s"}})
    index = await client.index("/v1/catalog/services")
    await client.put("/v1/agent/check/pass/service:web-2")
    assert await client.index("/v1/catalog/services") == index
    await client.register({"Name": "web", "ID": "web-2", "Tags": ["v2"]})
    assert await client.index("/v1/catalog/services") > index


async def test_a_query_whose_client_has_gone_leaves_nothing_behind(client: Client) -> None:
    watchers = client.registry.log._machine.watchers
    before = len(watchers)
    waiting = await parked(client, f"{HEALTH}?index={await client.index(HEALTH)}&wait=60s")
    assert len(watchers) > before
    waiting.cancel()
    await until(lambda: len(watchers) <= before)


class StillLog:
    """A log on which nothing moves: it tells how long it was asked to wait."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], float]] = []
        self.now = 0.0
        self.gates: list[bool] = []
        self.silent_s = 0.0

    def view(self) -> State:
        return State()

    async def read_index(self, *, consistent: bool = False) -> int:
        self.gates.append(consistent)
        return 7

    def status(self) -> Status:
        return Status("", (), False, 7, 7, False, last_contact_s=self.silent_s)

    async def wait(self, keys: tuple[tuple[str, ...], ...], _after: int, timeout_s: float) -> None:
        self.asked.append((keys[0], timeout_s))
        self.now += timeout_s


async def test_the_wait_is_jittered_by_a_sixteenth_and_is_on_the_keys_read() -> None:
    log = StillLog()
    found = Answer([], 7, (("service", "web"),))
    wish = blocking.Wish(Consistency.DEFAULT, after_index=7, wait_s=160.0)
    answered, sure = await blocking.read(
        log,  # type: ignore[arg-type]
        lambda _state: found,
        wish,
        draw=lambda: 0.5,
        monotonic=lambda: log.now,
    )
    assert (answered, sure) == (found, Consistency.DEFAULT)
    assert log.asked == [(("service", "web"), 165.0)]
    assert log.gates == [False, False]


@pytest.mark.parametrize(
    ("wanted", "max_stale_s", "silent_s", "sure", "gates"),
    [
        (Consistency.DEFAULT, None, 0.0, Consistency.DEFAULT, [False]),
        (Consistency.CONSISTENT, None, 0.0, Consistency.CONSISTENT, [True]),
        (Consistency.STALE, None, 3600.0, Consistency.STALE, []),
        (Consistency.STALE, 10.0, 9.0, Consistency.STALE, []),
        (Consistency.STALE, 10.0, 11.0, Consistency.DEFAULT, [False]),
    ],
)
async def test_each_mode_is_as_sure_as_it_says(
    wanted: Consistency, max_stale_s: float | None, silent_s: float, sure: Consistency, gates: list[bool]
) -> None:
    log = StillLog()
    log.silent_s = silent_s
    assert await blocking.gate(log, wanted, max_stale_s) is sure  # type: ignore[arg-type]
    assert log.gates == gates


async def test_a_parked_query_ends_when_the_registry_closes() -> None:
    async with running_registry() as client:
        waiting = await parked(client, f"{HEALTH}?index={await client.index(HEALTH)}&wait=60s")
        started = time.monotonic()
        await client.registry.close()
        assert time.monotonic() - started < 15, "close must not wait for parked queries"
        await asyncio.wait((waiting,))
        assert waiting.exception() is not None or waiting.result()[0] == 500

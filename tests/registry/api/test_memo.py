"""Kept answers: the same bytes for the same question and rights, and never after something has moved."""

import asyncio
import json
from typing import Any

import pytest
from multidict import MultiDict

from registry.acl.authorizer import ALLOW_ALL, DENY_ALL
from registry.api import memo
from registry.api.handling import Answer
from registry.api.memo import Key, Memo, key_of
from registry.api.query import Query
from registry.api.routes import ROUTES
from registry.catalog.state import State
from registry.process import AclSettings
from tests.support.catalog import World, service
from tests.support.registry import Client, running_registry

PATH = "/v1/health/service/:service"


def key(*pairs: tuple[str, str], name: str = "web", may: Any = ALLOW_ALL) -> Key:
    return key_of(PATH, name, Query(MultiDict(pairs)), may)


def found(state: State, body: object = None) -> Answer:
    read = state.service_nodes("web")
    return Answer(body or [len(read.rows)], read.index, read.keys)


def test_an_answer_is_kept_until_something_that_it_was_made_of_moves() -> None:
    world, kept = World.set_up(), Memo()
    world.register(service("web-1", "web"))
    kept.keep(key(), found(world.state), left_out=True, pretty=False)
    world.register(service("db-1", "db"))
    again = kept.find(key(), world.state)
    assert again
    assert (again.answer.body.plain, again.left_out) == (b"[1]", True)
    world.register(service("web-2", "web"))
    assert kept.find(key(), world.state) is None
    assert len(kept) == 0


def test_trap_11_a_key_holds_every_input_of_the_answer() -> None:
    different = [
        key(),
        key(name="db"),
        key(("passing", "")),
        key(("passing", "1")),
        key(("tag", "a")),
        key(("tag", "a"), ("tag", "b")),
        key(("tag", "b"), ("tag", "a")),
        key(("pretty", "")),
        key(("filter", "Service.Port == 1")),
        key(may=DENY_ALL),
    ]
    assert len(set(different)) == len(different)
    about_waiting = [("index", "7"), ("wait", "1s"), ("stale", ""), ("token", "x"), ("consistent", "")]
    assert all(key(pair) == key() for pair in about_waiting)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "ENTRIES_MAX", 3)
    monkeypatch.setattr(memo, "BYTES_MAX", 1000)
    monkeypatch.setattr(memo, "ENTRY_BYTES_MAX", 600)
    state, kept = World.set_up().state, Memo()
    for number in range(10):
        kept.keep(key(name=str(number)), found(state), left_out=False, pretty=False)
        kept.find(key(name="0"), state)
    assert len(kept) == 3
    assert kept.find(key(name="0"), state), "who is asked for stays"
    kept.keep(key(name="large"), found(state, "x" * 700), left_out=False, pretty=False)
    assert kept.find(key(name="large"), state) is None
    for number in range(4):
        kept.keep(key(name=f"half-{number}"), found(state, "x" * 500), left_out=False, pretty=False)
        assert kept._bytes <= 1000
    assert len(kept) == 1


def test_only_reads_of_the_catalog_are_kept() -> None:
    kept = {route.path for route in ROUTES if route.is_kept}
    assert PATH in kept
    assert all(path.startswith(("/v1/catalog/", "/v1/health/")) for path in kept)
    assert all(route.method == "GET" for route in ROUTES if route.is_kept)


async def test_trap_26_who_may_less_is_not_told_what_another_was() -> None:
    async with running_registry(acl=AclSettings()) as client:
        _, _, body = await client.call("PUT", "/v1/acl/bootstrap")
        management = json.loads(body)["SecretID"]
        as_manager = {"X_Consul_Token": management}
        await client.call("PUT", "/v1/agent/service/register", {"Name": "web"}, **as_manager)
        rules = 'service "web" { policy = "read" } node_prefix "" { policy = "read" }'
        policy = json.loads(
            (await client.call("PUT", "/v1/acl/policy", {"Name": "p", "Rules": rules}, **as_manager))[2]
        )["ID"]
        made = await client.call("PUT", "/v1/acl/token", {"Policies": [{"ID": policy}]}, **as_manager)
        secret = json.loads(made[2])["SecretID"]

        async def count(token: str) -> int:
            headers = {"X_Consul_Token": token} if token else {}
            status, _, body = await client.call("GET", "/v1/health/service/web", **headers)
            assert status == 200
            return len(json.loads(body))

        for _ in range(2):
            assert [await count(management), await count(secret), await count("")] == [1, 1, 0]
        await client.call("PUT", f"/v1/acl/policy/{policy}", {"Name": "p", "Rules": ""}, **as_manager)
        assert [await count(management), await count(secret), await count("")] == [1, 0, 0]
        path = "/v1/catalog/services"
        for _ in range(2):
            _, headers, _ = await client.call("GET", path, X_Consul_Token=secret)
            assert headers["X-Consul-Results-Filtered-By-ACLs"] == "true"
            _, headers, _ = await client.call("GET", path, X_Consul_Token=management)
            assert "X-Consul-Results-Filtered-By-ACLs" not in headers


async def test_forms_of_one_answer_are_told_apart_and_changes_are_seen(client: Client) -> None:
    await client.register({"Name": "web", "Tags": [f"{it:0200}" for it in range(12)]})
    path = "/v1/health/service/web"
    for _ in range(2):
        plain = (await client.call("GET", path, Accept_Encoding="identity"))[2]
        pretty = (await client.call("GET", path + "?pretty", Accept_Encoding="identity"))[2]
        async with client.http.get(client.url(path), headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.read() == plain
        assert json.loads(pretty) == json.loads(plain)
        assert pretty != plain
    await client.register({"Name": "web", "Tags": ["new"]})
    (row,) = await client.get(path)
    assert row["Service"]["Tags"] == ["new"]


async def test_parked_queries_with_one_answer_are_all_woken(client: Client) -> None:
    index = await client.index("/v1/health/service/web")
    parked = [
        asyncio.create_task(client.get(f"/v1/health/service/web?index={index}&wait={wait}s"))
        for wait in (20, 20, 19)
    ]
    await client.register({"Name": "web"})
    assert [len(await one) for one in parked] == [1, 1, 1]

"""`/v1/session/*`, and locks on keys, as Consul's clients use them."""

import asyncio
import json
from typing import Any

import consul
import pytest

from registry.process import AclSettings
from tests.registry.api.test_blocking import parked
from tests.support.registry import Client, running_registry, until


async def create(client: Client, body: object = None, **headers: str) -> str:
    status, _, answer = await client.call("PUT", "/v1/session/create", body, **headers)
    assert status == 200, answer
    session_id = json.loads(answer)["ID"]
    assert isinstance(session_id, str)
    return session_id


async def test_a_session_is_shown_as_consul_does(client: Client) -> None:
    session_id = await create(client, {"Name": "lead", "TTL": "15s", "LockDelay": "1s"})
    status, headers, body = await client.call("GET", f"/v1/session/info/{session_id}")
    (row,) = json.loads(body)
    assert status == 200
    assert int(headers["X-Consul-Index"]) >= row["CreateIndex"]
    assert row == {
        "ID": session_id,
        "Name": "lead",
        "Node": "n1",
        "LockDelay": 10**9,
        "Behavior": "release",
        "TTL": "15s",
        "NodeChecks": ["serfHealth"],
        "ServiceChecks": [],
        "CreateIndex": row["CreateIndex"],
        "ModifyIndex": row["CreateIndex"],
    }
    assert await client.get("/v1/session/list") == [row]
    assert await client.get("/v1/session/node/n1") == [row]
    assert await client.get("/v1/session/node/n2") == []
    assert await client.get("/v1/session/info/gone") == []
    status, _, body = await client.call("PUT", f"/v1/session/renew/{session_id}")
    assert (status, json.loads(body)) == (200, [row])
    assert await client.put(f"/v1/session/destroy/{session_id}") == b"true"
    assert await client.put(f"/v1/session/destroy/{session_id}") == b"true"
    status, _, body = await client.call("PUT", f"/v1/session/renew/{session_id}")
    assert (status, body.decode()) == (404, f"Session id '{session_id}' not found")


@pytest.mark.parametrize(
    ("given", "shown_ns"),
    [
        (None, 15 * 10**9),
        ("", 15 * 10**9),
        ("0s", 0),
        (7, 7 * 10**9),
        (2 * 10**9, 2 * 10**9),
        (0.5, 5 * 10**8),
    ],
)
async def test_a_lock_delay_is_given_in_many_ways(client: Client, given: object, shown_ns: int) -> None:
    session_id = await create(client, {"LockDelay": given})
    assert (await client.get(f"/v1/session/info/{session_id}"))[0]["LockDelay"] == shown_ns


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"TTL": "1s"}, 400, "Invalid Session TTL '1s'"),
        ({"Behavior": "x"}, 400, "Invalid Behavior setting 'x'"),
        ({"Node": "n9"}, 500, "Missing node registration"),
        ({"Checks": ["gone"]}, 500, "Missing check 'gone' registration"),
        ({"LockDelay": True}, 400, "Request decode failed: LockDelay"),
        ({"Lockdelai": "1s"}, 400, 'Request decode failed: unknown field "Lockdelai"'),
        ([], 400, "Request decode failed: "),
    ],
)
async def test_what_is_wrong_is_refused(client: Client, body: object, status: int, says: str) -> None:
    found, _, text = await client.call("PUT", "/v1/session/create", body)
    assert found == status
    assert text.decode().startswith(says)


async def test_a_name_is_needed(client: Client) -> None:
    for method, path, says in (
        ("PUT", "/v1/session/renew/", b"Missing session"),
        ("PUT", "/v1/session/destroy/", b"Missing session"),
        ("GET", "/v1/session/info/", b"Missing session"),
        ("GET", "/v1/session/node/", b"Missing node name"),
    ):
        assert (await client.call(method, path))[::2] == (400, says)


async def test_a_lock_passes_on_when_its_holder_goes(client: Client) -> None:
    first = await create(client, {"LockDelay": "0s"})
    second = await create(client, {"Behavior": "delete"})
    assert await client.put(f"/v1/kv/lock?acquire={first}", b"1") == b"true"
    assert await client.put(f"/v1/kv/lock?acquire={second}", b"2") == b"false"
    (row,) = await client.get("/v1/kv/lock")
    assert (row["Session"], row["LockIndex"]) == (first, 1)
    waiting = await parked(client, f"/v1/kv/lock?index={row['ModifyIndex']}&wait=60s")
    await client.put(f"/v1/session/destroy/{first}")
    (row,) = json.loads((await waiting)[2])
    assert "Session" not in row
    assert await client.put(f"/v1/kv/lock?acquire={second}", b"2") == b"true"
    assert await client.put(f"/v1/kv/lock?release={first}", b"") == b"false"
    await client.put(f"/v1/session/destroy/{second}")
    assert (await client.call("GET", "/v1/kv/lock"))[0] == 404


async def test_a_check_that_fails_ends_the_session(client: Client) -> None:
    await client.register({"Name": "web", "Check": {"TTL": "60s", "Status": "passing"}})
    session_id = await create(
        client, {"NodeChecks": ["serfHealth"], "ServiceChecks": [{"ID": "service:web"}]}
    )
    await client.put(f"/v1/kv/lock?acquire={session_id}", b"1")
    await client.put("/v1/agent/check/fail/service:web")
    assert await client.get(f"/v1/session/info/{session_id}") == []
    assert "Session" not in (await client.get("/v1/kv/lock"))[0]


async def test_trap_23_a_session_that_nobody_renews_ends(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.operator.renewals.GRACE", 0.001)
    session_id = await create(client, {"TTL": "10s"})
    await client.put(f"/v1/kv/lock?acquire={session_id}", b"1")
    state = client.registry.log.view
    await until(lambda: state().session(session_id).rows is None)
    assert "Session" not in (await client.get("/v1/kv/lock"))[0]


async def test_sessions_go_by_their_node(client: Client) -> None:
    async with running_registry(acl=AclSettings()) as guarded:
        _, _, body = await guarded.call("PUT", "/v1/acl/bootstrap")
        root = {"X_Consul_Token": json.loads(body)["SecretID"]}
        rules = 'session "n1" { policy = "read" }'
        await guarded.call("PUT", "/v1/acl/policy", {"Name": "p", "Rules": rules}, **root)
        _, _, body = await guarded.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "p"}]}, **root)
        reader = {"X_Consul_Token": json.loads(body)["SecretID"]}
        session_id = await create(guarded, **root)
        for verb in ("create", f"renew/{session_id}", f"destroy/{session_id}"):
            status, _, body = await guarded.call("PUT", f"/v1/session/{verb}", **reader)
            assert status == 403, verb
            assert b"lacks permission 'session:write' on \"n1\"" in body
        _, _, body = await guarded.call("GET", "/v1/session/list", **reader)
        assert [row["ID"] for row in json.loads(body)] == [session_id]
        assert (await guarded.call("GET", "/v1/session/list"))[2] == b"[]"


async def test_py_consul_holds_locks(client: Client) -> None:
    host, _, port = client.registry.http.partition(":")

    def story() -> None:
        it: Any = consul.Consul(host=host, port=int(port))
        session, kv = it.session, it.kv
        with pytest.raises(consul.ConsulException):
            session.create(node="n2")
        session_id = session.create("my-session", ttl=10, lock_delay=1, behavior="delete")
        index, rows = session.list()
        assert [row["ID"] for row in rows] == [session_id]
        assert session.node("n1")[1] == rows
        assert session.info(session_id)[1]["Name"] == "my-session"
        assert session.renew(session_id)["ID"] == session_id
        assert kv.put("bar", "1", acquire=session_id) is True
        assert kv.get("bar")[1]["Session"] == session_id
        assert kv.put("bar", "2", release="foo") is False
        assert kv.put("bar", "2", release=session_id) is True
        assert session.destroy(session_id) is True
        assert session.list(index=index)[1] == []
        with pytest.raises(consul.exceptions.NotFound):
            session.renew(session_id)

    await asyncio.to_thread(story)

"""`/v1/query*`: prepared queries, as Consul's clients use them."""

import asyncio
import json
from typing import Any

import consul
import pytest

from registry.process import AclSettings
from tests.support.registry import Client, running_registry


async def create(client: Client, body: object, **headers: str) -> str:
    status, _, answer = await client.call("POST", "/v1/query", body, **headers)
    assert status == 200, answer
    query_id = json.loads(answer)["ID"]
    assert isinstance(query_id, str)
    return query_id


async def ids(client: Client, name: str, query: str = "") -> list[str]:
    found = await client.get(f"/v1/query/{name}/execute{query}")
    return sorted(row["Service"]["ID"] for row in found["Nodes"])


async def instances(client: Client) -> None:
    """web-1 passes, web-2 warns, web-3 is critical."""
    for n, status in enumerate(("passing", "warning", "critical"), 1):
        check = {"TTL": "60s", "Status": status, "CheckID": f"c{n}"}
        tags = [f"v{n}", "all"]
        await client.register(
            {"Name": "web", "ID": f"web-{n}", "Tags": tags, "Meta": {"n": str(n)}, "Check": check}
        )


async def test_a_query_is_kept_shown_changed_and_deleted(client: Client) -> None:
    query_id = await create(client, {"Name": "q", "Service": {"Service": "web"}, "DNS": {"TTL": "10s"}})
    (row,) = await client.get(f"/v1/query/{query_id}")
    assert row == {
        "ID": query_id,
        "Name": "q",
        "Session": "",
        "Token": "",
        "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": False},
        "Service": {
            "Service": "web",
            "Failover": {"NearestN": 0, "Datacenters": [], "Targets": []},
            "OnlyPassing": False,
            "IgnoreCheckIDs": [],
            "Near": "",
            "Tags": [],
            "NodeMeta": {},
            "ServiceMeta": {},
            "Connect": False,
        },
        "DNS": {"TTL": "10s"},
        "CreateIndex": row["CreateIndex"],
        "ModifyIndex": row["CreateIndex"],
    }
    assert await client.get("/v1/query") == [row]
    changed = {"Name": "r", "Service": {"Service": "db"}}
    assert await client.put(f"/v1/query/{query_id}", changed) == b""
    assert (await client.get(f"/v1/query/{query_id}"))[0]["Name"] == "r"
    assert (await client.call("GET", "/v1/query/q/execute"))[::2] == (404, b"Query not found")
    assert (await client.call("DELETE", f"/v1/query/{query_id}"))[::2] == (200, b"")
    assert (await client.call("GET", f"/v1/query/{query_id}"))[::2] == (404, b"Query not found")
    assert (await client.call("PUT", f"/v1/query/{query_id}", changed))[::2] == (404, b"Query not found")
    assert await client.get("/v1/query") == []


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ({}, ["web-1", "web-2"]),
        ({"OnlyPassing": True}, ["web-1"]),
        ({"IgnoreCheckIDs": ["c3"]}, ["web-1", "web-2", "web-3"]),
        ({"Tags": ["all", "!v1"]}, ["web-2"]),
        ({"Tags": ["V1"]}, ["web-1"]),
        ({"ServiceMeta": {"n": "2"}}, ["web-2"]),
        ({"NodeMeta": {"no": "such"}}, []),
        ({"Connect": True}, []),
    ],
)
async def test_execution_finds_what_is_well_and_asked_for(
    client: Client, wish: dict[str, Any], found: list[str]
) -> None:
    await instances(client)
    query_id = await create(client, {"Name": "q", "Service": {"Service": "web", **wish}})
    assert await ids(client, "q") == await ids(client, query_id) == found


async def test_execution_answers_as_consul_does(client: Client) -> None:
    await instances(client)
    await create(client, {"Name": "q", "Service": {"Service": "web"}, "DNS": {"TTL": "7s"}})
    found = await client.get("/v1/query/q/execute?limit=1&near=_agent")
    assert found.keys() == {"Service", "Nodes", "DNS", "Datacenter", "Failovers"}
    assert (found["Service"], found["DNS"], found["Datacenter"]) == ("web", {"TTL": "7s"}, "dc1")
    (entry,) = found["Nodes"]
    assert entry.keys() == {"Node", "Service", "Checks"}


async def test_templates_are_filled_in_from_the_name(client: Client) -> None:
    await instances(client)
    service = {"Service": "${name.suffix}", "Tags": ["${match(2)}"]}
    template = {"Type": "name_prefix_match", "Regexp": "^geo-(.*?)-?(v[0-9])?$", "RemoveEmptyTags": True}
    body = {"Name": "geo-", "Template": template, "Service": {**service, "Service": "${match(1)}"}}
    await create(client, body)
    await create(client, {"Name": "", "Template": {"Type": "name_prefix_match"}, "Service": service})
    assert await ids(client, "geo-web-v2") == ["web-2"]
    assert await ids(client, "geo-web") == ["web-1", "web-2"]
    explained = (await client.get("/v1/query/geo-db-v1/explain"))["Query"]["Service"]
    assert (explained["Service"], explained["Tags"]) == ("db", ["v1"])
    caught = (await client.get("/v1/query/anything/explain"))["Query"]["Service"]
    assert caught["Service"] == "anything"
    await create(client, {"Name": "geo-exact", "Service": {"Service": "exact"}})
    assert (await client.get("/v1/query/geo-exact/explain"))["Query"]["Service"]["Service"] == "exact"


async def test_a_query_ends_with_its_session(client: Client) -> None:
    session = json.loads(await client.put("/v1/session/create", {}))["ID"]
    await create(client, {"Name": "q", "Session": session, "Service": {"Service": "web"}})
    await client.put(f"/v1/session/destroy/{session}")
    assert await client.get("/v1/query") == []


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "Must provide a Service name to query"),
        ({"Service": {}}, 400, "Must provide a Service name to query"),
        ({"Service": {"Service": "a"}, "Session": "no"}, 500, 'invalid session "no"'),
        ({"Name": "taken", "Service": {"Service": "a"}}, 500, "name 'taken' aliases an existing query name"),
        ({"Service": {"Service": "a"}, "Template": {"Type": "x"}}, 400, "Template.Type 'x'"),
        (
            {"Service": {"Service": "a"}, "Template": {"Type": "name_prefix_match", "Regexp": "("}},
            400,
            "Template.Regexp: ",
        ),
        (
            {"Service": {"Service": "${env.HOME}"}, "Template": {"Type": "name_prefix_match"}},
            400,
            "Template: '${env.HOME}' is unknown",
        ),
        ({"Servise": {}}, 400, None),
    ],
)
async def test_what_is_no_query_is_refused(
    client: Client, body: object, status: int, says: str | None
) -> None:
    await create(client, {"Name": "taken", "Service": {"Service": "web"}})
    found, _, text = await client.call("POST", "/v1/query", body)
    assert found == status, text
    assert text.decode().startswith(says or "")


async def test_queries_go_by_their_name_and_run_by_their_token() -> None:
    async with running_registry(acl=AclSettings()) as guarded:
        _, _, body = await guarded.call("PUT", "/v1/acl/bootstrap")
        root = {"X_Consul_Token": json.loads(body)["SecretID"]}
        rules = 'query "mine" { policy = "write" } query "theirs" { policy = "read" }'
        await guarded.call("PUT", "/v1/acl/policy", {"Name": "p", "Rules": rules}, **root)
        _, _, body = await guarded.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "p"}]}, **root)
        mine = {"X_Consul_Token": json.loads(body)["SecretID"]}
        wish = {"Service": {"Service": "consul"}}
        theirs = await create(guarded, {"Name": "theirs", "Token": root["X_Consul_Token"], **wish}, **root)
        await create(guarded, {"Name": "hidden", **wish}, **root)
        await create(guarded, wish, **root)
        own = await create(guarded, {"Name": "mine", **wish}, **mine)
        for method, path, sent in (
            ("POST", "/v1/query", {"Name": "other", **wish}),
            ("PUT", f"/v1/query/{theirs}", {"Name": "mine2", **wish}),
            ("PUT", f"/v1/query/{own}", {"Name": "other", **wish}),
            ("DELETE", f"/v1/query/{theirs}", None),
        ):
            assert (await guarded.call(method, path, sent, **mine))[0] == 403, (method, path)
        _, _, body = await guarded.call("GET", "/v1/query", **mine)
        assert {row["Name"]: row["Token"] for row in json.loads(body)} == {"theirs": "<hidden>", "mine": ""}
        assert root["X_Consul_Token"].encode() not in body
        for name, count in (("theirs", 1), ("mine", 0)):
            _, _, body = await guarded.call("GET", f"/v1/query/{name}/execute", **mine)
            assert len(json.loads(body)["Nodes"]) == count, name
        # Nobody goes on with a token that is not theirs.
        lent = {"Name": "mine", "Token": root["X_Consul_Token"], **wish}
        assert (await guarded.call("PUT", f"/v1/query/{own}", lent, **root))[0] == 200
        kept = {"Name": "mine", "Token": "<hidden>", **wish}
        assert (await guarded.call("PUT", f"/v1/query/{own}", kept, **mine))[0] == 403
        assert (await guarded.call("PUT", f"/v1/query/{own}", kept, **root))[0] == 200
        assert (await guarded.call("PUT", f"/v1/query/{own}", {"Name": "mine", **wish}, **mine))[0] == 200
        _, _, body = await guarded.call("GET", "/v1/query/mine/execute", **mine)
        assert json.loads(body)["Nodes"] == []


async def test_py_consul_keeps_queries(client: Client) -> None:
    host, _, port = client.registry.http.partition(":")

    def story() -> None:
        it: Any = consul.Consul(host=host, port=int(port))
        it.agent.service.register("foo", port=80)
        made = it.query.create("foo", "fooquery")
        assert it.query.get(made["ID"])[0]["Name"] == "fooquery"
        assert [row["ID"] for row in it.query.list()] == [made["ID"]]
        assert it.query.execute(made["ID"])["Nodes"][0]["Service"]["Port"] == 80
        assert it.query.explain("fooquery")["Query"]["Name"] == "fooquery"
        assert it.query.update(made["ID"], service="foo", name="other") is True
        assert it.query.delete(made["ID"]) is True
        assert it.query.list() == []

    await asyncio.to_thread(story)


@pytest.mark.parametrize(
    ("failover", "message"),
    [
        ({"NearestN": -1}, "Bad NearestN '-1', must be >= 0"),
        (
            {"NearestN": 1, "Targets": [{"Datacenter": "dc2"}]},
            "Targets cannot be populated with NearestN or Datacenters",
        ),
        (
            {"Datacenters": ["dc2"], "Targets": [{"Peer": "p"}]},
            "Targets cannot be populated with NearestN or Datacenters",
        ),
        ({"Targets": [{}]}, "a target has either Peer or Datacenter"),
        ({"Targets": [{"Peer": "p", "Datacenter": "dc2"}]}, "a target has either Peer or Datacenter"),
    ],
)
async def test_a_failover_that_cannot_be_is_refused(
    client: Client, failover: dict[str, Any], message: str
) -> None:
    body = {"Name": "q", "Service": {"Service": "web", "Failover": failover}}
    status, _, answer = await client.call("POST", "/v1/query", body)
    assert (status, message in answer.decode()) == (400, True), answer


@pytest.mark.parametrize(
    ("failover", "count"),
    [
        ({}, 0),
        ({"Datacenters": ["dc2", "dc1"], "NearestN": 2}, 0),  # nobody knows dc2; dc1 was asked first
        ({"Targets": [{"Peer": "p"}, {"Datacenter": "dc2"}]}, 0),
        ({"Targets": [{"Peer": "p"}, {"Datacenter": "dc1"}]}, 1),
    ],
)
async def test_where_nothing_is_found_known_places_are_counted(
    client: Client, failover: dict[str, Any], count: int
) -> None:
    await create(client, {"Name": "q", "Service": {"Service": "nobody", "Failover": failover}})
    assert (await client.get("/v1/query/q/execute"))["Failovers"] == count
    await client.register({"Name": "nobody"})
    assert (await client.get("/v1/query/q/execute"))["Failovers"] == 0


async def test_the_nearest_by_round_trip_time_come_first(client: Client) -> None:
    """Distances as Serf's coordinates give them; nodes of which nothing is known come last."""
    for node, x in (("far", 0.3), ("near", 0.01), ("unknown", None)):
        body = {"Node": node, "Address": "127.0.0.1", "Service": {"Service": "web", "ID": node}}
        await client.put("/v1/catalog/register", body)
        if x is not None:
            coordinate = {"Vec": [x, 0, 0, 0, 0, 0, 0, 0], "Error": 1, "Adjustment": 0, "Height": 0.001}
            await client.put("/v1/coordinate/update", {"Node": node, "Coord": coordinate})
    await client.register({"Name": "web", "ID": "here"})
    origin = {"Vec": [0] * 8, "Error": 1, "Adjustment": 0, "Height": 0.001}
    await client.put("/v1/coordinate/update", {"Node": "n1", "Coord": origin})
    await create(client, {"Name": "q", "Service": {"Service": "web", "Near": "_agent"}})
    for query in ("", "?near=n1"):
        found = await client.get(f"/v1/query/q/execute{query}")
        assert [row["Service"]["ID"] for row in found["Nodes"]] == ["here", "near", "far", "unknown"]
    found = await client.get("/v1/query/q/execute?near=far&limit=2")
    assert [row["Service"]["ID"] for row in found["Nodes"]] == ["far", "near"]

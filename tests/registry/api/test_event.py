"""`/v1/event/*` and `/v1/coordinate/*`, as Consul's clients use them."""

import asyncio
import json
from typing import Any

import consul
import pytest

from registry.process import AclSettings
from tests.registry.api.test_blocking import parked
from tests.support.registry import Client, running_registry


async def fire(client: Client, name: str, body: bytes = b"", query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await client.put(f"/v1/event/fire/{name}{query}", body))
    return found


async def test_an_event_is_shown_as_consul_does(client: Client) -> None:
    _, headers, body = await client.call("GET", "/v1/event/list")
    assert (headers["X-Consul-Index"], body) == ("1", b"[]")
    fired = await fire(client, "deploy", b"now", "?node=n.*")
    assert fired == {
        "ID": fired["ID"],
        "Name": "deploy",
        "Payload": "bm93",
        "NodeFilter": "n.*",
        "ServiceFilter": "",
        "TagFilter": "",
        "Version": 1,
        "LTime": fired["LTime"],
    }
    assert await client.get("/v1/event/list") == [fired]
    assert await client.get("/v1/event/list?name=other") == []


async def test_the_index_is_that_of_the_last_event_and_blocks_only_on_it(client: Client) -> None:
    first = await fire(client, "a")
    high, low = (
        int(part, 16) for part in (first["ID"].replace("-", "")[:16], first["ID"].replace("-", "")[16:])
    )
    index = await client.index("/v1/event/list")
    assert index == high ^ low
    for other in (index + 1, max(1, index - 1)):
        assert (await client.call("GET", f"/v1/event/list?index={other}&wait=60s"))[0] == 200
    waiting = await parked(client, f"/v1/event/list?index={index}&wait=60s")
    await fire(client, "b")
    assert [row["Name"] for row in json.loads((await waiting)[2])] == ["a", "b"]


async def test_who_an_event_is_not_for_is_not_told(client: Client) -> None:
    await client.register({"Name": "web", "Tags": ["v1"]})
    for query in ("", "?node=^n1$", "?service=^web$", "?service=web&tag=v1"):
        await fire(client, "mine", b"", query)
    for query in ("?node=^n2$", "?service=db", "?service=web&tag=v2"):
        await fire(client, "theirs", b"", query)
    assert [row["Name"] for row in await client.get("/v1/event/list")] == ["mine"] * 4


async def test_the_oldest_events_go(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.catalog.limits.EVENTS_MAX", 3)
    for n in range(5):
        await fire(client, f"e{n}")
    assert [row["Name"] for row in await client.get("/v1/event/list")] == ["e2", "e3", "e4"]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("", b"", "Missing name"),
        ("a", b"x" * 513, "user event exceeds sane limit of 512 bytes"),
        ("a?node=(", b"", "Invalid node filter"),
        ("a?tag=v1", b"", "Cannot provide tag filter without service filter"),
    ],
)
async def test_what_is_no_event_is_refused(client: Client, path: str, body: bytes, says: str) -> None:
    status, _, text = await client.call("PUT", f"/v1/event/fire/{path}", body)
    assert status == 400
    assert text.decode().startswith(says)


async def test_coordinates_are_told_once_somebody_has_measured(client: Client) -> None:
    (row,) = await client.get("/v1/coordinate/nodes")
    assert (row["Node"], row["Segment"], row["Coord"]["Vec"]) == ("n1", "", [0.0] * 8)
    coord = {"Adjustment": 0.1, "Error": 1.0, "Height": 0.5, "Vec": [0.5] * 8}
    assert await client.put("/v1/coordinate/update", {"Node": "n1", "Segment": "", "Coord": coord}) == b""
    assert await client.get("/v1/coordinate/node/n1") == [{"Node": "n1", "Segment": "", "Coord": coord}]
    (area,) = await client.get("/v1/coordinate/datacenters")
    assert (area["Datacenter"], area["Coordinates"][0]["Node"]) == ("dc1", "n1.dc1")
    assert (await client.call("GET", "/v1/coordinate/node/n2"))[::2] == (404, b"")
    for wrong in ({"Node": "n9", "Coord": coord}, {"Node": "n1", "Coord": {"Vec": [1]}}, {"Node": "n1"}):
        assert (await client.call("PUT", "/v1/coordinate/update", wrong))[0] in (400, 404)


async def test_events_go_by_their_name() -> None:
    async with running_registry(acl=AclSettings()) as guarded:
        _, _, body = await guarded.call("PUT", "/v1/acl/bootstrap")
        root = {"X_Consul_Token": json.loads(body)["SecretID"]}
        rules = 'event "a" { policy = "write" } event "b" { policy = "read" }'
        await guarded.call("PUT", "/v1/acl/policy", {"Name": "p", "Rules": rules}, **root)
        _, _, body = await guarded.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "p"}]}, **root)
        mine = {"X_Consul_Token": json.loads(body)["SecretID"]}
        for name in "abc":
            await guarded.call("PUT", f"/v1/event/fire/{name}", **root)
            expected = 200 if name == "a" else 403
            assert (await guarded.call("PUT", f"/v1/event/fire/{name}", **mine))[0] == expected
        _, headers, body = await guarded.call("GET", "/v1/event/list", **mine)
        assert [row["Name"] for row in json.loads(body)] == ["a", "a", "b"]
        assert headers["X-Consul-Results-Filtered-By-ACLs"] == "true"


async def test_py_consul_fires_events_and_reads_coordinates(client: Client) -> None:
    host, _, port = client.registry.http.partition(":")

    def story() -> None:
        it: Any = consul.Consul(host=host, port=int(port))
        assert it.event.fire("fooname", "foobody")["Name"] == "fooname"
        index, events = it.event.list()
        assert [(row["Name"], row["Payload"]) for row in events] == [("fooname", b"foobody")]
        assert it.event.list(name="othername")[1] == []
        assert int(index) > 1
        assert it.coordinate.nodes()[1][0]["Node"] == "n1"
        assert it.coordinate.datacenters()[0]["Datacenter"] == "dc1"
        coord = it.coordinate.node("n1")[1][0]["Coord"]
        assert it.coordinate.update("n1", coord) is True

    await asyncio.to_thread(story)

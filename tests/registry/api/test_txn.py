"""`/v1/txn`, and the catalog written by who is no agent."""

import asyncio
import base64
import json
from typing import Any

import consul
import pytest

from registry.process import AclSettings
from tests.support.registry import Client, running_registry


async def txn(client: Client, ops: object, query: str = "", **headers: str) -> tuple[int, Any]:
    status, _, body = await client.call("PUT", f"/v1/txn{query}", ops, **headers)
    return status, json.loads(body) if status in (200, 409) else body.decode()


def kv(verb: str, key: str, value: str | None = None, **fields: Any) -> dict[str, Any]:
    encoded = {} if value is None else {"Value": base64.b64encode(value.encode()).decode()}
    return {"KV": {"Verb": verb, "Key": key, **encoded, **fields}}


async def test_what_is_written_and_read_is_answered_as_consul_does(client: Client) -> None:
    status, body = await txn(client, [kv("set", "a", "1", Flags=7), kv("get", "a")])
    assert status == 200
    written, read = (result["KV"] for result in body["Results"])
    index = written["ModifyIndex"]
    assert written == {
        "LockIndex": 0,
        "Key": "a",
        "Flags": 7,
        "Value": None,
        "CreateIndex": index,
        "ModifyIndex": index,
    }
    assert read == written | {"Value": "MQ=="}
    assert body["Errors"] is None


async def test_one_that_fails_leaves_everything_as_it_was(client: Client) -> None:
    await txn(client, [kv("set", "a", "1")])
    status, body = await txn(client, [kv("set", "a", "2"), kv("cas", "a", "3", Index=1), kv("get", "x")])
    assert status == 409
    assert body == {
        "Results": None,
        "Errors": [
            {"OpIndex": 1, "What": 'failed to set key "a", index is stale'},
            {"OpIndex": 2, "What": 'key "x" doesn\'t exist'},
        ],
    }
    assert (await client.get("/v1/kv/a"))[0]["Value"] == "MQ=="


async def test_what_only_reads_is_as_sure_as_it_asks_and_writes_nothing(client: Client) -> None:
    await client.put("/v1/kv/t/a", b"1")
    index = client.registry.log.view().index
    for query, sure in (("", "leader"), ("?consistent", "consistent"), ("?stale", "stale")):
        status, headers, body = await client.call("PUT", f"/v1/txn{query}", [kv("get-tree", "t/")])
        assert status == 200
        assert [it["KV"]["Key"] for it in json.loads(body)["Results"]] == ["t/a"]
        assert headers["X-Consul-Effective-Consistency"] == sure
        assert headers["X-Consul-KnownLeader"] == "true"
    assert (await txn(client, [kv("get", "x")]))[0] == 409
    assert await txn(client, []) == (200, {"Results": [], "Errors": None})
    assert client.registry.log.view().index == index


async def test_nodes_services_and_checks(client: Client) -> None:
    web = {"ID": "web-1", "Service": "web", "Port": 80}
    check = {"Node": "far", "CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "web-1"}
    status, body = await txn(
        client,
        [
            {"Node": {"Verb": "set", "Node": {"Node": "far", "Address": "10.9.9.9"}}},
            {"Service": {"Verb": "set", "Node": "far", "Service": web}},
            {"Check": {"Verb": "set", "Check": check}},
        ],
    )
    assert status == 200, body
    node, service, made = body["Results"]
    assert node["Node"]["Address"] == "10.9.9.9"
    assert (service["Service"]["Service"], service["Service"]["Port"]) == ("web", 80)
    assert made["Check"]["ServiceName"] == "web"
    (entry,) = await client.get("/v1/health/service/web?passing")
    assert entry["Node"]["Node"] == "far"
    again = {**service["Service"], "Port": 81}
    status, body = await txn(client, [{"Service": {"Verb": "cas", "Node": "far", "Service": again}}])
    assert status == 200, body
    status, body = await txn(client, [{"Service": {"Verb": "cas", "Node": "far", "Service": again}}])
    assert (status, body["Errors"][0]["What"]) == (
        409,
        'failed to set service "web-1" on node "far", index is stale',
    )
    status, body = await txn(client, [{"Node": {"Verb": "delete", "Node": {"Node": "far"}}}])
    assert (status, body["Results"]) == (200, [])
    assert await client.get("/v1/health/service/web") == []


@pytest.mark.parametrize(
    ("ops", "status", "says"),
    [
        ([kv("get", "a")] * 65, 413, "Transaction contains too many operations (65 > 64)"),
        ({}, 400, "Failed to parse body: the body must be a list"),
        (b"[", 400, "Failed to parse body: "),
        ([{}], 400, "Failed to parse body: [0].KV: give one of"),
        ([kv("put", "a")], 400, "Failed to parse body: [0].KV.Verb: unknown KV verb 'put'"),
        ([{"KV": {"Verb": "set", "Key": "a", "Value": "*"}}], 400, "Failed to parse body: [0].KV.Value"),
        ([kv("set", "a", Flags=-1)], 400, "Failed to parse body: [0].KV.Flags"),
        ([kv("set", "a", Colour=1)], 400, 'Failed to parse body: unknown field "[0].KV.Colour"'),
        ([{"Node": {"Verb": "set"}}], 400, "Failed to parse body: [0].Node.Node is missing"),
        (b"x" * (512 * 1024 + 1), 413, "Request body too large, max size: 524288 bytes"),
    ],
)
async def test_what_is_no_transaction_is_refused(client: Client, ops: object, status: int, says: str) -> None:
    found, body = await txn(client, ops)
    assert found == status
    assert body.startswith(says)


async def test_each_operation_needs_its_permission(client: Client) -> None:
    rules = """
        key_prefix "app/" { policy = "write" }
        key "app/secret" { policy = "deny" }
        service "web" { policy = "write" }
        node_prefix "" { policy = "read" }
    """
    async with running_registry(acl=AclSettings()) as guarded:
        _, _, body = await guarded.call("PUT", "/v1/acl/bootstrap")
        root = {"X_Consul_Token": json.loads(body)["SecretID"]}
        await guarded.call("PUT", "/v1/acl/policy", {"Name": "p", "Rules": rules}, **root)
        _, _, body = await guarded.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "p"}]}, **root)
        mine = {"X_Consul_Token": json.loads(body)["SecretID"]}
        await txn(guarded, [kv("set", "app/a", "1"), kv("set", "app/secret", "2")], **root)
        assert (await txn(guarded, [kv("set", "app/a", "2")], **mine))[0] == 200
        status, found = await txn(guarded, [kv("get-tree", "app/")], **mine)
        assert [it["KV"]["Key"] for it in found["Results"]] == ["app/a"]
        web, db = ({"ID": name, "Service": name} for name in ("web", "db"))
        for op in (
            kv("get", "app/secret"),
            kv("delete-tree", "app/"),
            kv("set", "other"),
            {"Node": {"Verb": "set", "Node": {"Node": "n1", "Address": "10.1.1.1"}}},
            {"Node": {"Verb": "delete", "Node": {"Node": "n1"}}},
            {"Service": {"Verb": "set", "Node": "n1", "Service": db}},
            {"Check": {"Verb": "set", "Check": {"Node": "n1", "Name": "c"}}},
        ):
            status, found = await txn(guarded, [kv("set", "app/a", "never"), op], **mine)
            assert (status, found[:17]) == (403, "Permission denied"), op
        assert (await txn(guarded, [kv("get", "app/a")], **mine))[1]["Results"][0]["KV"]["Value"] == "Mg=="
        ops = [
            {"Service": {"Verb": "set", "Node": "n1", "Service": web}},
            {"Check": {"Verb": "set", "Check": {"Node": "n1", "Name": "c", "ServiceID": "web"}}},
        ]
        assert (await txn(guarded, ops, **mine))[0] == 200


async def test_the_catalog_takes_what_has_no_agent(client: Client) -> None:
    body = {
        "Node": "far",
        "Address": "10.9.9.9",
        "NodeMeta": {"external": "true"},
        "Service": {"Service": "db", "ID": "db-1", "Port": 5432, "Tags": ["x"]},
        "Check": {"CheckID": "up", "Name": "up", "Status": "passing", "ServiceID": "db-1"},
    }
    assert await client.put("/v1/catalog/register", body) == b"true"
    (entry,) = await client.get("/v1/health/service/db")
    assert entry["Node"]["Meta"] == {"external": "true"}
    assert [row["CheckID"] for row in entry["Checks"]] == ["up"]
    again = {"Node": "far", "SkipNodeUpdate": True, "Service": {"Service": "db", "ID": "db-2"}}
    assert await client.put("/v1/catalog/register", again) == b"true"
    assert len(await client.get("/v1/catalog/service/db")) == 2
    for gone in ({"CheckID": "up"}, {"CheckID": "never"}, {"ServiceID": "db-1"}, {}, {}):
        assert await client.put("/v1/catalog/deregister", {"Node": "far", **gone}) == b"true"
    assert await client.get("/v1/catalog/service/db") == []
    assert await client.get("/v1/catalog/node/far") is None


async def test_a_credential_of_no_service_is_refused_before_anything_is_registered(client: Client) -> None:
    body = {"Node": "far", "Address": "10.9.9.9"}
    status, _, said = await client.call("PUT", "/v1/catalog/register?credential", body)
    assert (status, said) == (400, b"Missing service: a credential is of one instance")
    assert await client.get("/v1/catalog/node/far") is None


@pytest.mark.parametrize(
    ("verb", "body", "status", "says"),
    [
        ("register", {"Address": "10.1.1.1"}, 400, "Must provide node"),
        ("register", {"Node": "far"}, 400, "Must provide address if SkipNodeUpdate is not set"),
        ("register", {"Node": "a", "Address": "10.1.1.1", "Datacenter": "dc2"}, 500, "No path to datacenter"),
        ("register", {"Node": "a", "Address": "10.1.1.1", "Check": {"Status": "?"}}, 400, None),
        ("register", {"Nodde": "a"}, 400, 'Request decode failed: unknown field "Nodde"'),
        ("deregister", {}, 400, "Must provide node"),
        ("deregister", {"Node": "a", "Datacenter": "dc2"}, 500, "No path to datacenter"),
    ],
)
async def test_what_the_catalog_does_not_take(
    client: Client, verb: str, body: object, status: int, says: str | None
) -> None:
    found, _, text = await client.call("PUT", f"/v1/catalog/{verb}", body)
    assert (found, says or text.decode()) == (status, text.decode())


async def test_py_consul_writes_the_catalog_and_transactions(client: Client) -> None:
    host, _, port = client.registry.http.partition(":")

    def story() -> None:
        it: Any = consul.Consul(host=host, port=int(port))
        value = base64.b64encode(b"1234").decode()
        done = it.txn.put([kv("set", "foo", None, Value=value), kv("get", "foo")])
        assert done["Errors"] is None
        assert done["Results"][1]["KV"]["Value"] == value
        with pytest.raises(consul.exceptions.ClientError):
            it.txn.put([kv("get", "gone")])
        assert it.catalog.register("n2", "10.1.10.11", service={"service": "s2"}) is True
        assert {row["Node"] for row in it.catalog.nodes()[1]} == {"n1", "n2"}
        check = {"name": "c", "status": "passing"}
        assert it.catalog.register("n2", "10.1.10.11", check=check) is True
        with pytest.raises(consul.ConsulException):
            it.catalog.register("n3", "10.1.10.12", dc="dc2")
        assert it.catalog.deregister("n2", check_id="c") is True
        assert it.catalog.deregister("n2", service_id="s2") is True
        assert it.catalog.deregister("n2") is True
        with pytest.raises(consul.ConsulException):
            it.catalog.deregister("n2", dc="dc2")

    await asyncio.to_thread(story)

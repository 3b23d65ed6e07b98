"""`/v1/kv/:key`: shapes, statuses and blocking, as Consul's clients look at them."""

import asyncio
import base64
import json
from typing import Any

import consul
import pytest

from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.registry.api.test_blocking import parked
from tests.support.registry import Client, running_registry

MIB_HALF = 512 * 1024


async def test_a_value_is_shown_as_consul_does(client: Client) -> None:
    assert await client.put("/v1/kv/a/b?flags=42", b"bar") == b"true"
    _, headers, body = await client.call("GET", "/v1/kv/a/b")
    (row,) = json.loads(body)
    index = row["ModifyIndex"]
    assert row == {
        "LockIndex": 0,
        "Key": "a/b",
        "Flags": 42,
        "Value": "YmFy",
        "CreateIndex": index,
        "ModifyIndex": index,
    }
    assert list(row) == ["LockIndex", "Key", "Flags", "Value", "CreateIndex", "ModifyIndex"]
    assert int(headers["X-Consul-Index"]) == index
    assert headers["X-Consul-KnownLeader"] == "true"
    await client.put("/v1/kv/empty", b"")
    assert (await client.get("/v1/kv/empty"))[0]["Value"] is None


async def test_raw_is_the_value_and_no_page(client: Client) -> None:
    await client.put("/v1/kv/page", b"<script>")
    _, headers, body = await client.call("GET", "/v1/kv/page?raw")
    assert body == b"<script>"
    assert headers["Content-Type"] == "text/plain"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox"
    assert "X-Consul-Index" in headers


async def test_what_is_absent_is_404_without_a_body_and_with_an_index(client: Client) -> None:
    for path in ("/v1/kv/x", "/v1/kv/x?recurse", "/v1/kv/x?keys", "/v1/kv/?recurse"):
        status, headers, body = await client.call("GET", path)
        assert (status, body) == (404, b""), path
        assert int(headers["X-Consul-Index"]) >= 1
    assert await client.get("/v1/kv/?keys") == []


async def test_names_are_cut_at_the_separator(client: Client) -> None:
    for key in ("a/b/1", "a/b/2", "a/c", "a/d/1", "b"):
        await client.put(f"/v1/kv/{key}", b"v")
    assert await client.get("/v1/kv/a/?keys&separator=/") == ["a/b/", "a/c", "a/d/"]
    assert await client.get("/v1/kv/?keys&seperator=/") == ["a/", "b"]
    assert await client.get("/v1/kv/a/b?keys") == ["a/b/1", "a/b/2"]
    assert [row["Key"] for row in await client.get("/v1/kv/a/d?recurse")] == ["a/d/1"]


async def test_comparisons(client: Client) -> None:
    assert await client.put("/v1/kv/a?cas=0", b"1") == b"true"
    assert await client.put("/v1/kv/a?cas=0", b"2") == b"false"
    index = (await client.get("/v1/kv/a"))[0]["ModifyIndex"]
    assert await client.put(f"/v1/kv/a?cas={index}", b"2") == b"true"
    assert (await client.call("DELETE", f"/v1/kv/a?cas={index}"))[::2] == (200, b"false")
    index = (await client.get("/v1/kv/a"))[0]["ModifyIndex"]
    assert (await client.call("DELETE", f"/v1/kv/a?cas={index}"))[::2] == (200, b"true")
    assert (await client.call("DELETE", "/v1/kv/a"))[::2] == (200, b"true")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/kv/", 400, "Missing key name"),
        ("PUT", "/v1/kv/", 400, "Missing key name"),
        ("DELETE", "/v1/kv/", 400, "Missing key name"),
        ("PUT", "/v1/kv/a?cas=1&acquire=x", 400, "Conflicting flags: cas=1&acquire=x\n"),
        ("DELETE", "/v1/kv/a?recurse&cas=1", 400, "Conflicting flags: recurse=&cas=1\n"),
        ("PUT", "/v1/kv/a?cas=x", 500, 'strconv.ParseUint: parsing "x": invalid syntax'),
        ("PUT", "/v1/kv/a?flags=-1", 500, 'strconv.ParseUint: parsing "-1": invalid syntax'),
        ("PUT", "/v1/kv/a?acquire=no-such", 500, 'invalid session "no-such"'),
        ("GET", "/v1/kv/a?index=x", 400, "Invalid index"),
        ("GET", "/v1/kv/a?stale&consistent", 400, None),
        ("PUT", "/v1/kv/a..%2Fb", 400, None),
        ("GET", "/v1/kv/%20a", 400, None),
        ("PUT", "/v1/kv/a?dc=dc2", 500, "No path to datacenter"),
    ],
)
async def test_what_is_wrong_is_refused(
    client: Client, method: str, path: str, status: int, text: str | None
) -> None:
    found, _, body = await client.call(method, path, b"v" if method == "PUT" else None)
    assert found == status, body
    assert text is None or body.decode() == text


async def test_odd_keys_are_keys(client: Client) -> None:
    odd = "qmslkjdfmqlskdjfmqlksjazçueznbvbwzlkajzebvkwjdcqmlsfj"
    for key in (odd, "a b", "x.json", "100%25", "a+b"):
        await client.put(f"/v1/kv/{key}", b"v")
    assert set(await client.get("/v1/kv/?keys")) == {odd, "a b", "x.json", "100%", "a+b"}
    await client.put("/v1/kv/a//b///c", b"v")
    assert await client.get("/v1/kv/a/?keys") == ["a/b/c"]


async def test_a_value_that_is_too_large_is_refused_with_its_size(client: Client) -> None:
    assert await client.put("/v1/kv/full", b"x" * MIB_HALF) == b"true"
    status, _, body = await client.call("PUT", "/v1/kv/large", b"x" * (MIB_HALF + 1))
    assert (status, body.decode()) == (
        413,
        "Request body(524289 bytes) too large, max size: 524288 bytes. See "
        "https://developer.hashicorp.com/docs/agent/config/config-files#kv_max_value_size.",
    )
    assert (await client.call("GET", "/v1/kv/large"))[0] == 404


async def test_an_absent_key_blocks_until_it_appears(client: Client) -> None:
    index = await client.index("/v1/kv/a/b")
    waiting = await parked(client, f"/v1/kv/a/b?index={index}&wait=60s")
    await client.put("/v1/kv/a/c", b"other")
    assert not waiting.done()
    await client.put("/v1/kv/a/b", b"v")
    status, headers, _ = await waiting
    assert status == 200
    assert int(headers["X-Consul-Index"]) > index


async def test_a_prefix_blocks_on_itself_and_a_deletion_wakes_it(client: Client) -> None:
    await client.put("/v1/kv/a/b1", b"v")
    index = await client.index("/v1/kv/a/b?recurse")
    waiting = await parked(client, f"/v1/kv/a/b?recurse&index={index}&wait=60s")
    for key in ("b/b1", "a/c", "c"):
        await client.put(f"/v1/kv/{key}", b"v")
    assert not waiting.done()
    assert await client.index("/v1/kv/a/b?recurse") == index
    await client.call("DELETE", "/v1/kv/a/b1")
    status, headers, _ = await waiting
    assert status == 404
    assert int(headers["X-Consul-Index"]) > index


async def test_keys_go_by_their_rules(client: Client) -> None:
    rules = """
        key_prefix "app/" { policy = "write" }
        key "app/secret" { policy = "deny" }
        key_prefix "shared/" { policy = "read" }
    """
    async with running_registry(acl=AclSettings()) as guarded:
        _, _, body = await guarded.call("PUT", "/v1/acl/bootstrap")
        root = {"X_Consul_Token": json.loads(body)["SecretID"]}
        await guarded.call("PUT", "/v1/acl/policy", {"Name": "p", "Rules": rules}, **root)
        _, _, body = await guarded.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "p"}]}, **root)
        token: dict[str, Any] = {"X_Consul_Token": json.loads(body)["SecretID"]}
        for key in ("app/a", "app/secret", "shared/a", "other"):
            await guarded.call("PUT", f"/v1/kv/{key}", b"v", **root)

        async def status(method: str, path: str) -> int:
            return (await guarded.call(method, path, b"v" if method == "PUT" else None, **token))[0]

        assert await status("GET", "/v1/kv/app/a") == 200
        assert await status("PUT", "/v1/kv/app/a") == 200
        assert await status("GET", "/v1/kv/app/secret") == 403
        assert await status("PUT", "/v1/kv/app//secret") == 403
        assert await status("GET", "/v1/kv/shared/a") == 200
        assert await status("PUT", "/v1/kv/shared/a") == 403
        assert await status("GET", "/v1/kv/other") == 403
        assert await status("DELETE", "/v1/kv/app/?recurse") == 403, "it would take app/secret along"
        assert await status("DELETE", "/v1/kv/app/a?recurse") == 200
        _, headers, body = await guarded.call("GET", "/v1/kv/?keys", **token)
        assert json.loads(body) == ["shared/a"]
        assert headers["X-Consul-Results-Filtered-By-ACLs"] == "true"


async def test_py_consul_keeps_keys(client: Client) -> None:
    host, _, port = client.registry.http.partition(":")

    def story() -> None:
        kv = consul.Consul(host=host, port=int(port)).kv
        index, none = kv.get("foo")
        assert none is None
        assert kv.put("foo", "bar", flags=50) is True
        _, data = kv.get("foo", index=index)
        assert (data["Value"], data["Flags"]) == (b"bar", 50)
        assert kv.put("foo", "no", cas=0) is False
        assert kv.put("foo", None, cas=data["ModifyIndex"]) is True
        assert kv.get("foo")[1]["Value"] is None
        for key in ("base/a", "base/b/c"):
            kv.put(key, base64.b64encode(b"x" * 9))
        assert kv.get("base/", keys=True, separator="/")[1] == ["base/a", "base/b/"]
        assert [row["Key"] for row in kv.get("base", recurse=True)[1]] == ["base/a", "base/b/c"]
        assert kv.delete("base", recurse=True) is True
        assert kv.get("base", recurse=True)[1] is None
        with pytest.raises(consul.ConsulException):
            kv.put("foo", "bar", acquire="11111111-2222-3333-4444-555555555555")

    await asyncio.to_thread(story)


async def test_reading_many_keys_takes_the_right_to_list_where_that_is_asked_for() -> None:
    """acl.enable_key_list_policy: without it whoever may read is shown what they may read."""
    rules = 'key_prefix "" { policy = "read" } key_prefix "open/" { policy = "list" }'
    for asked in (False, True):
        async with running_registry(acl=AclSettings(key_list_policy=asked)) as client:
            management = await bootstrap(client)
            await make(client, management, "/v1/acl/policy", {"Name": "p", "Rules": rules})
            token = await make(client, management, "/v1/acl/token", {"Policies": [{"Name": "p"}]})
            secret = token["SecretID"]
            for key in ("open/a", "shut/a"):
                await client.call("PUT", f"/v1/kv/{key}", b"1", X_Consul_Token=management)
            for how in ("recurse", "keys"):
                found = await client.call("GET", f"/v1/kv/open/?{how}", X_Consul_Token=secret)
                assert found[0] == 200
                code, _, body = await client.call("GET", f"/v1/kv/shut/?{how}", X_Consul_Token=secret)
                assert code == (403 if asked else 200), body
                assert not asked or body.endswith(b"lacks permission 'key:list' on \"shut/\"")
            assert (await client.call("GET", "/v1/kv/shut/a", X_Consul_Token=secret))[0] == 200

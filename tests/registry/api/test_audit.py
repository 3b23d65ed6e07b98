"""Every write and every refusal over HTTP leaves its line."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.api.route import Needs
from registry.api.routes import ROUTES
from registry.audit.log import AuditLog
from registry.audit.settings import AuditSettings
from registry.process import AclSettings
from tests.support.registry import Client, running_registry, until


@asynccontextmanager
async def audited(path: Path, *, acl: bool = True, refuses: bool = True) -> AsyncIterator[Client]:
    settings = AuditSettings(path, refuses=refuses)
    async with running_registry(acl=AclSettings() if acl else None, audit=settings) as client:
        yield client


def all_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Of requests: what the server does by itself has no source."""
    return [it for it in all_lines(path) if it["source"]]


async def bootstrapped(client: Client) -> tuple[str, str]:
    """Secret and accessor id of the management token."""
    found = json.loads((await client.call("PUT", "/v1/acl/bootstrap"))[2])
    return found["SecretID"], found["AccessorID"]


async def test_a_write_is_told_of_before_it_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path) as client:
        secret, accessor = await bootstrapped(client)
        body = b"the value is nobody's business"
        await client.call("PUT", f"/v1/kv/a/b?token={secret}&flags=7", body)
        line = lines_of(path)[-1]
        _, headers, _ = await client.call("GET", "/v1/kv/a/b", X_Consul_Token=secret)
        assert line["index"] == int(headers["X-Consul-Index"])
        kept = {key: line[key] for key in ("operation", "resource", "outcome", "accessor_id", "command")}
        assert kept == {
            "operation": "PUT /v1/kv/:key",
            "resource": "/v1/kv/a/b",
            "outcome": "done",
            "accessor_id": accessor,
            "command": "change_kv",
        }
        assert line["subjects"] == ["key=a/b"]
        assert line["source"].startswith("127.0.0.1:")
        assert len(line["request_id"]) == 32
        assert line["detail"] == {"status": 200}
    text = path.read_bytes()
    assert secret.encode() not in text
    assert body not in text


async def test_refusals_are_told_of_whatever_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path) as client:
        secret, _ = await bootstrapped(client)
        policy = {"Name": "p", "Rules": 'key "a" { policy = "read" }'}
        await client.call("PUT", "/v1/acl/policy", policy, X_Consul_Token=secret)
        made = await client.call("PUT", "/v1/acl/token", {"Policies": [{"Name": "p"}]}, X_Consul_Token=secret)
        token = json.loads(made[2])
        for method, target, who in (
            ("GET", "/v1/kv/b", token["SecretID"]),  # denied inside
            ("PUT", "/v1/kv/a", token["SecretID"]),
            ("GET", "/v1/operator/raft/configuration", ""),  # by the guard
            ("GET", "/v1/catalog/nodes", "nobody-has-this-token"),
        ):
            status, _, _ = await client.call(method, target, X_Consul_Token=who)
            assert status == 403
        status, _, _ = await client.call("GET", "/v1/agent/self", Host="evil.example")
        assert status == 403
    denied = [it for it in lines_of(path) if it["outcome"] == "denied"]
    assert [(it["operation"], it["resource"]) for it in denied] == [
        ("GET /v1/kv/:key", "/v1/kv/b"),
        ("PUT /v1/kv/:key", "/v1/kv/a"),
        ("GET /v1/operator/raft/configuration", "/v1/operator/raft/configuration"),
        ("GET /v1/catalog/nodes", "/v1/catalog/nodes"),
        ("GET /v1/agent/self", "/v1/agent/self"),
    ]
    assert [it["accessor_id"] for it in denied[:2]] == [token["AccessorID"]] * 2
    assert "lacks permission 'key:read' on \"b\"" in denied[0]["reason"]
    assert (denied[3]["accessor_id"], denied[3]["reason"]) == ("", "ACL not found")
    assert b"nobody-has-this-token" not in path.read_bytes()
    assert token["SecretID"].encode() not in path.read_bytes()


async def test_reads_leave_no_line_but_those_that_hand_out_keys(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, acl=False) as client:
        await client.call("GET", "/v1/catalog/nodes")
        await client.call("GET", "/v1/nothing")
        await client.register({"Name": "web"})
        before = len(lines_of(path))
        await client.call("GET", "/v1/snapshot")
        await client.call("GET", "/v1/agent/connect/ca/leaf/web")
        assert [it["operation"] for it in lines_of(path)[before - 1 :]] == [
            "PUT /v1/agent/service/register",
            "GET /v1/snapshot",
            "GET /v1/agent/connect/ca/leaf/:service",
        ]


def test_every_route_that_changes_something_is_audited() -> None:
    for route in ROUTES:
        if route.method != "GET" and route.needs is not Needs.STATE:
            assert route.is_audited, route.path


async def test_what_is_wrong_is_told_of_as_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, acl=False) as client:
        assert (await client.call("PUT", "/v1/config", {"Kind": "nothing"}))[0] == 400
        assert (await client.call("PUT", "/v1/kv/a?cas=x", b""))[0] == 500
    assert [it["outcome"] for it in lines_of(path)] == ["refused", "failed"]
    assert lines_of(path)[0]["reason"]


async def test_a_client_that_goes_away_leaves_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, acl=False) as client:
        host, _, port = client.registry.http.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
        await writer.drain()
        writer.transport.abort()
        await until(lambda: any(it["resource"] == "/v1/kv/a" for it in lines_of(path)))
    assert lines_of(path)[0]["outcome"] in ("unknown", "failed", "refused")


async def test_a_full_disk_refuses_writes_and_not_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.log"

    def full(_handle: int, _data: bytes, _offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with audited(path, acl=False) as client:
        with monkeypatch.context() as broken:
            broken.setattr("registry.audit.log.WRITTEN_TIMEOUT_S", 0.05)
            broken.setattr("registry.audit.files.os.pwrite", full)
            status, _, body = await client.call("PUT", "/v1/kv/a", b"1")
            assert (status, b"this was done, but could not be put down" in body) == (500, True)
            status, _, body = await client.call("PUT", "/v1/kv/b", b"1")
            assert (status, b"nothing is done without a line" in body) == (500, True)
            assert (await client.call("GET", "/v1/kv/a"))[0] == 200
            assert (await client.call("GET", "/v1/kv/b"))[0] == 404
        log = client.registry.audit
        assert isinstance(log, AuditLog)
        await until(lambda: not log.failure)
        assert (await client.call("PUT", "/v1/kv/b", b"1"))[0] == 200
    assert [(it["resource"], it["outcome"]) for it in lines_of(path)] == [
        ("/v1/kv/a", "done"),
        ("/v1/kv/b", "failed"),
        ("/v1/kv/b", "done"),
    ]


async def test_a_step_of_the_ca_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with audited(path, acl=False) as client:
        root = (await client.get("/v1/connect/ca/roots"))["ActiveRootID"]
    (step,) = [it for it in all_lines(path) if it["operation"] == "CA step"]
    assert (step["resource"], step["detail"], step["outcome"]) == (root, {"step": "install"}, "done")

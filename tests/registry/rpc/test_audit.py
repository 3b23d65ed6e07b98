"""Writes and refusals over gRPC leave their lines."""

import json
from pathlib import Path
from typing import Any

import grpc

from registry.audit.settings import AuditSettings
from registry.process import AclSettings
from tests.registry.rpc.test_mesh import csr
from tests.registry.rpc.test_permission import call, callers
from tests.support.registry import running_registry
from weft.credential import METADATA_KEY

REGISTER = "/weft.registration.v1.Registration/Register"
SIGN = "/weft.mesh.v1.Mesh/SignCertificate"
SUBSCRIBE = "/weft.mesh.v1.Mesh/Subscribe"


async def test_calls_are_told_of(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running_registry(acl=AclSettings(), audit=AuditSettings(path)) as client:
        who = await callers(client)
        begun = len(path.read_bytes().splitlines())
        assert csr()
        await call(client, REGISTER, ("x-consul-token", who.write))
        await call(client, REGISTER, ("x-consul-token", who.read))
        await call(client, REGISTER, ("x-consul-token", "no such token"))
        await call(client, SUBSCRIBE, (METADATA_KEY, who.withdrawn.metadata()[1]))
        await call(client, SIGN, (METADATA_KEY, who.web.secret))
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_bytes().splitlines()[begun:-1]]
    brief = [(it["operation"].rpartition("/")[2], it["outcome"], it["detail"]["status"]) for it in lines]
    assert brief == [
        ("Register", "done", grpc.StatusCode.OK.name),
        ("Register", "denied", grpc.StatusCode.PERMISSION_DENIED.name),
        ("Register", "denied", grpc.StatusCode.PERMISSION_DENIED.name),
        ("Subscribe", "denied", grpc.StatusCode.UNAUTHENTICATED.name),
        ("SignCertificate", "denied", grpc.StatusCode.UNAUTHENTICATED.name),
    ]
    assert (lines[0]["command"], lines[0]["index"] > 0) == ("register", True)
    assert "service=web" in lines[0]["subjects"] or "name=web" in lines[0]["subjects"]
    assert lines[0]["accessor_id"] != lines[1]["accessor_id"] != ""
    assert "lacks permission 'service:write'" in lines[1]["reason"]
    assert lines[3]["resource"] == who.withdrawn.instance_key
    assert lines[4]["resource"] == ""  # it could be a secret
    assert all(it["source"].startswith("127.0.0.1:") for it in lines)
    for secret in (who.write, who.web.secret, who.withdrawn.secret):
        assert secret.encode() not in path.read_bytes()


async def test_a_certificate_is_told_of_with_its_instance(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    async with running_registry(audit=AuditSettings(path)) as client:
        credential = await client.credential({"Name": "web", "Connect": {"SidecarService": {}}})
        await call(client, SIGN, credential.metadata())
    (line,) = [it for it in map(json.loads, path.read_bytes().splitlines()) if "Sign" in it["operation"]]
    assert (line["outcome"], line["resource"]) == ("done", credential.instance_key)
    assert (line["command"], line["subjects"]) == ("record_leaf", [f"instance_key={credential.instance_key}"])

"""Join tokens and agents over HTTP: what is shown once, what is never shown, who may."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from registry.catalog.snapshot import encode
from registry.identity.join_text import JoinText, pins_of
from registry.identity.management import ManagementToken
from registry.process import AclSettings
from tests.support.enrolment import join_text, joined
from tests.support.registry import Client, running_registry

MANAGEMENT = "c5d8b7c0-5f0e-4a5c-9b8e-6f2a3d4e5f60"
HEADERS = {"X_Consul_Token": MANAGEMENT}


async def make(client: Client, body: object) -> tuple[int, bytes]:
    status, _, answer = await client.call("PUT", "/v1/join-token", body)
    return status, answer


async def test_a_token_is_shown_once_and_names_the_root_of_the_servers(client: Client) -> None:
    status, answer = await make(client, {"Node": "vm-1", "ExpirationTTL": "90s", "Description": "rack 7"})
    assert status == 200
    made = json.loads(answer)
    text = JoinText.parse(made.pop("Token"))
    assert text.pins == pins_of(client.registry.registry_ca_pem)
    assert (made["ID"], made["Node"], made["NodePrefix"]) == (text.id, "vm-1", "")
    assert await client.get("/v1/join-tokens") == [made]
    assert text.secret.encode() not in await _everything(client)


async def _everything(client: Client) -> bytes:
    return b"".join(encode(client.registry.log.view()))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, b"Give one of Node and NodePrefix"),
        ({"Node": "a", "NodePrefix": "b"}, b"Give one of Node and NodePrefix"),
        ({"Node": "a/b"}, b"Node 'a/b'"),
        ({"Node": "a", "ExpirationTTL": "31h99"}, b"ExpirationTTL"),
        ({"Node": "a", "ExpirationTTL": "800h"}, b"ExpirationTTL"),
        ({"Node": "a", "TTL": "1h"}, b"TTL"),
    ],
)
async def test_a_bad_wish_is_told_its_field(client: Client, body: object, said: bytes) -> None:
    status, answer = await make(client, body)
    assert status == 400
    assert said in answer


async def test_a_token_that_was_revoked_or_used_lets_nobody_in(client: Client, tmp_path: Path) -> None:
    used, revoked = await join_text(client), await join_text(client)
    await joined(client, tmp_path, text=used)
    assert (await client.call("DELETE", f"/v1/join-token/{revoked.id}"))[2] == b"true"
    for text in (used, revoked):
        status, answer = await ask(client, text, csr())
        assert status == 403
        assert text.secret.encode() not in answer
    (row,) = await client.get("/v1/join-tokens")
    assert row["RedeemedBy"] == "vm-1"


def csr() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


async def ask(client: Client, text: JoinText, csr_der: bytes) -> tuple[int, bytes]:
    body = {
        "tokenId": text.id,
        "secret": text.secret,
        "node": "vm-1",
        "csrDer": base64.b64encode(csr_der).decode(),
    }
    status, _, answer = await client.call("PUT", "/v1/join", body)
    return status, answer


async def test_a_bad_request_to_join_uses_no_token_up(client: Client, tmp_path: Path) -> None:
    text = await join_text(client)
    assert await ask(client, text, b"no csr") == (
        400,
        b"certificate request cannot be read; send PKCS#10 as DER",
    )
    for body in (b"", b"{", b"\xff", b'{"node": 7}', b'{"unknown": "x"}', b'{"csrDer": "%"}'):
        status, _, answer = await client.call("PUT", "/v1/join", body)
        assert status in (400, 403), answer
    assert (await joined(client, tmp_path, text=text)).node == "vm-1"


async def test_members_are_listed_and_removed(client: Client, tmp_path: Path) -> None:
    text = await join_text(client)
    await joined(client, tmp_path, text=text)
    (row,) = await client.get("/v1/operator/agents")
    assert (row["Node"], row["JoinToken"], row["AccessorID"]) == ("vm-1", text.id, "")
    assert len(row["CertificateSerials"]) == 1
    listed = {row["Name"]: row for row in await client.get("/v1/agent/members")}
    assert (listed["vm-1"]["Tags"]["role"], listed["vm-1"]["Status"]) == ("node", 4)  # never heard yet
    assert [row["Name"] for row in await client.get("/v1/agent/members?wan")] == ["n1"]
    assert (await client.call("DELETE", "/v1/operator/agent/vm-1"))[2] == b"true"
    assert await client.get("/v1/operator/agents") == []
    assert (await client.call("DELETE", "/v1/operator/agent/vm-1"))[2] == b"true"


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    acl = AclSettings(management=ManagementToken(MANAGEMENT))
    async with running_registry(acl=acl) as found:
        yield found


async def test_trap_1_making_a_token_needs_acl_write(guarded: Client) -> None:
    for method, path in (
        ("PUT", "/v1/join-token"),
        ("DELETE", "/v1/join-token/0123456789abcdef"),
        ("GET", "/v1/join-tokens"),
        ("GET", "/v1/operator/agents"),
        ("DELETE", "/v1/operator/agent/vm-1"),
    ):
        status, _, answer = await guarded.call(method, path, {"Node": "vm-1"} if method == "PUT" else None)
        assert (status, answer[:17]) == (403, b"Permission denied"), path


async def test_an_agent_gets_the_rights_of_its_node_and_no_others(guarded: Client, tmp_path: Path) -> None:
    text = await join_text(guarded, {"Node": "vm-1"}, **HEADERS)
    member = await joined(guarded, tmp_path, text=text)
    mine = {"X_Consul_Token": member.acl_secret}
    status, _, answer = await guarded.call("GET", "/v1/acl/token/self", **mine)
    assert status == 200
    token = json.loads(answer)
    assert token["AccessorID"] == member.acl_accessor_id
    assert token["NodeIdentities"] == [{"NodeName": "vm-1", "Datacenter": "dc1"}]
    assert token["Policies"] is None or not token["Policies"]
    for node, wanted in (("vm-1", 200), ("vm-2", 403)):
        body = {"Node": node, "Address": "10.0.0.9"}
        assert (await guarded.call("PUT", "/v1/catalog/register", body, **mine))[0] == wanted
    await guarded.call("DELETE", "/v1/operator/agent/vm-1", **HEADERS)
    assert (await guarded.call("GET", "/v1/acl/token/self", **mine))[0] == 403

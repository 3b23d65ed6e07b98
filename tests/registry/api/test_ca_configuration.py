"""`connect/ca/configuration` as Consul clients read and write it."""

from typing import Any

import pytest

from ca.rotation import Phase
from tests.support.registry import Client, until

PATH = "/v1/connect/ca/configuration"


async def refused(client: Client, body: object, said: str, path: str = PATH, code: int = 400) -> None:
    before = await client.get(PATH)
    status, _, answer = await client.call("PUT", path, body)
    assert (status, said in answer.decode()) == (code, True), answer.decode()
    assert await client.get(PATH) == before


async def test_it_says_what_the_ca_goes_by(client: Client) -> None:
    found: dict[str, Any] = await client.get(PATH)
    assert found["Provider"] == "consul"
    assert found["Config"] == {
        "LeafCertTTL": "72h0m0s",
        "RootCertTTL": "87600h0m0s",
        "CSRMaxPerSecond": 200,
        "PrivateKeyType": "ec",
        "PrivateKeyBits": 256,
    }
    assert found["State"] == {"Rotation": "steady"}
    assert found["ForceWithoutCrossSigning"] is False
    assert found["ModifyIndex"] >= found["CreateIndex"] > 0


async def test_what_was_read_may_be_sent_back(client: Client) -> None:
    found = await client.get(PATH)
    assert await client.put(PATH, found) == b""
    assert await client.get(PATH) == found


async def test_a_field_that_is_left_out_keeps_its_value(client: Client) -> None:
    await client.put(PATH, {"Provider": "consul", "Config": {"LeafCertTTL": "1h", "CSRMaxPerSecond": 50.0}})
    await client.put(PATH, {"Config": {"RootCertTTL": "100h"}})
    config = (await client.get(PATH))["Config"]
    assert (config["LeafCertTTL"], config["RootCertTTL"]) == ("1h0m0s", "100h0m0s")
    assert config["CSRMaxPerSecond"] == 50
    leaf = await client.get("/v1/agent/connect/ca/leaf/web")
    assert leaf["ValidBefore"] > leaf["ValidAfter"]


async def test_cas_compares(client: Client) -> None:
    index = (await client.get(PATH))["ModifyIndex"]
    body = {"Config": {"LeafCertTTL": "1h"}}
    await refused(client, body, "read it again", f"{PATH}?cas={index + 1}", 409)
    await refused(client, body, "Invalid cas", f"{PATH}?cas=x")
    await client.put(f"{PATH}?cas={index}", body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"Provider": "vault"}, "Provider 'vault' is not supported"),
        ({"ForceWithoutCrossSigning": True}, "always cross-signs"),
        ({"State": {"Rotation": "done"}}, "Provider State is read-only"),
        ({"Config": {"PrivateKey": "---"}}, "Config.PrivateKey: a key of your own is not taken"),
        ({"Config": {"RootCert": "---"}}, "Config.RootCert"),
        ({"Config": {"IntermediateCertTTL": "1h"}}, "Config.IntermediateCertTTL"),
        ({"Config": {"CSRMaxConcurrent": 2}}, "Config.CSRMaxConcurrent"),
        ({"Config": {"PrivateKeyType": "rsa"}}, "Config.PrivateKeyType"),
        ({"Config": {"CSRMaxPerSecond": 0.5}}, "whole number"),
        ({"Config": {"CSRMaxPerSecond": 10**9}}, "CSRMaxPerSecond"),
        ({"Config": {"LeafCertTTL": "1s"}}, "LeafCertTTL 1s: use 10s to"),
        ({"Config": {"LeafCertTTL": "soon"}}, "Request decode failed"),
        ({"Config": {"LeafTTL": "1h"}}, "unknown field"),
        ({"Config": {"RootCertTTL": "2h"}}, "RootCertTTL"),
        (b"nonsense", "Request decode failed"),
    ],
)
async def test_what_cannot_be_obeyed_is_refused_by_name(client: Client, body: object, said: str) -> None:
    await refused(client, body, said)


async def test_trap_25_rotate_asks_for_a_new_root_once_at_a_time(client: Client) -> None:
    before = (await client.get("/v1/connect/ca/roots"))["ActiveRootID"]
    await client.put(f"{PATH}?rotate", {})
    log = client.registry.log
    await until(lambda: log.view().ca().rows.phase is Phase.SWITCHED)
    state = (await client.get(PATH))["State"]
    assert (state["Rotation"], "OldRootRetiresAt" in state) == ("switched", True)
    await refused(client, {}, "a rotation is under way", f"{PATH}?rotate", 409)
    roots = await client.get("/v1/connect/ca/roots")
    assert {row["ID"]: row["Active"] for row in roots["Roots"]} == {
        before: False,
        roots["ActiveRootID"]: True,
    }

"""Keys of auth methods from a real HTTPS server: what is believed, for how long, and what is refused."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from structlog.testing import capture_logs

from registry.acl.key_set import RemoteKeys, UnusableAnswer, discovered_url, read_key_set
from registry.identity.errors import KeysUnreachable
from registry.identity.key_sets import AGAIN_S, BODY_BYTES_MAX, FRESH_S, STALE_S, KeySets
from registry.process import AclSettings
from tests.registry.api.test_acl import bootstrap, make
from tests.support.key_server import KeyServer, answer, chunked
from tests.support.registry import Client, running_registry
from tests.support.tokens import jwk, jwks, key


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KeyServer]:
    found = await KeyServer(tmp_path).start()
    found.says = answer(jwks("p256").encode())
    yield found
    await found.stop()


def pem_of(server: KeyServer) -> str:
    """The server's certificate, without its key."""
    return Path(server.trust).read_text().partition("-----BEGIN PRIVATE KEY-----")[0]


def source(server: KeyServer, **changes: Any) -> RemoteKeys:
    given: dict[str, Any] = {"url": server.uri, "ca_pem": pem_of(server), "discovered": False}
    return RemoteKeys(**given | changes)


class Times:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_set_is_fetched_once_while_it_is_fresh(server: KeyServer) -> None:
    times = Times()
    sets = KeySets(times)
    found = await asyncio.gather(*(sets.keys(source(server)) for _ in range(5)))
    assert [len(it) for it in found] == [1] * 5
    assert len(server.asked) == 1
    times.now += FRESH_S
    await sets.keys(source(server))
    assert len(server.asked) == 2


async def test_an_unknown_key_has_the_set_fetched_again_at_its_rate(server: KeyServer) -> None:
    times = Times()
    sets = KeySets(times)
    first = await sets.keys(source(server))
    server.says = answer(jwks("p256", "rsa").encode())
    assert await sets.newer(source(server), first) == first, "too soon"
    times.now += AGAIN_S
    assert len(await sets.newer(source(server), first)) == 2
    assert len(server.asked) == 2
    assert len(await sets.newer(source(server), first)) == 2, "somebody has fetched it meanwhile"
    assert len(server.asked) == 2


async def test_a_set_outlives_its_provider_for_an_hour(server: KeyServer) -> None:
    times = Times()
    sets = KeySets(times)
    first = await sets.keys(source(server))
    server.says = answer(b"", "500 Internal Server Error")
    times.now += STALE_S - 1
    assert await sets.keys(source(server)) == first
    times.now += AGAIN_S
    with pytest.raises(KeysUnreachable):
        await sets.keys(source(server))
    with pytest.raises(KeysUnreachable):  # not asked again at once
        await sets.keys(source(server))
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "says",
    [
        answer(b"no json"),
        answer(b"[]"),
        answer(b'{"keys": []}'),
        answer(json.dumps({"keys": [jwk("p256", use="enc")]}).encode()),
        answer(json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).encode()),
        answer(json.dumps({"keys": [jwk("p256")] * 100}).encode()),
        answer(jwks("p256").encode(), "404 Not Found"),
        answer(b"", "302 Found", "Location: https://localhost/"),
        answer(b" " * (BODY_BYTES_MAX + 1)),
        chunked(b" " * (BODY_BYTES_MAX + 1)),
        b"nonsense\r\n\r\n",
    ],
)
async def test_trap_28_what_is_no_bounded_key_set_is_not_believed(server: KeyServer, says: bytes) -> None:
    server.says = says
    with pytest.raises(KeysUnreachable):
        await KeySets(Times()).keys(source(server))


async def test_trap_28_a_set_is_not_fetched_from_a_metadata_service(server: KeyServer) -> None:
    with capture_logs() as logs, pytest.raises(KeysUnreachable):
        await KeySets(Times()).keys(source(server, url="https://169.254.169.254/keys"))
    assert "metadata address" in logs[0]["reason"], "it was not even tried"


async def test_a_set_is_not_fetched_from_an_impostor(server: KeyServer) -> None:
    for wrong in (
        source(server, ca_pem=""),  # not among the roots of the machine
        source(server, url=server.uri.replace("localhost", "127.0.0.1")),  # another name than it proves
    ):
        with pytest.raises(KeysUnreachable):
            await KeySets(Times()).keys(wrong)
    assert server.asked == []


async def test_trap_28_a_silent_provider_is_not_waited_for(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.identity.key_sets.TIMEOUT_S", 0.2)
    server.says = None
    with pytest.raises(KeysUnreachable):
        await KeySets(Times()).keys(source(server))


def test_weak_keys_and_those_of_no_signature_are_left_out() -> None:
    rows = [jwk("rsa"), jwk("ed25519"), jwk("p256", use="enc"), {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, 5]
    assert len(read_key_set(json.dumps({"keys": rows}).encode())) == 2


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other", "jwks_uri": "https://idp/keys"},
        {"issuer": "https://idp", "jwks_uri": "http://idp/keys"},
        {"issuer": "https://idp", "jwks_uri": 5},
        {"issuer": "https://idp"},
    ],
)
def test_a_provider_that_says_something_else_is_not_followed(document: dict[str, Any]) -> None:
    with pytest.raises(UnusableAnswer):
        discovered_url(json.dumps(document).encode(), "https://idp")
    good = json.dumps({"issuer": "https://idp", "jwks_uri": "https://idp/keys"}).encode()
    assert discovered_url(good, "https://idp") == "https://idp/keys"


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    async with running_registry(acl=AclSettings()) as found:
        yield found


def signed(by: str = "p256", **claims: Any) -> str:
    content = {"sub": "web", "exp": time.time() + 600, **claims}
    return jwt.encode(content, key(by), algorithm="ES256", headers={"kid": by})


async def log_in(client: Client, bearer: str) -> tuple[int, bytes]:
    body = {"AuthMethod": "idp", "BearerToken": bearer}
    status, _, text = await client.call("POST", "/v1/acl/login", body)
    return status, text


async def with_method(client: Client, config: dict[str, Any]) -> None:
    management = await bootstrap(client)
    config = {"JWTSupportedAlgs": ["ES256"], "ClaimMappings": {"sub": "name"}} | config
    await make(client, management, "/v1/acl/auth-method", {"Name": "idp", "Type": "jwt", "Config": config})
    rule = {"AuthMethod": "idp", "BindType": "service", "BindName": "${value.name}"}
    await make(client, management, "/v1/acl/binding-rule", rule)


async def test_a_login_by_the_keys_that_a_url_tells(server: KeyServer, guarded: Client) -> None:
    await with_method(guarded, {"JWKSURL": server.uri, "JWKSCACert": pem_of(server)})
    status, text = await log_in(guarded, signed())
    assert (status, json.loads(text)["ServiceIdentities"]) == (200, [{"ServiceName": "web"}])
    assert (await log_in(guarded, signed("other")))[0] == 403
    assert (await log_in(guarded, signed(exp=1)))[0] == 403
    assert len(server.asked) == 1


async def test_a_login_by_a_provider_that_is_discovered(server: KeyServer, guarded: Client) -> None:
    """The description and the keys come from one server here, which says both in one answer."""
    url = f"https://localhost:{server.port}"
    document = json.loads(jwks("p256")) | {"issuer": url, "jwks_uri": f"{url}/keys"}
    server.says = answer(json.dumps(document).encode())
    await with_method(guarded, {"OIDCDiscoveryURL": url, "OIDCDiscoveryCACert": pem_of(server)})
    assert (await log_in(guarded, signed(iss=url)))[0] == 200
    paths = [head.split()[1] for head in server.asked]
    assert paths == [b"/.well-known/openid-configuration", b"/keys"]
    status, text = await log_in(guarded, signed(iss="https://other"))
    assert (status, b"another issuer" in text) == (403, True)


async def test_a_login_while_the_provider_is_down_says_what_to_do(server: KeyServer, guarded: Client) -> None:
    await with_method(guarded, {"JWKSURL": server.uri, "JWKSCACert": pem_of(server)})
    await server.stop()
    status, text = await log_in(guarded, signed())
    assert (status, b"cannot be fetched now" in text) == (500, True)
    assert b"localhost" not in text, "who logs in need not know where the keys are"

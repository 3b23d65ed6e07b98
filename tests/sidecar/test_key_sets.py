"""Keys that a sidecar fetches: what requests see of it, with a real HTTPS server and the real listener."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.admission import JwtProvider, RemoteKeys
from sidecar.events import KEY_FETCHES
from sidecar.policy import freshness
from tests.support.key_server import KeyServer, answer
from tests.support.scripted import Calls, Peer, get, serves
from tests.support.service import Service, rule
from tests.support.switch import Mesh
from tests.support.tokens import asks, jwk, jwks, token
from tests.support.waiting import until

UNAUTHENTICATED = "401"


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeyServer]:
    running = await KeyServer(tmp_path).start()
    monkeypatch.setenv("SSL_CERT_FILE", running.trust)
    yield running
    await running.stop()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    mesh = Mesh()
    running = await Service(mesh, Peer(mesh, serves(), plain=True)).start()
    yield running
    running.close()
    await mesh.close()


def asked_for(service: Service, server: KeyServer, **settings: float) -> None:
    remote = RemoteKeys(server.uri, **{"timeout_s": 5.0, "cache_s": 300.0, **settings})  # type: ignore[arg-type]
    provider = JwtProvider("okta", issuer="idp", remote=remote)
    service.configure(rule(jwt=asks("okta")), providers={"okta": provider})


def counted(service: Service, result: str) -> int:
    return service.engine.telemetry.count(KEY_FETCHES, "okta", result).value


def keys(service: Service) -> list[str]:
    (status,) = service.engine.status()["key_sets"].values()  # type: ignore[attr-defined]
    return list(status["keys"])


async def status(calls: Calls, by: str = "p256") -> str:
    return await calls.status(get(authorization=f"Bearer {token(by=by)}"))


async def test_requests_are_refused_until_there_are_keys_and_pass_then(
    service: Service, server: KeyServer
) -> None:
    asked_for(service, server, timeout_s=0.2)
    calls = await service.caller()
    assert await status(calls) == UNAUTHENTICATED
    head = (await calls.make(get(authorization=f"Bearer {token()}"))).blocks[0]
    assert head["x-weft-reason"] == "unauthenticated"
    await until(lambda: counted(service, "failed"), "the provider does not answer")
    assert await status(calls) == UNAUTHENTICATED
    server.says = answer(jwks("p256").encode())
    await until(lambda: keys(service), "it answers")
    assert await status(calls) == "0"
    assert await status(calls, "other") == UNAUTHENTICATED
    assert await calls.status(get()) == UNAUTHENTICATED


async def test_keys_stay_while_the_provider_is_down_up_to_a_bound(
    service: Service, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.says = answer(jwks("p256").encode())
    monkeypatch.setattr(freshness, "PAUSE_S_MIN", 0.05)
    asked_for(service, server, cache_s=0.05)
    calls = await service.caller()
    await until(lambda: keys(service), "the keys")
    for said in (None, answer(b"oops"), answer(b'{"keys": []}'), answer(b"", "500 Oops")):
        server.says, before = said, counted(service, "failed")
        if said is None:
            await server.stop()
        elif before == 0 or not server._server.is_serving():
            await server.start(server.port)
        await until(lambda: counted(service, "failed") > before, "a fetch fails")  # noqa: B023
        assert await status(calls) == "0"
    monkeypatch.setattr(freshness, "STALE_S_MAX", 0.0)
    await until(lambda: not keys(service), "the bound")
    assert await status(calls) == UNAUTHENTICATED


async def test_an_unknown_key_has_the_set_fetched(
    service: Service, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a provider rotates."""
    monkeypatch.setattr(freshness, "MISSED_PAUSE_S", 0.05)
    server.says = answer(jwks("p256").encode())
    asked_for(service, server)
    calls = await service.caller()
    await until(lambda: keys(service), "the keys")
    server.says = answer(json.dumps({"keys": [jwk("p256"), jwk("other", kid="new")]}).encode())
    new = get(authorization=f"Bearer {token(by='other', headers={'kid': 'new'})}")
    assert await calls.status(new) == UNAUTHENTICATED
    await until(lambda: keys(service) == ["p256", "new"], "the new key")
    assert await calls.status(new) == "0"
    assert await status(calls) == "0"


async def test_a_provider_that_lags_is_asked_again(
    service: Service, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal of a token is remembered with its request, and must not outlive its fetch."""
    monkeypatch.setattr(freshness, "MISSED_PAUSE_S", 0.05)
    server.says = answer(jwks("p256").encode())
    asked_for(service, server)
    calls = await service.caller()
    await until(lambda: keys(service), "the keys")
    new = get(authorization=f"Bearer {token(by='other', headers={'kid': 'new'})}")
    for fetches in (2, 3):
        assert await calls.status(new) == UNAUTHENTICATED
        await until(lambda: counted(service, "fetched") >= fetches, "it is asked")  # noqa: B023


async def test_a_flood_of_unknown_keys_costs_the_provider_nothing(
    service: Service, server: KeyServer
) -> None:
    server.says = answer(jwks("p256").encode())
    asked_for(service, server)
    calls = await service.caller()
    await until(lambda: keys(service), "the keys")
    floods = [get(authorization=f"Bearer {token(by='other', headers={'kid': f'x{n}'})}") for n in range(50)]
    assert {await calls.status(fields) for fields in floods} == {UNAUTHENTICATED}
    (one,) = service.engine._key_sets._fetched.values()
    begun = one.freshness.due - freshness.MISSED_PAUSE_S
    assert begun <= service.mesh.clock.monotonic()  # as after one: so long after the last fetch
    assert len(server.asked) <= 1 + (service.mesh.clock.monotonic() - begun) / freshness.MISSED_PAUSE_S + 1


async def test_a_forged_token_of_a_known_key_does_not(
    service: Service, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "MISSED_PAUSE_S", 0.0)
    server.says = answer(jwks("p256").encode())
    asked_for(service, server)
    calls = await service.caller()
    await until(lambda: keys(service), "the keys")
    forged = get(authorization=f"Bearer {token(by='other', headers={'kid': 'p256'})}")
    assert {await calls.status(forged) for _ in range(3)} == {UNAUTHENTICATED}
    await asyncio.sleep(0.2)
    assert len(server.asked) == 1


async def test_a_key_that_is_withdrawn_is_believed_no_longer(
    service: Service, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "PAUSE_S_MIN", 0.05)
    server.says = answer(jwks("p256", "rsa").encode())
    asked_for(service, server, cache_s=0.05)
    calls = await service.caller()
    await until(lambda: keys(service), "the keys")
    assert await status(calls, "rsa") == "0"
    server.says = answer(jwks("p256").encode())
    await until(lambda: keys(service) == ["p256"], "one is withdrawn")
    assert await status(calls, "rsa") == UNAUTHENTICATED
    assert await status(calls) == "0"


async def test_other_rules_keep_the_keys_and_without_rules_nothing_is_fetched(
    service: Service, server: KeyServer
) -> None:
    server.says = answer(jwks("p256").encode())
    asked_for(service, server)
    calls = await service.caller()
    await until(lambda: keys(service), "the keys")
    asked_for(service, server, cache_s=600.0)
    assert await status(calls) == "0"
    assert len(server.asked) == 1
    service.configure(rule(source="*"))
    assert service.engine.status()["key_sets"] == {}


def test_a_sidecar_without_providers_does_not_load_pyjwt() -> None:
    code = "import sys, sidecar.proxy.engine, sidecar.app; sys.exit('jwt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

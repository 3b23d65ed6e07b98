"""The rows of "Who may ask for what" in docs/features.md, through processes, by `weft config write`."""

import asyncio
import base64
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.rows.conftest import BUYER, NEVER_OUT, STORE, Answer, Entry, Shop
from tests.support.mesh import in_thread
from tests.support.raw_h2 import Refused, client_context, raw_connection
from tests.support.tokens import jwks, token
from tests.support.waiting import until
from weft.aio import Tasks

pytestmark = pytest.mark.long

FOREVER = "2999-01-01T00:00:00Z"
OPEN: Entry = {"Kind": "service-intentions", "Name": STORE, "Sources": [{"Name": BUYER, "Action": "allow"}]}


class Rules:
    """Permissions for the buyer in place of the plain intention; that comes back at the end."""

    def __init__(self, shop: Shop, *permissions: Entry, **more: Any) -> None:
        self._shop = shop
        self._entry: Entry = {
            "Kind": "service-intentions",
            "Name": STORE,
            "Sources": [{"Name": BUYER, "Permissions": list(permissions)}],
            **more,
        }

    async def __aenter__(self) -> None:
        await in_thread(self._shop.write, self._entry)

    async def __aexit__(self, *_: object) -> None:
        await in_thread(self._shop.write, OPEN)
        await self._shop.until(lambda it: it.status == 200, "the plain intention is back")


def allow(**http: Any) -> Entry:
    return {"Action": "allow", "HTTP": http}


def deny(**http: Any) -> Entry:
    return {"Action": "deny", "HTTP": http}


def denied(answer: Answer) -> bool:
    return answer.status == 403 and answer.headers["x-weft-reason"] == "denied"


async def raw(shop: Shop, head: bytes) -> bytes:
    """What comes back for these octets, to the end of the connection."""
    host, port = shop.buyer.to(STORE).split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head)
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


async def test_permissions_by_path_header_and_method(shop: Shop) -> None:
    rules = (
        deny(PathPrefix="/admin"),
        allow(Methods=["GET"], PathPrefix="/items"),
        allow(Header=[{"Name": "x-key", "Exact": "1"}]),
    )
    async with Rules(shop, *rules):
        await shop.until(denied, "the rules are in force", "/other")
        assert (await shop.ask("/items/7")).status == 200
        assert denied(await shop.ask("/items/7", method="PUT"))
        assert (await shop.ask("/other", x_key="1")).status == 200
        assert denied(await shop.ask("/admin/x", x_key="1")), "the first that matches decides"
        seen = {path for app in shop.apps.values() for path in (it["path"] for it in app.seen)}
        assert "/admin/x" not in seen, "what is denied never arrives"


async def test_no_spelling_of_a_path_leads_around_a_rule(shop: Shop) -> None:
    async with Rules(shop, deny(PathPrefix="/admin"), allow(PathPrefix="/")):
        await shop.until(denied, "the rules are in force", "/admin")
        host = f"Host: {STORE}\r\nConnection: close\r\n\r\n".encode()

        async def get(path: bytes) -> bytes:
            return await raw(shop, b"GET " + path + b" HTTP/1.1\r\n" + host)

        for path in (b"/%61dmin", b"/x/../admin", b"/./admin"):
            assert (await get(path)).startswith(b"HTTP/1.1 403"), path
        for path in (b"//admin", b"/x/%2e%2e/admin", b"/%2fadmin", b"/\\admin"):
            assert (await get(path)).startswith(b"HTTP/1.1 400"), path
        found = await get(b"/x/../%69tems")
        assert b'"target": "/items"' in found, "the path that was judged goes on"


async def test_where_rules_read_requests_what_does_not_parse_is_refused(shop: Shop) -> None:
    """Without rules it is a stream of bytes, and the application says what it thinks of it."""
    garbage = b"\x00\x01\x02 not HTTP\r\n\r\n"
    assert b"400 Bad Request" in await raw(shop, garbage)
    async with Rules(shop, allow(PathPrefix="/")):

        async def refused() -> bool:
            return await raw(shop, garbage) == b""

        await until(refused, "nothing of it arrives", 60)
        assert (await shop.ask()).status == 200


async def test_new_rules_end_the_open_requests_that_they_refuse_and_no_others(shop: Shop) -> None:
    tasks, ended = Tasks(), {}

    async def ask(path: str) -> None:
        ended[path] = await shop.ask(path, x_do="sleep=8")

    asking = [tasks.spawn(ask(path), path) for path in ("/kept", "/cut")]
    await until(lambda: sum(app.count("/") for app in shop.apps.values()) >= 2, "both are under way", 60)
    begun = time.monotonic()
    async with Rules(shop, deny(PathPrefix="/cut"), allow(PathPrefix="/")):
        await asyncio.gather(*asking)
    assert denied(ended["/cut"])
    assert (ended["/kept"].status, time.monotonic() - begun > 4) == (200, True)


async def test_names_with_underscores_are_dropped_or_refused(shop: Shop) -> None:
    def mesh(action: str) -> Entry:
        how = {"HeadersWithUnderscoresAction": action}
        return {"Kind": "mesh", "Name": "mesh", "HTTP": {"Incoming": {"RequestNormalization": how}}}

    async def sent() -> Answer:
        async with aiohttp.ClientSession() as session:
            return await shop.on(session, "/", fields={"x_under": "1"})

    assert (await sent()).told["headers"].get("x_under") == "1"
    async with shop.entries(mesh("DROP_HEADER")):

        async def dropped() -> bool:
            return "x_under" not in (await sent()).told["headers"]

        await until(dropped, "it is dropped", 60)
    async with shop.entries(mesh("REJECT_REQUEST")):

        async def refused() -> bool:
            return (await sent()).status == 400

        await until(refused, "it is refused", 60)


async def test_a_request_without_the_token_is_refused_and_tokens_do_not_go_on(shop: Shop) -> None:
    keys = base64.b64encode(jwks("p256", "ed25519").encode()).decode()
    provider: Entry = {
        "Kind": "jwt-provider",
        "Name": "idp",
        "Issuer": "idp",
        "JSONWebKeySet": {"Local": {"JWKS": keys}},
        "Forwarding": {"HeaderName": "x-claims"},
    }
    admins = {"Name": "idp", "VerifyClaims": [{"Path": ["role"], "Value": "admin"}]}
    only = {**allow(PathPrefix="/admin"), "JWT": {"Providers": [admins]}}
    every = Rules(shop, only, allow(PathPrefix="/"), JWT={"Providers": [{"Name": "idp"}]})
    async with shop.entries(provider), every:
        await shop.until(lambda it: it.status == 401, "a token is asked for")
        ends = int(time.time()) + 3600

        async def with_token(path: str, **claims: Any) -> Answer:
            return await shop.ask(path, authorization=f"Bearer {token({'exp': ends, **claims})}")

        found = await with_token("/")
        assert found.status == 200
        assert "authorization" not in found.told["headers"]
        assert "x-claims" in found.told["headers"]
        assert (await with_token("/", iss="another")).status == 401
        assert (await with_token("/", exp=1)).status == 401
        forged = token({"exp": ends}, by="other", headers={"kid": "p256"})
        assert (await shop.ask(authorization=f"Bearer {forged}")).status == 401
        assert (await with_token("/admin", role="admin")).status == 200


async def test_rate_limits_by_route_and_by_caller(shop: Shop) -> None:
    limits: Entry = {
        "Kind": "service-rate-limits",
        "Name": STORE,
        "Limits": [
            {
                "Name": "slow",
                "Match": {"HTTP": {"PathPrefix": "/scarce"}},
                "RequestsPerSecond": 0.01,
                "Burst": 2,
                "PerCaller": True,
            }
        ],
    }
    async with shop.entries(limits):
        await shop.until(lambda it: it.status == 429, "the limit is in force", "/scarce")
        found = [await shop.ask("/scarce") for _ in range(12)]
        assert {it.status for it in found[-3:]} == {429}, "three instances, two each"
        assert int(found[-1].headers["retry-after"]) > 0
        assert found[-1].headers["x-weft-reason"] == "rate_limited"
        assert {(await shop.ask("/plenty")).status for _ in range(12)} == {200}


async def test_faults_of_an_entry_abort_delay_and_slow_down(shop: Shop) -> None:
    def fault(name: str, path: str, **what: Any) -> Entry:
        return {"Name": name, "Match": {"HTTP": {"PathPrefix": path}}, "EndsAt": FOREVER, **what}

    entry: Entry = {
        "Kind": "service-faults",
        "Name": STORE,
        "Faults": [
            fault("abort", "/abort", Abort={"HTTPStatus": 418}),
            fault("delay", "/delay", Delay={"Fixed": "700ms"}),
            fault("share", "/share", Abort={"HTTPStatus": 418}, Percent=50),
            fault("other", "/", Abort={"HTTPStatus": 418}) | {"Match": {"Sources": ["somebody-else"]}},
            fault("over", "/over", Abort={"HTTPStatus": 418}) | {"EndsAt": "2020-01-01T00:00:00Z"},
        ],
    }
    async with shop.entries(entry):
        await shop.until(lambda it: it.status == 418, "it is in force", "/abort")
        assert (await shop.ask("/abort")).headers["x-weft-reason"] == "fault"
        begun = time.monotonic()
        assert (await shop.ask("/delay")).status == 200
        assert time.monotonic() - begun >= 0.7
        shares = [(await shop.ask("/share")).status for _ in range(60)]
        assert 5 < shares.count(418) < 55
        assert {(await shop.ask(path)).status for path in ("/", "/over")} == {200}


async def test_delays_are_drawn_and_answers_come_slowly(shop: Shop) -> None:
    def fault(name: str, **what: Any) -> Entry:
        return {"Name": name, "Match": {"HTTP": {"PathExact": f"/{name}"}}, "EndsAt": FOREVER, **what}

    def delay(distribution: str, **more: str) -> Entry:
        return fault(distribution, Delay={"Distribution": distribution, **more})

    faults = [
        delay("uniform", Min="200ms", Max="250ms"),
        delay("normal", Mean="300ms", Deviation="1ms", Max="1s"),
        delay("exponential", Mean="200ms", Max="400ms"),
        fault("bandwidth", BytesPerSecond=8_000),
        fault("ready", Abort={"HTTPStatus": 418}),
    ]

    async def took(path: str, count: int = 1, **headers: str) -> float:
        begun = time.monotonic()
        for _ in range(count):
            assert (await shop.ask(path, **headers)).status == 200
        return time.monotonic() - begun

    async with shop.entries({"Kind": "service-faults", "Name": STORE, "Faults": faults}):
        await shop.until(lambda it: it.status == 418, "it is in force", "/ready")
        assert await took("/uniform") >= 0.2
        assert await took("/normal") >= 0.25, "fifty deviations off"
        assert await took("/exponential", count=10) >= 0.3, "1.7 s are expected"
        assert await took("/bandwidth", x_long="x" * 8_000) >= 0.5, "the answer has 8,000 octets and more"


async def test_peers_are_taken_up_to_a_number_of_connections(shop: Shop, tmp_path: Path) -> None:
    store = shop.members[f"{STORE}-1"]
    chain, key = await in_thread(shop.mesh.registry.leaf, BUYER)
    context = client_context(tmp_path, chain.encode(), key.encode())

    async def admitted() -> bool:
        try:
            async with raw_connection(store.public_port, context):
                return True
        except Refused:
            return False

    one: Entry = {"Kind": "service-defaults", "Name": STORE, "MaxInboundConnections": 1}
    await shop.until(lambda it: it.name == store.id, "the buyer holds a connection")
    async with shop.entries(one):

        async def refused() -> bool:
            return not await admitted()

        await until(refused, "another connection is refused", 60)
        await shop.until(lambda it: it.name == store.id, "the buyer's stays")
    await until(admitted, "without the limit it is taken", 60)


async def test_a_provider_s_keys_are_fetched(shop: Shop) -> None:
    """They are exchanged meanwhile: a token by the new one makes the sidecar look again."""
    names = ["p256"]

    async def keys(_request: web.Request) -> web.Response:
        return web.Response(text=jwks(*names), content_type="application/json")

    server = web.Application()
    server.add_routes([web.get("/keys", keys)])
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider: Entry = {
        "Kind": "jwt-provider",
        "Name": "idp",
        "Issuer": "idp",
        "JSONWebKeySet": {"Remote": {"URI": f"http://127.0.0.1:{runner.addresses[0][1]}/keys"}},
    }
    ends = {"exp": int(time.time()) + 3600}
    try:
        async with (
            shop.entries(provider),
            Rules(shop, allow(PathPrefix="/"), JWT={"Providers": [{"Name": "idp"}]}),
        ):
            await shop.until(lambda it: it.status == 401, "a token is asked for")
            first, second = (f"Bearer {token(ends, by=name)}" for name in ("p256", "ed25519"))
            await shop.until(lambda it: it.status == 200, "its keys are there", authorization=first)
            assert (await shop.ask(authorization=second)).status == 401
            names[:] = ["ed25519"]
            await shop.until(lambda it: it.status == 200, "the new key is there", authorization=second)
    finally:
        await runner.cleanup()


async def test_the_application_has_its_time_for_an_answer(shop: Shop) -> None:
    entry: Entry = {"Kind": "service-defaults", "Name": STORE, "LocalRequestTimeoutMs": 300}
    async with shop.entries(NEVER_OUT, entry):
        await shop.until(lambda it: it.status == 504, "the limit is in force", x_do="sleep=5")
        assert (await shop.ask()).status == 200


async def test_the_own_application_is_asked_and_peers_are_sent_elsewhere(shop: Shop) -> None:
    check = {"HTTP": {"Path": "/health"}, "Interval": "100ms", "UnhealthyThreshold": 2, "HealthyThreshold": 1}
    entry: Entry = {"Kind": "service-defaults", "Name": STORE, "HealthChecks": [check]}
    sick = shop.apps[f"{STORE}-2"]
    async with shop.entries(entry):
        sick.well = False

        async def spared() -> bool:
            before = sick.count("/asked")
            answers = [await shop.ask("/asked") for _ in range(20)]
            return {it.status for it in answers} == {200} and sick.count("/asked") == before

        await until(spared, "nobody is sent to it", 60)
        assert not await in_thread(shop.members[f"{STORE}-2"].is_ready)
        sick.well = True
        await until(lambda: shop.members[f"{STORE}-2"].is_ready(), "it is ready again", 60)

"""The rows of "Resilience" in docs/features.md, through processes, by `weft config write`."""

import asyncio
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest

from tests.e2e.rows.conftest import NEVER_OUT, STORE, Answer, Entry, Shop, resolver, route, router, upstream
from tests.support.mesh import in_thread
from tests.support.row_app import row_app
from tests.support.waiting import until
from weft.aio import Tasks

pytestmark = pytest.mark.long

ALL = {f"{STORE}-{number}" for number in (1, 2, 3)}
NAP_S = 0.05


async def names(shop: Shop, count: int, **headers: str) -> Counter[str]:
    return Counter([(await shop.ask(**headers)).name for _ in range(count)])


async def metric(shop: Shop, name: str) -> float:
    found = await in_thread(shop.buyer.metric, name)
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("policy", ["round_robin", "random", "least_request"])
async def test_balancing_uses_every_instance(shop: Shop, policy: str) -> None:
    async with shop.entries(resolver(DefaultSubset="", LoadBalancer={"Policy": policy})):

        async def even() -> bool:
            found = await names(shop, 30)
            return found.keys() == ALL and (policy != "round_robin" or set(found.values()) == {10})

        await until(even, f"{policy} is in force", 60)


@pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
async def test_a_hash_keeps_a_user_at_an_instance_by_header_and_cookie(shop: Shop, policy: str) -> None:
    hashed: list[Entry] = [
        {"Field": "header", "FieldValue": "x-user", "Terminal": True},
        {"Field": "cookie", "FieldValue": "where", "CookieConfig": {"TTL": "1h"}},
    ]
    balancer = {"Policy": policy, "HashPolicies": hashed}
    async with shop.entries(resolver(DefaultSubset="", LoadBalancer=balancer)):
        await shop.until(lambda it: "set-cookie" in it.headers, "a cookie is made")
        homes = {user: set(await names(shop, 4, x_user=user)) for user in map(str, range(12))}
        assert all(len(home) == 1 for home in homes.values())
        assert set().union(*homes.values()) == ALL, "users are spread"
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            assert len({(await shop.on(session, "/")).name for _ in range(10)}) == 1


async def test_the_nearest_first_and_others_when_it_is_sick(shop: Shop) -> None:
    entry = resolver(DefaultSubset="", PrioritizeByLocality={"Mode": "failover"})
    async with shop.entries(entry):
        near = {f"{STORE}-1"}

        async def only_near() -> bool:
            return set(await names(shop, 15)) == near

        await until(only_near, "only the instance of the buyer's zone answers", 60)
        await in_thread(shop.weft, "maint", "--enable", "--service", f"{STORE}-1")
        try:
            await shop.until(lambda it: it.name in ALL - near, "those of another zone take over")
        finally:
            await in_thread(shop.weft, "maint", "--disable", "--service", f"{STORE}-1")
        await until(only_near, "and it again", 60)


async def test_requests_under_way_are_bounded_and_the_others_told_at_once(shop: Shop) -> None:
    tasks = Tasks()
    async with shop.entries(upstream(Limits={"MaxConcurrentRequests": 1})):

        async def overflows() -> bool:
            slow = tasks.spawn(shop.ask("/held", x_do="sleep=1"), "a slow request")
            await asyncio.sleep(NAP_S)
            answer = await shop.ask()
            await slow
            return answer.status == 503 and answer.headers["x-weft-reason"] == "requests_full"

        await until(overflows, "the limit is in force", 60)
        assert (await shop.ask()).status == 200, "as soon as there is room"
        assert await metric(shop, "weft_overflows_total") > 0


async def test_named_answers_are_tried_again_and_the_caller_sees_nothing(shop: Shop) -> None:
    again = route(NumRetries=2, RetryOnStatusCodes=[503], RetryBackoff={"Base": "1ms", "Max": "2ms"})
    async with shop.entries(resolver(), router(again)):
        keys = iter(range(10_000))

        async def hidden() -> bool:
            answer = await shop.ask(x_do=f"once=503 key=k{next(keys)}")
            return answer.status == 200

        await until(hidden, "the retry is in force", 60)
        assert (await shop.ask(x_do="once=503 key=last")).status == 200
        assert shop.apps[f"{STORE}-1"].tries("last") == 2
        assert (await shop.ask(x_do="once=500 key=other")).status == 500, "of this nothing was said"


async def test_the_budget_holds_under_a_total_outage(shop: Shop) -> None:
    budget = {"Percent": 20, "Min": 0}
    backoff = {"Base": "1ms", "Max": "2ms"}
    again = route(
        {"PathPrefix": "/outage"}, NumRetries=5, RetryOn=["5xx"], RetryBudget=budget, RetryBackoff=backoff
    )
    app, requests, at_once = shop.apps[f"{STORE}-1"], 300, 20
    async with shop.entries(resolver(), router(again), NEVER_OUT):
        app.status = 503
        await shop.until(lambda it: it.status == 503, "the outage", "/outage/first")

        async def tried() -> bool:
            before = await metric(shop, "weft_retries_total")
            await asyncio.gather(*(shop.ask("/outage/warm") for _ in range(at_once)))
            return await metric(shop, "weft_retries_total") > before

        await until(tried, "the route is in force", 60)
        connector = aiohttp.TCPConnector(limit=at_once)
        async with aiohttp.ClientSession(connector=connector) as session:
            answers = await asyncio.gather(*(shop.on(session, "/outage/counted") for _ in range(requests)))
        assert {it.status for it in answers} == {503}
        assert requests <= app.count("/outage/counted") <= 1.2 * requests


async def test_time_limits_of_the_route_and_of_an_attempt(shop: Shop) -> None:
    whole = route({"PathPrefix": "/whole"}, RequestTimeout="300ms")
    attempt = route({"PathPrefix": "/attempt"}, PerTryTimeout="300ms", NumRetries=1, RetryOn=["reset"])
    quiet = route({"PathPrefix": "/quiet"}, IdleTimeout="300ms")
    async with shop.entries(NEVER_OUT, router(whole, attempt, quiet)):
        for path in ("/whole", "/attempt", "/quiet"):
            begun = time.monotonic()
            await shop.until(lambda it: it.status == 504, "the limit is in force", path, x_do="sleep=5")
            assert (await shop.ask(path)).status == 200, f"{path} {time.monotonic() - begun}"


async def test_a_failing_instance_leaves_and_no_caller_sees_it(shop: Shop) -> None:
    """One of three fails everything: by retries nobody notices, and by ejection it is asked no more."""
    again = route(NumRetries=2, RetryOn=["5xx"], RetryBackoff={"Base": "1ms", "Max": "2ms"})
    out = upstream(PassiveHealthCheck={"MaxFailures": 3, "BaseEjectionTime": "8s"})
    sick = shop.apps[f"{STORE}-2"]
    async with shop.entries(resolver(DefaultSubset=""), router(again), out):

        async def everybody() -> bool:
            return set(await names(shop, 15)) == ALL

        await until(everybody, "all of them are used", 60)
        sick.status = 500

        async def ejected() -> bool:
            return await metric(shop, "weft_ejected_instances") > 0

        answers: list[Answer] = []

        async def gone() -> bool:
            answers.extend([await shop.ask("/noticed") for _ in range(10)])
            return await ejected()

        await until(gone, "it is ejected", 60)
        assert {it.status for it in answers[-10:]} == {200}
        before = sick.count("/after")
        assert {(await shop.ask("/after")).status for _ in range(30)} == {200}
        assert sick.count("/after") == before, "nobody asks it any more"


async def test_an_instance_that_says_it_is_sick_is_left_out(shop: Shop) -> None:
    """The buyer's sidecar asks by itself; the registry knows nothing of it."""
    check: dict[str, Any] = {"Interval": "100ms", "UnhealthyThreshold": 2, "HealthyThreshold": 1}
    async with shop.entries(
        resolver(DefaultSubset=""), upstream(HealthCheck=check | {"HTTP": {"Path": "/health"}})
    ):
        sick = shop.apps[f"{STORE}-3"]
        sick.well = False

        async def left_out() -> bool:
            return set(await names(shop, 20)) == ALL - {sick.name}

        await until(left_out, "it is left out", 60)
        sick.well = True

        async def back() -> bool:
            return sick.name in await names(shop, 10)

        await until(back, "it is back", 60)


async def test_with_too_few_well_instances_all_are_used(shop: Shop) -> None:
    """The panic threshold: two of three are out, and get requests still."""
    sick = [shop.apps[f"{STORE}-{number}"] for number in (1, 2)]
    out = {"MaxFailures": 1, "EnforcingConsecutive5xx": 100, "MaxEjectionPercent": 100}
    calm = upstream(PassiveHealthCheck={**out, "BaseEjectionTime": "10s", "PanicPercent": 0})
    panic = upstream(PassiveHealthCheck={**out, "BaseEjectionTime": "10s", "PanicPercent": 50})
    everywhere = resolver(DefaultSubset="", LoadBalancer={"Policy": "round_robin"})

    async def both_out() -> bool:
        await names(shop, 6)
        return await metric(shop, "weft_ejected_instances") == 2

    async def asked_while_out() -> int:
        """Requests that the two got, all while they were out."""
        while True:
            await until(both_out, "both are ejected", 60)
            before = sum(app.count("/panic") for app in sick)
            for _ in range(12):
                await shop.ask("/panic")
            if await metric(shop, "weft_ejected_instances") == 2:
                return sum(app.count("/panic") for app in sick) - before

    for app in sick:
        app.status = 503
    async with shop.entries(everywhere, calm):
        assert await asked_while_out() == 0
    async with shop.entries(everywhere, panic):

        async def used() -> bool:
            return await asked_while_out() > 0

        await until(used, "they are used in panic", 60)


SLOW_S = 20


@pytest.mark.long
async def test_a_new_instance_starts_slowly(shop: Shop) -> None:
    """It gets less than half of what the others get, who were there before."""
    entry = resolver(DefaultSubset="", LoadBalancer={"Policy": "round_robin", "SlowStart": f"{SLOW_S}s"})
    async with shop.entries(entry):

        async def even() -> bool:
            return set((await names(shop, 30)).values()) == {10}

        await until(even, "the others have started", 3 * SLOW_S)
        with row_app(f"{STORE}-4") as app:
            new = shop.mesh.member(STORE, 4, app_port=app.port)
            await in_thread(shop.mesh.enrol, new, {})
            await in_thread(shop.mesh.start_sidecar, new)
            try:
                await in_thread(shop.mesh.wait, new)
                await until(lambda: new.id in shop.buyer.admin("/config").decode(), "it is known", 60)
                assert (await names(shop, 100))[new.id] < 100 / 4 / 2
            finally:
                await in_thread(shop.mesh.registry.deregister, new.id)
                await in_thread(shop.mesh.kill, new.sidecar)

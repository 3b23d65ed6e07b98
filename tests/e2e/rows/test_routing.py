"""The rows of "Routing" in docs/features.md, through processes, by `weft config write`."""

import json

import pytest

from tests.e2e.rows.conftest import BUYER, SPARE, STORE, Answer, Entry, Shop, resolver, route, router
from tests.support.mesh import in_thread
from tests.support.waiting import until
from weft.aio import Tasks

pytestmark = pytest.mark.long

ONE, TWO = f"{STORE}-1", f"{STORE}-2"


async def test_routes_by_path_header_query_and_method(shop: Shop) -> None:
    """What matches goes to v2, everything else to v1."""
    matches: tuple[Entry, ...] = (
        {"PathExact": "/exact"},
        {"PathPrefix": "/Prefix", "CaseInsensitive": True},
        {"PathRegex": "/[0-9]+"},
        {"Header": [{"Name": "x-v", "Exact": "2"}]},
        {"QueryParam": [{"Name": "v", "Exact": "2"}]},
        {"Methods": ["PUT"]},
    )
    routes = [route(it, ServiceSubset="v2") for it in matches]
    grpc = route(None, {"Service": "shop.Store", "Method": "Get"}, ServiceSubset="v2")
    async with shop.entries(resolver(), router(*routes, grpc)):
        await shop.until(lambda it: it.name == TWO, "the routes are in force", "/exact")
        for inside in ("/exact", "/exact?q=1", "/prefix/x", "/123", "/?v=2", "/shop.Store/Get"):
            assert (await shop.ask(inside)).name == TWO, inside
        for outside in ("/exact/more", "/other", "/12x", "/?v=1", "/shop.Store/Put"):
            assert (await shop.ask(outside)).name == ONE, outside
        assert (await shop.ask(x_v="2")).name == TWO
        assert (await shop.ask(x_v="1")).name == ONE
        assert (await shop.ask(method="PUT")).name == TWO


async def test_the_prefix_is_rewritten_and_headers_are_edited_both_ways(shop: Shop) -> None:
    there = route(
        {"PathPrefix": "/api/"},
        PrefixRewrite="/",
        RequestHeaders={"Set": {"x-set": "1"}, "Add": {"x-add": "2"}, "Remove": ["x-gone"]},
        ResponseHeaders={"Set": {"x-back": "3"}, "Remove": ["server"]},
    )
    async with shop.entries(router(there)):
        await shop.until(lambda it: "x-back" in it.headers, "the route is in force", "/api/items")
        found = await shop.ask("/api/items?q=1", x_gone="1", x_set="0")
        assert found.told["target"] == "/items?q=1"
        headers = found.told["headers"]
        assert (headers["x-set"], headers["x-add"], headers.get("x-gone")) == ("1", "2", None)
        assert (found.headers["x-back"], found.headers.get("server")) == ("3", None)


async def test_requests_fail_over_to_other_targets(shop: Shop) -> None:
    none = {"Filter": "Service.Meta.version == v9"}
    entry = resolver(DefaultSubset="none", Failover={"*": {"Service": SPARE}})
    entry["Subsets"]["none"] = none
    async with shop.entries(entry):
        await shop.until(lambda it: it.name == f"{SPARE}-1", "nobody is in the subset, so the spare answers")
    await shop.until(lambda it: it.name.startswith(STORE), "and the store again")


async def test_what_is_under_way_ends_under_the_routes_that_it_began_with(shop: Shop) -> None:
    tasks, slow = Tasks(), []
    async with shop.entries(resolver()):
        await shop.until(lambda it: it.name == ONE, "all go to v1")

        async def ask() -> None:
            slow.append(await shop.ask("/slow", x_do="sleep=4"))

        asking = tasks.spawn(ask(), "a slow request")
        await until(lambda: shop.apps[ONE].count("/slow"), "it is under way", 60)
        async with shop.entries(router(route(ServiceSubset="v2"))):
            await shop.until(lambda it: it.name == TWO, "all go to v2")
            await asking
        assert [(it.status, it.name) for it in slow] == [(200, ONE)]


async def test_mirrors_are_marked_and_nobody_s_business(shop: Shop) -> None:
    """The copies fail, and no caller hears of it."""
    shop.apps[f"{SPARE}-1"].status = 500
    async with shop.entries(router(route(Mirrors=[{"Service": SPARE}]))):
        spare = shop.apps[f"{SPARE}-1"]

        async def mirrored() -> bool:
            assert (await shop.ask("/copied")).status == 200
            return spare.count("/copied") > 0

        await until(mirrored, "copies arrive", 60)
        before = spare.count("/counted")
        answers = [await shop.ask("/counted") for _ in range(20)]
        assert {(it.status, it.name[:5]) for it in answers} == {(200, STORE)}
        await until(lambda: spare.count("/counted") == before + 20, "one for each", 60)
        assert all(it["headers"]["host"].split(":")[0].endswith("-shadow") for it in spare.seen)
    copies = await in_thread(shop.buyer.metric, "weft_mirrored_requests_total")
    assert copies >= 20


async def test_an_impossible_chain_is_refused_when_it_is_written(shop: Shop) -> None:
    lost = {"Kind": "service-splitter", "Name": STORE, "Splits": [{"Weight": 100, "ServiceSubset": "v9"}]}
    try:
        await in_thread(shop.write, lost)
    except AssertionError as error:
        assert 'does not have a subset named "v9"' in str(error)
    else:
        raise AssertionError("it was taken")
    answer: Answer = await shop.ask()
    assert answer.status == 200


async def test_what_is_explained_is_what_happens(shop: Shop) -> None:
    """`weft explain` names the instances that may answer, and who refuses."""
    split = {
        "Kind": "service-splitter",
        "Name": STORE,
        "Splits": [{"Weight": 50, "ServiceSubset": "v1"}, {"Weight": 50, "ServiceSubset": "v2"}],
        "Sticky": [{"Field": "header", "FieldValue": "x-user"}],
    }
    beta = route({"Header": [{"Name": "x-beta", "Exact": "1"}]}, ServiceSubset="v3")
    spare = route({"PathPrefix": "/spare/"}, Service=SPARE, PrefixRewrite="/")
    async with shop.entries(resolver(), split, router(beta, spare)):
        await shop.until(lambda it: it.name == f"{STORE}-3", "the routes are in force", x_beta="1")
        cases = [("/", {"x-beta": "1"}), ("/spare/x", {}), *(("/", {"x-user": str(n)}) for n in range(12))]
        answered = set()
        for path, headers in cases:
            flags = [word for name, value in headers.items() for word in ("--header", f"{name}={value}")]
            told = await in_thread(
                shop.weft, "explain", BUYER, STORE, "--path", path, *flags, "--format", "json"
            )
            found = json.loads(told)
            (side,) = found["Sides"]
            (instance,) = (it for it in found["Targets"][side["Target"]]["Instances"] if it["Takes"])
            assert found["Arrivals"][side["Target"]]["Allowed"]
            answer = await shop.ask(path, **headers)
            assert (answer.status, answer.name) == (200, instance["ServiceID"]), (path, headers)
            answered.add(answer.name)
        assert answered == {ONE, TWO, f"{STORE}-3", f"{SPARE}-1"}, "the cases reach everything"

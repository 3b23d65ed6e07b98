"""Rate limits of a service, on the real listener."""

import dataclasses

from sidecar.admission import RateLimit
from sidecar.traffic import HttpMatch
from tests.support.scripted import get, grpc
from tests.support.service import Service, prefix, rule
from tests.support.tokens import asks, provider

EVERYBODY = rule(source="*")
SLOW = 1e-6  # per second: no token comes while a test runs


def limit(burst: int = 2, match: HttpMatch | None = None, **settings: bool) -> RateLimit:
    return RateLimit("writes", SLOW, float(burst), match, **settings)


async def test_above_the_limit_requests_are_refused_and_counted(service: Service) -> None:
    service.configure(EVERYBODY, limits=(limit(),))
    calls = await service.caller()
    assert [await calls.status(get()) for _ in range(2)] == ["0", "0"]
    head = (await calls.make(get())).blocks[0]
    assert (head[":status"], head["x-weft-reason"]) == ("429", "rate_limited")
    assert int(head["retry-after"]) > 1000
    trailers = (await calls.make(grpc())).blocks[0]
    assert (trailers["grpc-status"], trailers["grpc-message"]) == ("8", "weft: rate limited by writes")
    assert len(service.app.seen) == 2
    counts = service.engine.telemetry.all_counts
    assert {count.labels: count.value for it in counts for count in counts[it].values()}["web", "writes"] == 2


async def test_a_limit_is_of_what_it_matches_and_of_each_caller_where_that_is_said(service: Service) -> None:
    put = HttpMatch(methods=("PUT",))
    service.configure(EVERYBODY, limits=(limit(1, put, per_caller=True),))
    web, billing = await service.caller(), await service.caller("billing")
    write = (*get()[1:], (":method", "PUT"))[::-1]
    for calls in (web, billing):
        assert [await calls.status(write) for _ in range(2)] == ["0", "429"]
        assert await calls.status(get()) == "0"
    again = await service.caller()  # another connection is no other caller
    assert await again.status(write) == "429"


async def test_a_bucket_outlives_a_change_of_other_rules_but_not_its_own(service: Service) -> None:
    service.configure(EVERYBODY, limits=(limit(1),))
    calls = await service.caller()
    assert await calls.status(get()) == "0"
    service.configure(EVERYBODY, rule(source="x"), limits=(limit(1), limit(9, prefix("/x"))))
    assert await calls.status(get()) == "429"
    service.configure(EVERYBODY, limits=(limit(2),))
    assert await calls.status(get()) == "0"


async def test_who_is_refused_costs_a_limit_nothing(service: Service) -> None:
    service.configure(
        rule(jwt=asks("okta")), rule(source="*"), limits=(limit(1),), providers={"okta": provider()}
    )
    web, billing = await service.caller(), await service.caller("billing")
    assert [await web.status(get()) for _ in range(3)] == ["401"] * 3
    assert [await billing.status(get()) for _ in range(2)] == ["0", "429"]


async def test_trap_14_no_spelling_of_a_path_leads_around_a_limit(service: Service) -> None:
    service.configure(EVERYBODY, limits=(limit(1, prefix("/a")),))
    calls = await service.caller()
    answers = [await calls.status(get(path)) for path in ("/a", "/%61", "/x/../a", "//a", "/b")]
    assert answers == ["0", "429", "429", "400", "0"]


async def test_limits_are_in_the_order_of_the_snapshot_and_all_must_agree(service: Service) -> None:
    narrow = dataclasses.replace(limit(1), name="narrow")
    service.configure(EVERYBODY, limits=(limit(9), narrow))
    calls = await service.caller()
    assert [await calls.status(grpc()) for _ in range(2)] == ["0", "8"]
    assert "narrow" in (await calls.make(grpc())).blocks[0]["grpc-message"]

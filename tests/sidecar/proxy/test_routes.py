"""Routes: what matches goes where it says, changed as it says."""

import dataclasses
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from sidecar.proxy.engine import Engine
from sidecar.snapshot import Route, Split, Upstream
from sidecar.traffic import (
    HashInput,
    HashKind,
    HeaderEdits,
    HeaderMatch,
    HttpMatch,
    QueryMatch,
    TextKind,
)
from tests.support.scripted import Calls, Peer, get, grpc, serves, silent, status_of
from tests.support.switch import LOOPBACK, Mesh, all_to, outbound_port, target_id
from tests.support.wire import Wire, dial

V1, V2 = target_id("orders", "v1"), target_id("orders", "v2")


class Versions:
    """web's engine, with subsets v1 and v2 of orders behind it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.v1 = Peer(mesh, serves("v1"))
        self.v2 = Peer(mesh, serves("v2"))
        self.wires: list[Wire] = []

    async def start(self) -> "Versions":
        await self.v1.start()
        await self.v2.start()
        return self

    async def calls(self, *routes: Route) -> Calls:
        """A caller of an engine with these routes."""
        self.engine: Engine = await self.mesh.engine(
            dataclasses.replace(
                self.mesh.snapshot("web"),
                upstreams={"orders": Upstream("orders", LOOPBACK, routes, V1)},
                targets={
                    target.id: target
                    for target in (
                        self.mesh.target("orders", [self.v1.port], "v1"),
                        self.mesh.target("orders", [self.v2.port], "v2"),
                    )
                },
            )
        )
        self.wires.append(await dial(outbound_port(self.engine)))
        return Calls(self.wires[-1])

    def close(self) -> None:
        for wire in self.wires:
            wire.close()
        self.v1.close()
        self.v2.close()


@pytest.fixture
async def versions(mesh: Mesh) -> AsyncIterator[Versions]:
    running = await Versions(mesh).start()
    yield running
    running.close()


def to(target: str, match: HttpMatch | None = None, **settings: object) -> Route:
    return Route(target.partition(".")[0], (Split(10_000, target),), match, **settings)  # type: ignore[arg-type]


async def served_by(calls: Calls, fields: tuple[tuple[str, str], ...]) -> str:
    return (await calls.make(fields)).data.decode()


def _header(name: str, kind: TextKind, text: str) -> HttpMatch:
    return HttpMatch(headers=(HeaderMatch(name, kind, text),))


MATCHES = {
    "path exact": (HttpMatch(TextKind.EXACT, "/a"), get("/a?q=1"), get("/ab")),
    "path prefix": (HttpMatch(TextKind.PREFIX, "/a"), get("/ab"), get("/b")),
    "path regex": (HttpMatch(TextKind.REGEX, "/[0-9]+"), get("/12"), get("/12x")),
    "path without case": (HttpMatch(TextKind.PREFIX, "/A", case_insensitive=True), get("/a"), get("/b")),
    "header exact": (_header("x-v", TextKind.EXACT, "2"), get(x_v=2), get(x_v=1)),
    "header present": (HttpMatch(headers=(HeaderMatch("x-v"),)), get(x_v=2), get()),
    "header inverted": (HttpMatch(headers=(HeaderMatch("x-v", invert=True),)), get(), get(x_v=2)),
    "header suffix": (_header("x-v", TextKind.SUFFIX, "z"), get(x_v="az"), get(x_v="za")),
    "header regex": (_header("x-v", TextKind.REGEX, "a+"), get(x_v="aa"), get(x_v="ab")),
    "query": (HttpMatch(query=(QueryMatch("v", TextKind.EXACT, "2"),)), get("/?v=2"), get("/?v=1")),
    "query present": (HttpMatch(query=(QueryMatch("v"),)), get("/?a=1&v"), get("/")),
    "method": (HttpMatch(methods=("PUT",)), (*get()[1:], (":method", "PUT"))[::-1], get()),
    "gRPC service": (HttpMatch(grpc_service="pkg.S", grpc_method=""), grpc("/pkg.S/Any"), grpc("/pkg.T/Any")),
    "gRPC method": (HttpMatch(grpc_service="pkg.S", grpc_method="M"), grpc("/pkg.S/M"), grpc("/pkg.S/N")),
}  # fmt: skip


@pytest.mark.parametrize("case", MATCHES)
async def test_a_route_takes_what_matches(versions: Versions, case: str) -> None:
    match, inside, outside = MATCHES[case]
    calls = await versions.calls(to(V2, match), to(V1))
    assert [await served_by(calls, fields) for fields in (inside, outside, inside)] == ["v2", "v1", "v2"]


async def test_trap_11_a_memo_of_a_plan_holds_every_header_that_a_rule_reads(versions: Versions) -> None:
    """The header comes as a literal that callers vary, which otherwise stays beside the memoised head."""
    match = HttpMatch(headers=(HeaderMatch("x-request-id", TextKind.EXACT, "b"),))
    calls = await versions.calls(to(V2, match), to(V1))
    wanted = {"a": "v1", "b": "v2", "c": "v1"}
    for value in "abcabacbb":
        assert await served_by(calls, get(x_request_id=value)) == wanted[value]


async def test_rules_that_come_later_read_open_connections_anew(versions: Versions) -> None:
    calls = await versions.calls(to(V1))
    assert await served_by(calls, get(x_request_id="b")) == "v1"
    match = HttpMatch(headers=(HeaderMatch("x-request-id", TextKind.EXACT, "b"),))
    old = versions.engine.snapshot
    upstream = dataclasses.replace(old.upstreams["orders"], routes=(to(V2, match), to(V1)))
    versions.engine.swap(dataclasses.replace(old, upstreams={"orders": upstream}))
    assert await served_by(calls, get(x_request_id="b")) == "v2"
    assert await served_by(calls, get(x_request_id="a")) == "v1"


async def test_what_no_route_matches_is_not_found(versions: Versions) -> None:
    calls = await versions.calls(to(V1, HttpMatch(TextKind.EXACT, "/a")))
    assert await calls.status(get("/b")) == "404"
    assert await calls.status(grpc("/b/c")) == "12"  # UNIMPLEMENTED
    assert not versions.v1.seen


async def test_the_prefix_is_rewritten_and_headers_are_edited(versions: Versions) -> None:
    route = to(
        V1,
        HttpMatch(TextKind.PREFIX, "/api"),
        prefix_rewrite="/",
        request_headers=HeaderEdits(set=(("x-a", "1"),), add=(("x-b", "2"),), remove=("x-secret",)),
        response_headers=HeaderEdits(set=(("x-c", "3"),), remove=("served-by",)),
    )
    calls = await versions.calls(route)
    for number in range(3):  # the third time all is memoised
        heard = await calls.make(get("/api/x?q=1", x_a="0", x_secret=number, x_request_id=number))
        assert heard.blocks[0]["x-c"] == "3" and "served-by" not in heard.blocks[0]
    for number, head in enumerate(versions.v1.heads):
        assert (head[":path"], head["x-a"], head["x-b"]) == ("/x?q=1", "1", "2")
        assert "x-secret" not in head and head["x-request-id"] == str(number)


async def test_a_split_divides_by_weight_and_edits_by_its_own_headers(versions: Versions) -> None:
    route = Route(
        "r",
        (Split(7500, V1), Split(2500, V2, request_headers=HeaderEdits(set=(("x-canary", "yes"),)))),
    )
    calls = await versions.calls(route)
    count = Counter(heard.data for heard in await calls.many(400))
    assert 60 <= count[b"v2"] <= 140, count
    assert {head.get("x-canary") for head in versions.v2.heads} == {"yes"}
    assert {head.get("x-canary") for head in versions.v1.heads} == {None}
    series = versions.engine.telemetry.all_series
    assert {call.target: found.requests for call, found in series.items() if call.route == "r"} == {
        V1: count[b"v1"], V2: count[b"v2"],
    }  # fmt: skip


async def test_a_sticky_split_keeps_a_user_on_a_side(versions: Versions) -> None:
    sticky = (HashInput(HashKind.HEADER, "x-user"),)
    calls = await versions.calls(Route("r", (Split(5000, V1), Split(5000, V2)), sticky=sticky))
    sides: dict[int, set[str]] = {}
    for _ in range(3):
        for user in range(40):
            sides.setdefault(user, set()).add(await served_by(calls, get(x_user=user)))
    assert all(len(side) == 1 for side in sides.values())
    assert len({*map(min, sides.values())}) == 2


async def test_requests_are_counted_by_route_and_target(versions: Versions) -> None:
    calls = await versions.calls(to(V2, HttpMatch(TextKind.EXACT, "/a")), to(V1))
    for path in ("/a", "/b", "/a"):
        await calls.make(get(path))
    found = versions.engine.telemetry.all_series
    counts = {(call.route, call.target): it.requests for call, it in found.items() if it.requests}
    assert counts == {("v2", V2): 2, ("v1", V1): 1}


async def test_requests_fail_over_where_nothing_is_left(versions: Versions) -> None:
    calls = await versions.calls(to(V1))
    old = versions.engine.snapshot
    first = old.targets[V1]
    down = dataclasses.replace(
        first,
        failover=(V2,),
        instances=tuple(dataclasses.replace(it, healthy=False) for it in first.instances),
    )
    versions.engine.swap(dataclasses.replace(old, targets={**old.targets, V1: down}))
    assert await served_by(calls, grpc()) == "v2"
    assert versions.engine.pools[V1].series.failovers == 1
    versions.engine.swap(old)
    assert await served_by(calls, grpc()) == "v1"


async def test_a_lonely_instance_that_fails_gives_way_to_the_fail_over_target(versions: Versions) -> None:
    """Within the retry of the request that found it dead, and for good once it is ejected."""
    calls = await versions.calls(to(V1))
    old = versions.engine.snapshot
    versions.v1.close()
    over = dataclasses.replace(old.targets[V1], failover=(V2,))
    versions.engine.swap(dataclasses.replace(old, targets={**old.targets, V1: over}))
    assert [await served_by(calls, grpc()) for _ in range(8)] == ["v2"] * 8
    assert versions.engine.pools[V1].series.ejected == 1


async def test_what_is_under_way_ends_under_the_old_routes(versions: Versions) -> None:
    versions.v1.answer = silent
    calls = await versions.calls(to(V1))
    sid = calls.begin(grpc())
    old = versions.engine.snapshot
    wire = await versions.v1.wire()
    asked = (await wire.asked())[0]
    upstream = dataclasses.replace(old.upstreams["orders"], routes=(to(V2),), default_target=V2)
    targets = {V2: old.targets[V2]}
    versions.engine.swap(dataclasses.replace(old, upstreams={"orders": upstream}, targets=targets))
    assert await served_by(calls, grpc()) == "v2"
    serves("v1")(wire, asked)
    assert status_of(await calls.wire.over(sid)) == "0"
    assert calls.wire.heard(sid).data == b"v1"


def test_all_to_is_the_plain_route(mesh: Mesh) -> None:
    assert all_to(mesh.target("orders", [])).splits[0].weight == 10_000

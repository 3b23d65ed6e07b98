"""What is explained is what the switch does: random rules, random requests, real sockets."""

import dataclasses
import random
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from sidecar.admission import Admission, Permission
from sidecar.policy.arrival import Refused
from sidecar.policy.explain import Outward, inward, outward, request
from sidecar.proxy.engine import Engine
from sidecar.snapshot import Address, Inbound, Route, Rule, Snapshot, Split, Target, Upstream
from sidecar.traffic import (
    Balance,
    HashInput,
    HashKind,
    HeaderEdits,
    HeaderMatch,
    HttpMatch,
    QueryMatch,
    TextKind,
)
from tests.support.scripted import Calls, Peer, serves, status_of
from tests.support.switch import DOMAIN, LOOPBACK, Mesh, inbound_port, outbound_port, target_id
from tests.support.wire import dial

PATHS = ("/", "/a", "/a/b", "/b?v=1", "/a?v=2", "/B", "/a//b", "/a/%2e%2e/b", "/s/m")
PREFIXES = ("/", "/a", "/b", "/a/b", "/s/m")
HEADERS = ("x-v", "x-user")
VALUES = ("1", "2", "12")
SUBSETS = ("v1", "v2", "v3")
CASES = 40  # of each seed: a new configuration, and five requests
STATUSES = {Refused.DENIED: "403", Refused.UNPROVEN: "401", Refused.AMBIGUOUS: "400"}


class Random(random.Random):
    """Configurations and requests of a few words, so that they meet."""

    def match(self) -> HttpMatch | None:
        if self.random() < 0.15:
            return None
        kind = self.choice((None, TextKind.EXACT, TextKind.PREFIX, TextKind.REGEX))
        text = self.choice(PREFIXES) + (".*" if kind is TextKind.REGEX else "")
        return HttpMatch(
            path_kind=kind,
            path=text if kind else "",
            case_insensitive=self.random() < 0.2,
            headers=tuple(self.header() for _ in range(self.choice((0, 0, 1, 2)))),
            query=(QueryMatch("v", TextKind.EXACT, self.choice(VALUES)),) if self.random() < 0.2 else (),
            methods=(self.choice(("GET", "PUT")),) if self.random() < 0.3 else (),
        )

    def header(self) -> HeaderMatch:
        kind = self.choice((TextKind.PRESENT, TextKind.EXACT, TextKind.PREFIX, TextKind.CONTAINS))
        text = "" if kind is TextKind.PRESENT else self.choice(VALUES)
        return HeaderMatch(self.choice(HEADERS), kind, text, invert=self.random() < 0.3)

    def edits(self) -> HeaderEdits:
        if self.random() < 0.6:
            return HeaderEdits()
        return HeaderEdits(set=((self.choice(HEADERS), self.choice(VALUES)),), remove=(self.choice(HEADERS),))

    def route(self, name: str) -> Route:
        weight = self.choice((0, 3_000, 10_000))
        one, other = (target_id("orders", it) for it in self.sample(SUBSETS, 2))
        return Route(
            name,
            (Split(weight, one, self.edits()), Split(10_000 - weight, other, self.edits())),
            self.match(),
            sticky=(HashInput(HashKind.HEADER, "x-user"),) if self.random() < 0.5 else (),
            prefix_rewrite=self.choice(("", "", "/a/", "/c")),
            request_headers=self.edits(),
        )

    def inbound(self, old: Inbound) -> Inbound:
        permissions = tuple(
            Permission(self.random() < 0.7, self.match()) for _ in range(self.choice((0, 1, 3)))
        )
        sources = ("web", "other", "*")
        rules = tuple(
            Rule(
                f"rule-{at}", it, DOMAIN, "", self.random() < 0.7, permissions if self.random() < 0.7 else ()
            )
            for at, it in enumerate(self.sample(sources, self.choice((0, 1, 2))))
        )
        return dataclasses.replace(old, rules=rules, default_allow=self.random() < 0.6, admission=Admission())

    def fields(self) -> tuple[tuple[str, str], ...]:
        more = [(name, self.choice(VALUES)) for name in HEADERS if self.random() < 0.5]
        method = self.choice(("GET", "GET", "PUT"))
        return (
            (":method", method),
            (":scheme", "http"),
            (":path", self.choice(PATHS)),
            (":authority", "orders"),
            *more,
        )


class Pair(NamedTuple):
    """web's engine, and three subsets of orders: two peers each, of which v1 has a sick one."""

    mesh: Mesh
    web: Engine
    orders: Engine
    targets: tuple[Target, ...]
    calls: Calls

    def configure(self, at: Random) -> tuple[Snapshot, Snapshot]:
        routes = tuple(at.route(f"orders/{n}") for n in range(at.choice((0, 1, 2, 4))))
        last = dataclasses.replace(at.route("default"), match=None)
        upstream = Upstream("orders", self.web.snapshot.upstreams["orders"].listen, (*routes, last), SOME)
        web = dataclasses.replace(self.web.snapshot, upstreams={"orders": upstream})
        orders = dataclasses.replace(self.orders.snapshot, inbound=at.inbound(self.orders.snapshot.inbound))
        self.web.swap(web)
        self.orders.swap(orders)
        return web, orders


SOME = target_id("orders", "v1")


@pytest.fixture
async def pair(mesh: Mesh) -> AsyncIterator[Pair]:
    """v3 is a real sidecar with intentions, v1 and v2 are scripted peers that say who they are."""
    app = Peer(mesh, serves("v3"), plain=True)
    await app.start()
    orders = await mesh.engine(mesh.snapshot("orders", app=Address("127.0.0.1", app.port)))
    peers = [Peer(mesh, serves(f"{subset}-{n}")) for subset in ("v1", "v2") for n in (0, 1)]
    for peer in peers:
        await peer.start()
    v1, v2 = (
        mesh.target("orders", [peers[n].port, peers[n + 1].port], subset, balance=Balance.RING_HASH,
                    hash=(HashInput(HashKind.HEADER, "x-user"),))
        for n, subset in ((0, "v1"), (2, "v2"))
    )  # fmt: skip
    well, sick = v1.instances
    v1 = dataclasses.replace(v1, instances=(well, dataclasses.replace(sick, healthy=False)))
    targets = (v1, v2, mesh.target("orders", [inbound_port(orders)], "v3"))
    snapshot = dataclasses.replace(
        mesh.snapshot("web"),
        upstreams={"orders": Upstream("orders", LOOPBACK, (Route("r", (Split(10_000, SOME),)),), SOME)},
        targets={it.id: it for it in targets},
    )
    web = await mesh.engine(snapshot)
    wire = await dial(outbound_port(web))
    yield Pair(mesh, web, orders, targets, Calls(wire))
    wire.close()
    for peer in (*peers, app):
        peer.close()


def expected(found: Outward, called: Snapshot, web: Snapshot) -> set[str]:
    """What may be answered: the name of who serves it, or a status."""
    assert found.spreads is not None
    allowed = set()
    for side in found.sides:
        spread = found.spreads[side.target]
        if spread.target.subset == "v3":
            arrived = inward(called, web.identity, side.sent, time.time())
            allowed.add(STATUSES[arrived.refused] if arrived.refused else "v3")
        else:
            names = [it.service_id for it in spread.live]
            chosen = [it.service_id for it in spread.live if it.key == spread.chosen]
            allowed |= {name.removeprefix("orders-") for name in chosen or names}
    return allowed


@pytest.mark.parametrize("seed", range(4))
async def test_explanations_agree_with_the_switch(pair: Pair, seed: int) -> None:
    at = Random(seed)
    seen: set[str] = set()
    for case in range(CASES):
        web, orders = pair.configure(at)
        for _ in range(5):
            fields = at.fields()
            head = request(fields[0][1], fields[2][1], fields[4:], "orders")
            found = outward(web, web.upstreams["orders"], head)
            heard = await pair.calls.make(fields)
            got = heard.data.decode() or status_of(heard)
            seen.add(got)
            assert got in expected(found, orders, web), (seed, case, fields, found)
            assert sum(it.share for it in found.sides) == pytest.approx(1.0)
    assert seen >= {"v1-0", "v2-0", "v2-1", "v3", "403"}, "the cases reach everything"


async def test_what_no_route_takes_has_no_route(mesh: Mesh) -> None:
    only = Route("orders/0", (Split(10_000, SOME),), HttpMatch(TextKind.PREFIX, "/a"))
    upstream = Upstream("orders", LOOPBACK, (only,), SOME)
    snapshot = dataclasses.replace(
        mesh.snapshot("web"),
        upstreams={"orders": upstream},
        targets={SOME: mesh.target("orders", [1], "v1")},
    )
    found = outward(snapshot, upstream, request("GET", "/b", (), "orders"))
    assert (found.route, [it.lacks for it in found.tried]) == (None, ["path begins with /a"])


async def test_who_is_left_out_and_who_takes_over(mesh: Mesh) -> None:
    """Of a target without a healthy instance the first fail-over target that has one answers."""
    others = (target_id("orders", "v2"), target_id("orders", "v3"))
    sick = mesh.target("orders", [1], "v1", failover=others)
    sick = dataclasses.replace(sick, instances=(dataclasses.replace(sick.instances[0], healthy=False),))
    targets = (sick, mesh.target("orders", [], "v2"), mesh.target("orders", [3], "v3"))
    upstream = Upstream("orders", LOOPBACK, (Route("default", (Split(10_000, SOME),)),), SOME)
    snapshot = dataclasses.replace(
        mesh.snapshot("web"), upstreams={"orders": upstream}, targets={it.id: it for it in targets}
    )
    spreads = outward(snapshot, upstream, request("GET", "/", (), "orders")).spreads
    assert spreads is not None
    assert spreads[SOME].instead == others[1]
    assert [it.out for it in spreads[SOME].instances] == ["not healthy"]

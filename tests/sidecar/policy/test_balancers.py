"""Ways to choose an instance: shares by weight, and what a hash keeps together."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.policy.balancers import Balancer, LeastOfMany, Maglev, Random, Ring, balancer_for
from sidecar.policy.hashing import hash64
from sidecar.snapshot import Balance
from sidecar.traffic import Target
from weft.spiffe import SpiffeId

ORDERS = SpiffeId("dc1.weft", "dc1", "orders")


@dataclass
class One:
    key: str
    weight: int = 1
    active: int = 0


def some(count: int, weight: int = 1) -> list[One]:
    return [One(f"dc1/n/orders-{number}", weight) for number in range(count)]


def ring() -> Ring:
    return Ring(random.Random(1).random, 1024, 65536)


def shares(balancer: Balancer, live: list[One], draws: int = 20_000) -> dict[str, float]:
    balancer.plan(live)
    count = Counter(balancer.pick(live, hash64(b"%d" % number)).key for number in range(draws))
    return {key: count[key] / draws for key in count}


@pytest.mark.parametrize("make", [ring, lambda: Maglev(random.random)], ids=["ring", "maglev"])
def test_a_hash_spreads_by_weight(make: object) -> None:
    live = [One("a", 3), One("b", 1), One("c", 1)]
    found = shares(make(), live)  # type: ignore[operator]
    assert found["a"] == pytest.approx(0.6, abs=0.06)
    assert found["b"] == pytest.approx(0.2, abs=0.06)


def test_a_ring_moves_only_what_was_the_leaver_s() -> None:
    balancer, live = ring(), some(6)
    keys = [hash64(b"%d" % number) for number in range(5000)]
    balancer.plan(live)
    before = {key: balancer.pick(live, key).key for key in keys}
    left = live[:5]
    balancer.plan(left)
    for key, owner in before.items():
        assert owner == live[5].key or balancer.pick(left, key).key == owner


def test_maglev_moves_little_else() -> None:
    balancer, live = Maglev(random.random), some(6)
    keys = [hash64(b"%d" % number) for number in range(5000)]
    balancer.plan(live)
    before = {key: balancer.pick(live, key).key for key in keys}
    left = live[:5]
    balancer.plan(left)
    stayed = [key for key, owner in before.items() if owner != live[5].key]
    moved = sum(balancer.pick(left, key).key != before[key] for key in stayed)
    assert moved < len(stayed) / 5


@pytest.mark.parametrize("make", [ring, lambda: Maglev(random.random)], ids=["ring", "maglev"])
def test_the_order_of_instances_does_not_matter(make: object) -> None:
    """All sidecars choose alike, whatever order they heard of the instances in."""
    live = some(5)
    other = list(reversed(live))
    one, two = make(), make()  # type: ignore[operator]
    one.plan(live)
    two.plan(other)
    keys = [hash64(b"%d" % number) for number in range(500)]
    assert [one.pick(live, key).key for key in keys] == [two.pick(other, key).key for key in keys]


def test_choices_are_those_of_every_other_sidecar() -> None:
    """Pinned: a change of the hash would move every user of a running mesh."""
    live = some(3)
    one, two = ring(), Maglev(random.random)
    one.plan(live)
    two.plan(live)
    chosen = [[balancer.pick(live, hash64(b"%d" % n)).key[-1] for n in range(8)] for balancer in (one, two)]
    assert ["".join(row) for row in chosen] == PINNED


PINNED = ["01201200", "21220100"]


def test_random_is_by_weight() -> None:
    draws = random.Random(3)
    balancer, live = Random(draws.random), [One("a", 3), One("b", 1)]
    balancer.plan(live)
    count = Counter(balancer.pick(live, None).key for _ in range(10_000))
    assert count["a"] / 10_000 == pytest.approx(0.75, abs=0.02)


def test_the_least_of_many_is_the_least_loaded_for_its_weight() -> None:
    live = [One("a", 1, 5), One("b", 4, 7), One("c", 1, 3)]
    assert LeastOfMany(3, random.Random(1).random).pick(live, None).key == "b"
    equals = some(3)
    balancer = LeastOfMany(3, random.Random(1).random)
    assert len({balancer.pick(equals, None).key for _ in range(50)}) == 3


def test_a_balancer_is_kept_while_its_settings_are_the_same() -> None:
    target = Target("t", "orders", ORDERS, balance=Balance.RING_HASH)
    first = balancer_for(target, None, random.random)
    assert balancer_for(target, first, random.random) is first
    larger = Target("t", "orders", ORDERS, balance=Balance.RING_HASH, ring_size_min=4096)
    assert balancer_for(larger, first, random.random) is not first
    assert balancer_for(Target("t", "orders", ORDERS), first, random.random) is None


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30), st.integers(0, 2**64 - 1))
def test_every_key_has_an_instance(weights: list[int], key: int) -> None:
    live = [One(f"i{number}", weight) for number, weight in enumerate(weights)]
    for balancer in (ring(), Maglev(random.random), Random(random.random)):
        balancer.plan(live)
        assert balancer.pick(live, key) in live
        assert balancer.pick(live, None) in live

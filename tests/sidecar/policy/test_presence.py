"""Who takes requests, and with what weight."""

from dataclasses import dataclass, replace

import pytest

from sidecar.policy.presence import Presence
from sidecar.traffic import NOWHERE, EjectionPolicy, Locality, Target
from weft.spiffe import SpiffeId

TARGET = Target("t", "orders", SpiffeId("dc1.weft", "dc1", "orders"))
HERE = Locality("eu", "a")


@dataclass
class One:
    key: str
    share: int = 1
    weight: int = 1
    healthy: bool = True
    sick: bool = False
    joined_at: float = float("inf")
    failures: int = 0
    locality: Locality = NOWHERE
    opened: int = 0


def presence(target: Target = TARGET, here: Locality = NOWHERE, count: int = 4) -> tuple[Presence, list[One]]:
    everyone = [One(f"i{number}") for number in range(count)]
    made = Presence()
    made.obey(target, here, [it.key for it in everyone])
    return made, everyone


def keys(live: list[One]) -> list[str]:
    return [it.key for it in live]


def test_the_unhealthy_the_sick_and_the_ejected_take_no_requests() -> None:
    made, everyone = presence(replace(TARGET, ejection=EjectionPolicy(consecutive_failures=1)))
    everyone[0].healthy, everyone[1].sick = False, True
    assert made.failed("i2", 0, now=1.0)
    assert keys(made.live(everyone, False, 1.0)) == ["i3"]
    assert made.returned(1000.0)
    assert keys(made.live(everyone, False, 1000.0)) == ["i2", "i3"]


@pytest.mark.parametrize(("healthy", "panicked"), [(2, False), (1, True), (0, True)])
def test_panic_below_its_share(healthy: int, panicked: bool) -> None:
    made, everyone = presence(replace(TARGET, panic_percent=50))
    for it in everyone[healthy:]:
        it.healthy = False
    assert len(made.live(everyone, False, 0.0)) == (4 if panicked else healthy)


def test_no_panic_where_others_help_and_nobody_is_left() -> None:
    made, everyone = presence(replace(TARGET, panic_percent=50))
    for it in everyone:
        it.healthy = False
    assert made.live(everyone, True, 0.0) == []


def test_the_nearest_of_the_usable() -> None:
    made, everyone = presence(replace(TARGET, by_locality=True), HERE)
    for it, place in zip(everyone, (HERE, Locality("eu", "b"), Locality("us", "a"), NOWHERE), strict=True):
        it.locality = place
    for expected in (["i0"], ["i1"], ["i2", "i3"]):
        assert keys(made.live(everyone, False, 0.0)) == expected
        for it in everyone:
            if it.key in expected:
                it.healthy = False
    lost, all_of_them = presence(replace(TARGET, by_locality=True), NOWHERE)
    assert len(lost.live(all_of_them, False, 0.0)) == 4  # who does not know where it is has no nearest


def test_a_weight_rises_over_the_slow_start() -> None:
    made, everyone = presence(replace(TARGET, slow_start_s=10.0), count=2)
    everyone[0].share = everyone[1].share = 2
    everyone[1].joined_at = 100.0
    found = []
    for now in (100.0, 101.0, 105.0, 109.0, 110.0):
        made.live(everyone, False, now)
        found.append((everyone[1].weight / everyone[0].weight, made.warming))
    assert found == [(0.1, True), (0.1, True), (0.5, True), (0.9, True), (1.0, False)]
    assert everyone[0].weight == 2


def test_rates_are_judged_once_an_interval_on_what_it_brought() -> None:
    policy = EjectionPolicy(interval_s=10.0, failure_percent=50, failure_percent_min_requests=10)
    made, everyone = presence(replace(TARGET, ejection=policy))
    for it in everyone:
        it.opened = 100
    assert made.look(everyone, 100.0) == 0
    everyone[2].opened, everyone[2].failures = 120, 11
    assert made.look(everyone, 105.0) == 0  # not yet
    assert made.look(everyone, 110.0) == 1
    assert [ejection.key for ejection in made.out()] == ["i2"]


def test_a_pool_that_has_fail_over_may_be_ejected_whole() -> None:
    made, _ = presence(
        replace(TARGET, failover=("other",), ejection=EjectionPolicy(consecutive_failures=1)), count=1
    )
    assert made.failed("i0", 0, 1.0)
    alone, _ = presence(replace(TARGET, ejection=EjectionPolicy(consecutive_failures=1)), count=1)
    assert not alone.failed("i0", 0, 1.0)

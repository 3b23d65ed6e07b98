"""Two random choices, and turns."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from sidecar.policy.balance import TURNS_MAX, RoundRobin, least_request, plan


@dataclass
class Endpoint:
    name: str
    active: int = 0
    weight: int = 1


def test_the_only_endpoint_is_taken_without_a_draw() -> None:
    def draw() -> float:
        raise AssertionError

    only = Endpoint("a", active=9)
    assert least_request([only], draw) is only


@pytest.mark.parametrize("draws", [(0.0, 0.0), (0.99, 0.0), (0.0, 0.99)])
def test_of_two_the_less_loaded_is_taken(draws: tuple[float, float]) -> None:
    busy, idle = Endpoint("busy", active=3), Endpoint("idle", active=2)
    assert least_request([busy, idle], iter(draws).__next__) is idle
    assert least_request([idle, busy], iter(draws).__next__) is idle


def test_the_two_choices_always_differ() -> None:
    """The busiest of three can win only against itself, so it never does."""
    rng = random.Random(1)
    endpoints = [Endpoint("a"), Endpoint("b"), Endpoint("busy", active=5)]
    picked = Counter(least_request(endpoints, rng.random).name for _ in range(2000))
    assert set(picked) == {"a", "b"}
    assert abs(picked["a"] - picked["b"]) < 200


def test_a_heavier_endpoint_takes_its_share_under_load() -> None:
    rng = random.Random(2)
    light, heavy = Endpoint("light"), Endpoint("heavy", weight=3)
    for _ in range(400):
        least_request([light, heavy], rng.random).active += 1
    assert (light.active, heavy.active) == (100, 300)


def test_turns_go_round() -> None:
    endpoints = [Endpoint("a"), Endpoint("b"), Endpoint("c")]
    turns = RoundRobin()
    picked = [turns.pick(endpoints).name for _ in range(6)]
    assert sorted(picked[:3]) == ["a", "b", "c"]
    assert picked[3:] == picked[:3]


def test_a_changed_pool_is_planned_anew() -> None:
    turns = RoundRobin()
    three = [Endpoint("a"), Endpoint("b"), Endpoint("c")]
    for _ in range(2):
        turns.pick(three)
    one = [Endpoint("d")]
    assert turns.pick(one) is one[0]


def test_weights_are_spread_evenly() -> None:
    assert plan([5, 1, 1]) == [0, 0, 1, 0, 2, 0, 0]
    assert plan([2, 2]) == [0, 1]


def test_a_plan_is_bounded() -> None:
    turns = plan([65535, 65534, 1])
    assert len(turns) <= TURNS_MAX + 3
    assert Counter(turns)[2] == 1

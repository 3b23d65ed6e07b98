"""Which server an agent asks first."""

import random

from registry.client_agent.fleet import REBALANCED_S, SERVERS_MAX, SHUNNED_S, Fleet


def fleet(*addresses: str, draw: float = 0.0) -> Fleet:
    return Fleet(addresses, lambda: draw, 0.0)


def test_a_server_that_failed_is_asked_last() -> None:
    found = fleet("a", "b", "c")
    found.failed("a", 1.0)
    assert found.to_try(1.0) == ("b", "c", "a")
    found.failed("b", 1.1)
    assert found.to_try(1.2) == ("c", "a", "b")


def test_who_serves_goes_on_serving() -> None:
    found = fleet("a", "b")
    found.failed("a", 1.0)
    found.answered("b")
    assert found.to_try(1.0 + SHUNNED_S)[0] == "b"


def test_all_are_tried_even_when_all_have_failed() -> None:
    found = fleet("a", "b")
    for address in ("a", "b"):
        found.failed(address, 1.0)
    assert sorted(found.to_try(1.0)) == ["a", "b"]


def test_others_are_learnt_and_seeds_stay() -> None:
    found = fleet("seed")
    found.learn(["x", "y"], 1.0)
    assert set(found.addresses) == {"seed", "x", "y"}
    found.learn(["y"], 2.0)
    assert set(found.addresses) == {"seed", "y"}
    assert found.addresses[0] == "seed", "who serves now is not left for another"
    found.learn((f"s{number}" for number in range(1000)), 3.0)
    assert len(found.addresses) <= SERVERS_MAX


def test_agents_spread_over_servers_and_again_later() -> None:
    chance = random.Random(7)
    first = {Fleet("abc", chance.random, 0.0).to_try(0.0)[0] for _ in range(50)}
    assert first == {"a", "b", "c"}
    one = Fleet("abc", chance.random, 0.0)
    later = {one.to_try(REBALANCED_S * round_)[0] for round_ in range(50)}
    assert later == {"a", "b", "c"}

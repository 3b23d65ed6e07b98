"""When experiments stop: what conditions say, and what of measurements counts."""

from typing import Any

import pytest

from registry.chaos.conditions import Condition, Finding, judge, parse
from registry.config_entries.errors import InvalidEntry
from registry.measurements.tally import Edge, Tally
from weft.histogram import BOUNDS_S

INBOUND = Edge(True, "web", "orders")


@pytest.mark.parametrize(
    ("text", "shown", "limit"),
    [
        ("error-rate>5%", "error-rate>5%", 0.05),
        (" error-rate > 0.5% ", "error-rate>0.5%", 0.005),
        ("p99>500ms", "p99>500ms", 0.5),
        ("web p50>1.5s", "web p50>1.5s", 1.5),
    ],
)
def test_what_may_be_written_and_how_it_is_kept(text: str, shown: str, limit: float) -> None:
    found = parse(text, "StopIf[0]")
    assert (str(found), found.limit) == (shown, pytest.approx(limit))
    assert parse(str(found), "") == found, "what is kept reads as itself"


@pytest.mark.parametrize(
    "text",
    ["", "error-rate", "error-rate>5", "error-rate>101%", "error-rate<5%", "p99>0s", "p99>2h", "p98>1s",
     "p99>5%", "a b error-rate>5%", "error-rate>" + "1" * 300 + "%"],
)  # fmt: skip
def test_everything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(InvalidEntry, match=r"StopIf\[0\]: .*write "):
        parse(text, "StopIf[0]")


def judged(condition: Condition, edges: dict[Edge, Tally]) -> Finding:
    """In an experiment of `orders`."""
    found = Tally.of(tally for edge, tally in edges.items() if condition.counts("orders", edge))
    return judge(condition, "orders", found)


def finding(text: str, **counts: Any) -> tuple[bool, str]:
    found = judged(parse(text, ""), {INBOUND: Tally(**counts)})
    return found.is_met, found.told


def test_a_rate_over_the_limit_is_met() -> None:
    assert finding("error-rate>5%", ended=100, failed=5) == (
        False,
        "error-rate of orders is 5% (limit: error-rate>5%)",
    )
    assert finding("error-rate>5%", ended=100, failed=6)[0]


def test_failures_on_purpose_do_not_count() -> None:
    """Of 100 calls an experiment failed 50, and the application 2 of the other 50."""
    assert finding("error-rate>5%", ended=100, failed=52, injected=50) == (
        False,
        "error-rate of orders is 4% (limit: error-rate>5%)",
    )
    assert finding("error-rate>3%", ended=100, failed=52, injected=50)[0]


def test_too_few_calls_are_not_judged() -> None:
    met, told = finding("error-rate>5%", ended=19, failed=19)
    assert (met, told) == (False, "orders: 19 calls in 10 s are too few to judge")
    assert not finding("error-rate>5%", ended=100, failed=100, injected=100)[0], "nobody else called"
    assert finding("error-rate>5%", ended=20, failed=19)[0]


def test_only_the_called_side_of_the_service_meant_counts() -> None:
    """Callers see the failures on purpose too, and cannot tell them from others."""
    edges = {
        Edge(False, "web", "orders", "default", "t"): Tally(100, 100),
        Edge(True, "orders", "audit"): Tally(100, 100),
        INBOUND: Tally(100, 0),
    }
    assert not judged(parse("error-rate>5%", ""), edges).is_met
    assert judged(Condition("audit", "error-rate", 0.05), edges).is_met


def test_time_counts_whatever_it_was_spent_on() -> None:
    buckets = [0] * (len(BOUNDS_S) + 1)
    buckets[next(at for at, bound in enumerate(BOUNDS_S) if bound >= 0.2)] = 100
    edges = {INBOUND: Tally(100, 0, buckets)}
    assert judged(parse("p99>100ms", ""), edges).is_met
    assert not judged(parse("p99>1s", ""), edges).is_met

"""Which servers are well, and which dead ones go."""

from dataclasses import replace

import pytest

from registry.catalog.model import AutopilotConfig
from registry.operator.autopilot import DEAD_AFTER_S, removable, report
from registry.operator.servers import Server
from registry.replica.membership import MemberStatus

RULES = AutopilotConfig()


def server(name: str, silent_s: float = 0.0, *, voter: bool = True, leader: bool = False) -> Server:
    return Server(MemberStatus(name, f"{name}:8300", voter, leader, 100, silent_s))


LEADER = server("leader", leader=True)
DEAD_S = DEAD_AFTER_S + 1


@pytest.mark.parametrize(
    ("others", "gone"),
    [
        ((server("a"), server("b")), ()),
        ((server("a"), server("b", DEAD_S)), ()),  # three do not become two by themselves
        ((server("a"), server("b"), server("c", DEAD_S)), ("c",)),  # another has taken its place
        ((server("a"), server("b"), server("c", DEAD_AFTER_S - 1)), ()),
        ((server("a"), server("b"), server("c"), server("d", DEAD_S)), ("d",)),
        ((server("a"), server("b"), server("c", DEAD_S), server("d", DEAD_S + 1)), ("d", "c")),
        ((server("a"), server("b", DEAD_S), server("c", DEAD_S), server("d", DEAD_S)), ()),  # no majority
        ((server("a"), server("b"), server("n", DEAD_S, voter=False)), ("n",)),
    ],
)
def test_the_dead_go_where_a_majority_and_enough_voters_stay(
    others: tuple[Server, ...], gone: tuple[str, ...]
) -> None:
    assert removable((LEADER, *others), RULES) == gone


def test_the_rules_can_be_changed() -> None:
    found = (LEADER, server("a"), server("b", DEAD_S))
    assert removable(found, replace(RULES, min_quorum=0)) == ("b",)
    four = (*found, server("c"))
    assert removable(four, replace(RULES, cleanup_dead_servers=False)) == ()
    assert removable(four, replace(RULES, min_quorum=4)) == ()


def test_the_leader_never_removes_itself() -> None:
    found = (server("leader", DEAD_S, leader=True), server("a"), server("b"), server("c"))
    assert removable(found, RULES) == ()


@pytest.mark.parametrize(
    ("others", "healthy", "tolerance"),
    [
        ((server("a"), server("b")), True, 1),
        ((server("a"), server("b", 1.0)), False, 0),
        ((server("a", 1.0), server("b", 1.0)), False, 0),
        ((server("a"), server("b"), server("c"), server("d")), True, 2),
        ((server("a"), server("b", voter=False)), True, 0),
        ((), True, 0),
    ],
)
def test_a_report_counts_how_many_more_may_fail(
    others: tuple[Server, ...], healthy: bool, tolerance: int
) -> None:
    found = report((LEADER, *others), RULES, last_index=100)
    assert (found.healthy, found.failure_tolerance) == (healthy, tolerance)


def test_a_server_that_is_far_behind_is_not_well() -> None:
    found = report((LEADER, server("a")), RULES, last_index=100 + RULES.max_trailing_logs + 1)
    assert not found.healthy

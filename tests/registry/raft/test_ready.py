"""The order of a plan, also while earlier ones are still being written."""

import pytest

from registry.raft.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    Vote,
    VoteReply,
)
from registry.raft.ready import Ready, Role
from tests.support.raft import Cluster, Lone, filled
from weft.errors import InvariantBroken


def append(index: int, term: int = 1, commit: int = 0) -> Append:
    prev = (index - 1, term if index > 1 else 0)
    return Append("b", "a", term, *prev, (Entry(term, index, EntryKind.NORMAL, b"x"),), commit, 1)


def plan_of(lone: Lone) -> Ready:
    plan = lone.node.ready()
    assert plan is not None
    return plan


def settled(term: int = 1) -> Lone:
    """A follower of b whose term is on disk."""
    lone = Lone(filled([], term=term))
    lone.step(Heartbeat("b", "a", term, 1))
    return lone


def test_a_followers_answer_leaves_after_its_entries_are_written() -> None:
    lone = settled()
    lone.node.step(append(1))
    plan = plan_of(lone)
    assert [type(m) for m in plan.messages] == [AppendReply]
    assert plan.messages_first == ()
    assert plan.must_sync and len(plan.entries) == 1


def test_a_leaders_appends_leave_before_its_own_entries_are_written() -> None:
    """Thesis 10.2.1"""
    lone = Lone(filled([]))
    lone.lead()
    lone.sent()
    lone.step(AppendReply("b", "a", 1, 1, False, 0, 0, 1, 1))
    lone.node.propose([b"x"])
    plan = plan_of(lone)
    (message,) = plan.messages_first
    assert isinstance(message, Append) and message.entries == plan.entries and len(plan.entries) == 1
    assert plan.messages == ()


def test_a_leaders_appends_wait_for_its_term_and_vote() -> None:
    """A single voter leads at once, its term is not on disk yet: its learner hears of it only afterwards."""
    cluster = Cluster("a", "d")
    node = cluster["a"].node
    node.tick()
    plan = node.ready()
    assert plan and node.role is Role.LEADER
    assert plan.messages_first == ()
    assert {type(m) for m in plan.messages} == {Append, Heartbeat}


def test_a_heartbeat_is_answered_without_waiting_for_entries() -> None:
    lone = settled()
    lone.node.step(append(1))
    slow = plan_of(lone)
    lone.node.step(Heartbeat("b", "a", 1, 2))
    quick = plan_of(lone)
    assert quick.messages_first == (HeartbeatReply("a", "b", 1, 0, 2),)
    assert not quick.must_sync
    assert slow.number + 1 == quick.number


def test_a_heartbeat_of_a_new_term_is_answered_once_that_is_on_disk() -> None:
    lone = settled()
    lone.node.step(Heartbeat("c", "a", 2, 1))
    first = plan_of(lone)
    assert first.messages_first == ()
    lone.node.step(Heartbeat("c", "a", 2, 2))
    second = plan_of(lone)
    assert second.messages_first == ()  # the first is not advanced
    for plan in (first, second):
        lone.member.carry_out(plan)
    lone.node.step(Heartbeat("c", "a", 2, 3))
    assert len(plan_of(lone).messages_first) == 1


def test_own_disk_counts_only_once_it_is_advanced() -> None:
    lone = Lone(filled([], voters="a"))
    lone.node.tick()
    plan = plan_of(lone)
    lone.member.storage.write(plan)
    assert lone.node.commit == 0
    lone.node.advance(plan)
    assert lone.node.commit == 1


def test_committed_entries_come_once_and_only_when_they_are_on_this_disk() -> None:
    lone = settled()
    lone.node.step(append(1, commit=1))
    first = plan_of(lone)
    assert (lone.node.commit, first.committed) == (1, ())
    lone.node.step(append(2, commit=2))
    second = plan_of(lone)
    assert second.committed == ()
    lone.member.carry_out(first)
    assert [entry.index for entry in plan_of(lone).committed] == [1]


def test_committed_entries_come_in_slices() -> None:
    cluster = Cluster("a")
    cluster.limits = cluster.limits.__class__(committed_bytes_max=100)
    cluster.add("a", cluster["a"].storage)
    cluster.tick(1)
    node = cluster["a"].node
    node.propose([b"x" * 50] * 4)
    plan = node.ready()
    assert plan
    cluster["a"].carry_out(plan)
    sizes = []
    while plan := node.ready():
        sizes.append(len(plan.committed))
        cluster["a"].carry_out(plan)
    assert sizes == [1, 1, 1, 1]


def test_plans_are_advanced_in_their_order() -> None:
    lone = settled()
    lone.node.step(append(1))
    first = plan_of(lone)
    lone.node.step(append(2))
    second = plan_of(lone)
    with pytest.raises(InvariantBroken, match="out of order"):
        lone.node.advance(second)
    lone.member.storage.write(first)
    lone.node.advance(first)


def test_without_news_there_is_no_plan() -> None:
    cluster = Cluster()
    cluster.elect("a")
    assert [member.node.ready() for member in cluster.members.values()] == [None] * 3


def test_a_commit_index_alone_is_worth_no_write() -> None:
    lone = settled()
    lone.node.step(append(1))
    lone.sent()
    lone.node.step(Append("b", "a", 1, 1, 1, (), 1, 1))
    plan = plan_of(lone)
    assert (plan.hard_state, plan.must_sync) == (None, False)
    assert len(plan.committed) == 1


def test_the_commit_index_on_disk_is_never_ahead_of_the_log_on_disk() -> None:
    lone = settled()
    lone.node.step(append(1, commit=1))
    plan = plan_of(lone)
    assert plan.hard_state and plan.hard_state.commit == 0


def test_a_vote_and_an_entry_of_one_plan_are_written_together() -> None:
    lone = settled()
    lone.forget_leader()
    lone.node.step(Vote("c", "a", 2, 0, 0))
    lone.node.step(Append("c", "a", 2, 0, 0, (Entry(2, 1, EntryKind.NORMAL, b"x"),), 0, 1))
    plan = plan_of(lone)
    assert plan.hard_state and (plan.hard_state.term, plan.hard_state.vote) == (2, "c")
    assert [type(m) for m in plan.messages] == [VoteReply, AppendReply]


def test_a_change_of_role_term_or_leader_is_told_once() -> None:
    lone = settled(term=4)
    lone.node.step(Heartbeat("b", "a", 5, 1))
    plan = plan_of(lone)
    assert plan.soft == (Role.FOLLOWER, 5, "b")
    lone.member.carry_out(plan)
    lone.node.step(Heartbeat("b", "a", 5, 2))
    assert plan_of(lone).soft is None


def test_status_says_what_an_operator_asks() -> None:
    cluster = Cluster("ab", "d")
    leader = cluster.elect("a")
    cluster.write(b"x")
    cluster.tick(1)
    status = leader.node.status()
    assert (status.role, status.term, status.leader, status.commit, status.last_index) == (
        Role.LEADER,
        1,
        "a",
        2,
        2,
    )
    assert [(peer.id, peer.voter, peer.match, peer.state, peer.heard_ticks_ago) for peer in status.peers] == [
        ("b", True, 2, "replicate", 0),
        ("d", False, 2, "replicate", 0),
    ]
    assert cluster["b"].node.status().peers == ()

"""Replication beyond the paper's figures: flow control, lost messages, bounds (thesis 10.2.1)."""

import random

import pytest

from registry.raft.errors import Busy, NotLeader
from registry.raft.limits import ENTRY_OVERHEAD_BYTES, Limits
from registry.raft.messages import (
    Append,
    AppendReply,
    Commit,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    Message,
)
from registry.raft.ready import Role
from tests.support.raft import Cluster, Lone, filled
from weft.errors import InvariantBroken

SMALL = Limits(
    append_bytes_max=2 * (ENTRY_OVERHEAD_BYTES + 1), inflight_bytes_max=200, inflight_messages_max=3
)


def accepted(index: int, round_: int = 1, from_: str = "b") -> AppendReply:
    return AppendReply(from_, "a", 1, index, False, 0, 0, index, round_)


def leading(limits: Limits) -> Lone:
    lone = Lone(filled([]), limits=limits)
    lone.lead()
    lone.sent()
    lone.step(accepted(1))
    return lone


def appends(messages: list[Message], to: str = "b") -> list[list[int]]:
    """The indices in each Append to b."""
    return [[entry.index for entry in m.entries] for m in messages if isinstance(m, Append) and m.to == to]


def test_proposals_of_one_plan_travel_together() -> None:
    lone = leading(Limits())
    assert lone.node.propose([b"x", b"y"]) == range(2, 4)
    assert lone.node.propose([b"z"]) == range(4, 5)
    assert appends(lone.sent()) == [[2, 3, 4]]


def test_appends_are_pipelined_within_their_bounds() -> None:
    lone = leading(SMALL)
    lone.node.propose([b"x"] * 10)
    assert appends(lone.sent()) == [[2, 3], [4, 5], [6, 7]]  # three unanswered
    assert appends(lone.step(accepted(3))) == [[8, 9]]
    assert appends(lone.step(accepted(9))) == [[10, 11]]


def test_a_probe_sends_one_append_until_it_is_answered() -> None:
    lone = leading(SMALL)
    lone.node.propose([b"x"] * 4)
    lone.sent()
    lone.node.propose([b"x"])
    assert appends(lone.sent(), to="c") == []


def test_an_entry_larger_than_a_message_travels_alone() -> None:
    lone = leading(SMALL)
    lone.node.propose([b"x", bytes(1000), b"y"])
    assert appends(lone.sent()) == [[2], [3]]


def test_what_is_proposed_and_not_committed_is_bounded() -> None:
    lone = leading(Limits(uncommitted_bytes_max=3 * (ENTRY_OVERHEAD_BYTES + 1)))
    lone.node.propose([b"x", b"y"])
    with pytest.raises(Busy, match="not yet committed"):
        lone.node.propose([b"x", b"y"])
    lone.node.propose([b"z"])
    lone.sent()
    lone.step(accepted(4))
    assert lone.node.propose([b"x", b"y", b"z"]) == range(5, 8)


def test_a_follower_takes_no_proposals() -> None:
    cluster = Cluster()
    cluster.elect("a")
    with pytest.raises(NotLeader, match="ask a"):
        cluster["b"].node.propose([b"x"])
    with pytest.raises(NotLeader, match="no leader now"):
        Lone(filled([])).node.propose([b"x"])


def test_a_lost_append_is_found_by_the_next_heartbeat() -> None:
    lone = leading(Limits())
    lone.node.propose([b"x"])
    lone.sent()  # lost
    answers = lone.step(HeartbeatReply("b", "a", 1, 0, 1))
    (question,) = (m for m in answers if isinstance(m, Append) and m.to == "b")
    assert (question.prev_index, question.entries) == (2, ())
    retry = lone.step(AppendReply("b", "a", 1, 2, True, 1, 1, 0, 1))
    assert appends(retry) == [[2]]


def test_a_full_pipeline_that_was_lost_is_found_too() -> None:
    lone = leading(SMALL)
    lone.node.propose([b"x"] * 10)
    lone.sent()
    assert appends(lone.step(HeartbeatReply("b", "a", 1, 0, 1))) == [[]]


def test_the_commit_index_travels_with_the_next_entries() -> None:
    lone = leading(Limits())
    lone.node.propose([b"x"])
    lone.sent()
    assert lone.step(accepted(2)) == [], "no message for the commit index alone"
    assert lone.node.commit_untold
    lone.node.propose([b"y"])
    assert [(m.to, m.commit) for m in lone.sent() if isinstance(m, Append)] == [("b", 2)]
    assert not lone.node.commit_untold


def test_a_follower_that_would_have_to_wait_is_told_once_what_is_committed() -> None:
    lone = leading(Limits())
    lone.node.propose([b"x"])
    lone.sent()
    lone.step(accepted(2))
    lone.node.tell_commit()
    assert lone.sent() == [Commit("a", "b", 1, 2, 1)], "c has not answered: it may not have it"
    lone.node.tell_commit()
    assert lone.sent() == [] and not lone.node.commit_untold
    lone.step(accepted(2, from_="c"))
    lone.node.tell_commit()
    assert lone.sent() == [Commit("a", "c", 1, 2, 1)]


def test_a_lost_commit_index_comes_again_with_the_heartbeat() -> None:
    lone = leading(Limits())
    lone.node.propose([b"x"])
    lone.sent()
    lone.step(accepted(2))
    lone.node.tick()
    beats = [m for m in lone.sent() if isinstance(m, Heartbeat)]
    assert {(m.to, m.commit, m.commit_term) for m in beats} == {("b", 2, 1), ("c", 2, 1)}


@pytest.mark.parametrize("kind", ["heartbeat", "commit", "answer"])
def test_what_is_said_to_be_committed_counts_for_who_has_that_very_entry(kind: str) -> None:
    """Rule: an unmatched message never advances the commit index. Log matching: §5.3."""
    lone = Lone(filled([1, 1, 2]))
    for index, term, commit in ((4, 2, 0), (3, 1, 0), (2, 2, 0), (2, 1, 2), (1, 1, 2), (3, 2, 3)):
        if kind == "heartbeat":
            assert lone.step(Heartbeat("b", "a", 2, 5, index, term)) == [
                HeartbeatReply("a", "b", 2, commit, 5)
            ]
        elif kind == "commit":
            assert lone.step(Commit("b", "a", 2, index, term)) == [], "it is not answered"
        else:
            lone.node.learn_commit(index, term)
        assert lone.node.commit == commit
    if kind != "answer":
        assert lone.node.leader == "b"


def test_a_commit_index_of_an_old_term_is_heard_from_nobody() -> None:
    lone = Lone(filled([1, 1], term=3))
    assert lone.step(Commit("b", "a", 2, 2, 1)) == []
    assert (lone.node.commit, lone.node.leader, lone.node.term) == (0, "", 3)


def test_an_old_append_below_the_commit_index_is_accepted_and_takes_nothing_back() -> None:
    lone = Lone(filled([1, 1, 1]))
    lone.step(Append("b", "a", 1, 3, 1, (), 3, 1))
    old = lone.member.storage.entries(2, 3, 1)
    (answer,) = lone.step(Append("b", "a", 1, 1, 1, tuple(old), 2, 1))
    assert isinstance(answer, AppendReply)
    assert (answer.rejected, answer.index) == (False, 3)
    assert lone.member.log() == [(1, 1), (2, 1), (3, 1)]


def test_a_rejected_append_carries_a_hint_at_or_above_the_commit_index() -> None:
    lone = Lone(filled([1, 1, 2, 2]))
    lone.step(Append("b", "a", 2, 2, 1, (), 2, 1))
    (answer,) = lone.step(Append("b", "a", 4, 4, 3, (), 0, 1))
    assert isinstance(answer, AppendReply)
    assert (answer.rejected, answer.index, answer.hint_index, answer.hint_term) == (True, 4, 4, 2)
    (answer,) = lone.step(Append("b", "a", 5, 9, 1, (), 0, 1))
    assert isinstance(answer, AppendReply)
    assert (answer.hint_index, answer.hint_term) == (2, 1)


def test_entries_with_a_gap_are_a_bug() -> None:
    entry = Entry(1, 3, EntryKind.NORMAL, b"x")
    with pytest.raises(InvariantBroken, match="a gap in an Append of b"):
        Lone(filled([1])).step(Append("b", "a", 1, 1, 1, (entry,), 0, 1))


def test_two_leaders_of_one_term_are_a_bug() -> None:
    lone = leading(Limits())
    with pytest.raises(InvariantBroken, match="two leaders"):
        lone.step(Append("b", "a", 1, 1, 1, (), 0, 1))


def test_messages_lost_doubled_and_shuffled_do_no_harm() -> None:
    rng = random.Random(3)
    cluster = Cluster(limits=SMALL)
    cluster.elect("a")
    for number in range(60):
        if cluster.leaders() == ["a"]:
            cluster["a"].node.propose([b"%d" % number])
        cluster.collect()
        kept = [m for m in cluster.post if rng.random() < 0.7]
        cluster.post = kept + [m for m in kept if rng.random() < 0.3]
        rng.shuffle(cluster.post)
        cluster.deliver()
        cluster["a"].node.tick()
    cluster.settle()
    cluster.tick(3)
    assert cluster["a"].node.role is Role.LEADER
    assert len(cluster["a"].data) == 60
    assert cluster["b"].data == cluster["c"].data == cluster["a"].data

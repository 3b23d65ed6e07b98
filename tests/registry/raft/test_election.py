"""Pre-vote, check-quorum, and whom nobody listens to (thesis 4.2.3, 6.2, 9.6)."""

import pytest

from registry.raft.config import Change, ChangeKind
from registry.raft.messages import (
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVote,
    PreVoteReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from registry.raft.ready import Role
from tests.support.raft import Cluster, Lone, filled

# Pre-vote


def test_a_pre_vote_changes_nothing_at_the_receiver() -> None:
    lone = Lone(filled([1]))
    lone.forget_leader()
    (answer,) = lone.step(PreVote("b", "a", 9, 1, 1))
    assert answer == PreVoteReply("a", "b", 9, granted=True)
    assert (lone.node.term, lone.server.vote) == (1, "")
    assert lone.step(PreVote("c", "a", 9, 1, 1)) == [PreVoteReply("a", "c", 9, granted=True)]


def test_a_pre_vote_without_a_new_term_is_refused_with_ours() -> None:
    lone = Lone(filled([1], term=9))
    lone.forget_leader()
    assert lone.step(PreVote("b", "a", 9, 5, 5)) == [PreVoteReply("a", "b", 9, granted=False)]


def test_a_refused_pre_vote_teaches_the_newer_term() -> None:
    lone = Lone(filled([1]))
    lone.node.tick(10)
    lone.step(PreVoteReply("b", "a", 6, granted=False))
    assert (lone.node.role, lone.node.term) == (Role.FOLLOWER, 6)


def test_an_answer_to_an_older_pre_vote_does_not_count() -> None:
    lone = Lone(filled([1]))
    lone.node.tick(10)
    lone.step(PreVoteReply("b", "a", 1, granted=True))
    assert lone.node.role is Role.PRE_CANDIDATE
    lone.step(PreVoteReply("b", "a", 2, granted=True))
    assert lone.node.role is Role.CANDIDATE


def test_a_majority_of_refused_pre_votes_ends_the_attempt() -> None:
    lone = Lone(filled([1]))
    lone.node.tick(10)
    lone.step(PreVoteReply("b", "a", 1, granted=False))
    assert lone.node.role is Role.PRE_CANDIDATE
    lone.step(PreVoteReply("c", "a", 0, granted=False))  # a voter that has seen less may have a longer log
    assert lone.node.role is Role.FOLLOWER


def test_a_server_cut_off_disturbs_nobody_when_it_returns() -> None:
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut_off("c")
    cluster.tick(100)
    cluster.heal()
    cluster.tick(3)
    assert (cluster.leaders(), cluster["a"].node.term, cluster["c"].node.term) == (["a"], 1, 1)
    assert cluster["c"].node.leader == "a"


def test_votes_and_replies_out_of_place_change_nothing() -> None:
    lone = Lone(filled([1]))
    lone.forget_leader()
    for stray in (
        VoteReply("b", "a", 1, True),
        PreVoteReply("b", "a", 2, True),
        AppendReply("b", "a", 1, 1, False, 0, 0, 0, 1),
        HeartbeatReply("b", "a", 1, 0, 1),
        Heartbeat("b", "x", 1, 1),  # for another server
    ):
        assert lone.step(stray) == []
    assert (lone.node.role, lone.node.term) == (Role.FOLLOWER, 1)


# A live leader


@pytest.mark.parametrize("question", [Vote("c", "a", 7, 9, 9), PreVote("c", "a", 7, 9, 9)], ids=repr)
def test_who_hears_a_leader_votes_for_nobody_else(question: Message) -> None:
    """Thesis 4.2.3: not within the minimum election timeout; the term is not even updated."""
    lone = Lone(filled([1]))
    lone.node.tick(5)
    lone.step(Heartbeat("b", "a", 1, 1))
    lone.node.tick(9)
    assert lone.step(question) == []
    assert lone.node.term == 1
    lone.node.tick(1)
    answers = [m for m in lone.step(question) if isinstance(m, VoteReply | PreVoteReply)]
    assert [answer.granted for answer in answers] == [True]


def test_a_leader_with_a_majority_votes_for_nobody_else() -> None:
    cluster = Cluster()
    leader = cluster.elect("a")
    cluster.tick(50)
    leader.node.step(Vote("c", "a", 7, 9, 9))
    assert (leader.node.role, leader.node.term) == (Role.LEADER, 1)


def test_a_restarted_server_keeps_the_promise_it_may_have_given() -> None:
    """It may have answered a heartbeat before the restart, and a lease may rest on that (thesis 6.4.1)."""
    lone = Lone(filled([1]))
    lone.node.tick(9)
    assert lone.step(Vote("c", "a", 7, 9, 9)) == []
    lone.node.tick()
    lone.sent()
    assert VoteReply("a", "c", 7, True) in lone.step(Vote("c", "a", 7, 9, 9))


def test_a_leadership_that_is_handed_over_is_no_reason_to_refuse() -> None:
    lone = Lone(filled([1]))
    lone.step(Heartbeat("b", "a", 1, 1))
    assert VoteReply("a", "c", 7, True) in lone.step(Vote("c", "a", 7, 9, 9, transfer=True))


def test_the_promise_to_a_leader_outlives_its_term() -> None:
    """A transfer that comes to nothing raises the term; the old leader's lease may still run."""
    lone = Lone(filled([1]))
    lone.step(Heartbeat("b", "a", 1, 1))
    assert VoteReply("a", "c", 2, False) in lone.step(Vote("c", "a", 2, 0, 0, transfer=True))
    assert lone.step(Vote("d", "a", 2, 9, 9)) == []


# Check-quorum


def test_a_leader_without_a_majority_steps_down() -> None:
    """Thesis 6.2, within an election timeout."""
    cluster = Cluster("abcde")
    leader = cluster.elect("a")
    cluster.cut_off("a", "b")
    cluster.tick(9, "a", "b")
    assert leader.node.role is Role.LEADER
    cluster.tick(1, "a", "b")
    assert (leader.node.role, leader.node.leader) == (Role.FOLLOWER, "")


def test_a_leader_with_a_bare_majority_stays() -> None:
    cluster = Cluster("abcde")
    leader = cluster.elect("a")
    cluster.cut_off("a", "b", "c")
    cluster.tick(50, "a", "b", "c")
    assert leader.node.role is Role.LEADER


def test_learners_are_no_majority() -> None:
    cluster = Cluster("abc", "de")
    leader = cluster.elect("a")
    cluster.cut_off("a", "d", "e")
    cluster.tick(10, "a", "d", "e")
    assert leader.node.role is Role.FOLLOWER


def test_a_long_pause_is_noticed_at_once() -> None:
    """All ticks of the pause are delivered before the messages that wait."""
    cluster = Cluster()
    leader = cluster.elect("a")
    leader.node.tick(10)
    assert leader.node.role is Role.FOLLOWER


def test_a_leader_of_an_old_term_learns_of_the_new_one_from_a_reply() -> None:
    """Rule: every reply carries its term. Who was made a candidate in vain is not stuck above its leader."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.cut_off("c")
    cluster["c"].node.step(TimeoutNow("a", "c", 1))
    cluster.settle()
    assert cluster["c"].node.term == 2
    cluster.heal()
    cluster.tick(40)
    (leader,) = cluster.leaders()
    assert cluster[leader].node.term >= 2
    assert {member.node.leader for member in cluster.members.values()} == {leader}


# Who may not


def test_a_learner_and_an_empty_server_never_campaign() -> None:
    cluster = Cluster("a", "b")
    cluster.add("x")
    cluster.tick(100, "b", "x")
    assert [cluster[name].node.role for name in "bx"] == [Role.FOLLOWER] * 2
    cluster["b"].node.step(TimeoutNow("a", "b", 1))
    assert cluster["b"].node.role is Role.FOLLOWER


def test_a_removed_server_does_not_disrupt() -> None:
    """Thesis 4.2.3: it never learns of its removal, times out for ever, and nobody minds."""
    cluster = Cluster("abc")
    leader = cluster.elect("a")
    cluster.drop = lambda message: "c" in (message.from_, message.to)
    leader.node.propose_config(Change(ChangeKind.REMOVE, "c"))
    cluster.settle()
    cluster.heal()
    for term in range(2, 60):
        cluster.tick()
        cluster.post += [Vote("c", "a", term, 9, 9), Vote("c", "b", term, 9, 9)]  # and without a pre-vote
    assert cluster["c"].node.role is not Role.LEADER
    assert (cluster.leaders(), leader.node.term) == (["a"], 1)


def test_a_removed_servers_reply_deposes_nobody() -> None:
    cluster = Cluster("abc")
    leader = cluster.elect("a")
    leader.node.propose_config(Change(ChangeKind.REMOVE, "c"))
    cluster.settle()
    leader.node.step(AppendReply("c", "a", 50, 0, True, 0, 0, 0, 0))
    assert (leader.node.role, leader.node.term) == (Role.LEADER, 1)


def test_a_voter_whose_removal_is_uncommitted_may_still_be_needed() -> None:
    """Thesis 4.2.2: a has the longer log, so b cannot win; a is not in its own newest configuration."""
    cluster = Cluster("ab")
    leader = cluster.elect("a")
    cluster.cut_off("a")
    leader.node.propose_config(Change(ChangeKind.REMOVE, "a"))
    cluster.tick(30)
    cluster.heal()
    cluster.tick(60)
    assert cluster.leaders() == ["b"]
    assert cluster["b"].node.config.voters == {"b"}


def test_a_single_voter_is_elected_on_its_first_tick() -> None:
    for start in ([], [1, 1]):
        lone = Lone(filled(start, voters="a"))
        lone.node.tick()
        lone.sent()
        assert (lone.node.role, lone.node.commit) == (Role.LEADER, len(start) + 1)


def test_stepping_down_lets_another_go_first() -> None:
    cluster = Cluster()
    leader = cluster.elect("a")
    leader.node.step_down()
    cluster.settle()
    assert (leader.node.role, leader.node.leader) == (Role.FOLLOWER, "")
    leader.node.tick(9)
    assert leader.node.role is Role.FOLLOWER

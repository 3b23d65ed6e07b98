"""Linearizable reads: ReadIndex and leases (thesis 6.4)."""

import pytest

from registry.raft.errors import Busy, NotLeader
from registry.raft.limits import Limits
from registry.raft.messages import AppendReply, Heartbeat, HeartbeatReply
from registry.raft.ready import Read, Role
from tests.support.raft import Cluster, Lone, filled


def leading(limits: Limits | None = None) -> Lone:
    """A leader in term 1 whose no-op, index 1, is committed; b answered round 1."""
    lone = Lone(filled([]), limits=limits or Limits())
    lone.lead()
    lone.sent()
    lone.step(AppendReply("b", "a", 1, 1, False, 0, 0, 0, 1))
    assert lone.node.commit == 1
    return lone


def beat(lone: Lone) -> int:
    """The round of the heartbeats that leave now."""
    (round_,) = {m.round for m in lone.sent() if isinstance(m, Heartbeat)}
    return round_


def test_a_read_is_confirmed_by_a_majority_that_answered_after_it() -> None:
    lone = leading()
    lone.node.read(7)
    lone.step(HeartbeatReply("b", "a", 1, 1, 1))  # to a heartbeat before the read
    round_ = lone.server.leading.rounds.current  # type: ignore[union-attr]
    assert lone.member.reads == []
    lone.step(HeartbeatReply("c", "a", 1, 1, round_))
    assert lone.member.reads == [Read(7, 1)]


def test_reads_of_one_plan_share_a_round() -> None:
    lone = leading()
    for token in range(100):
        lone.node.read(token)
    messages = [m for m in lone.sent() if isinstance(m, Heartbeat)]
    assert len(messages) == 2
    lone.step(HeartbeatReply("b", "a", 1, 1, messages[0].round))
    assert [read.token for read in lone.member.reads] == list(range(100))


def test_an_append_is_as_good_as_a_heartbeat() -> None:
    lone = leading()
    lone.node.read(7)
    lone.sent()
    lone.node.propose([b"x"])
    lone.sent()
    lone.step(AppendReply("c", "a", 1, 2, False, 0, 0, 0, 2))
    assert lone.member.reads == [Read(7, 1)]


def test_a_read_waits_for_the_first_commit_of_the_term() -> None:
    """§8: before that the commit index may be older than a write that was answered."""
    lone = Lone(filled([1, 1]))
    lone.lead()
    lone.node.read(7)
    lone.sent()
    lone.step(HeartbeatReply("b", "a", 2, 0, 1), HeartbeatReply("c", "a", 2, 0, 1))
    assert lone.member.reads == []
    lone.step(AppendReply("b", "a", 2, 3, False, 0, 0, 0, 1))
    lone.step(HeartbeatReply("b", "a", 2, 0, 2))
    assert lone.member.reads == [Read(7, 3)]


def test_a_leader_cut_off_answers_no_read() -> None:
    cluster = Cluster()
    old = cluster.elect("a")
    cluster.cut_off("a")
    old.node.read(7)
    cluster.elect("b")
    cluster.write_at("b", b"x")
    assert (old.reads, old.node.lease_read(old.node.now + 7)) == ([], None)
    cluster.heal()
    cluster.tick()
    assert (old.reads, old.lost, old.node.role) == ([], [7], Role.FOLLOWER)


def test_a_follower_names_the_leader() -> None:
    cluster = Cluster()
    cluster.elect("a")
    with pytest.raises(NotLeader, match="ask a") as refused:
        cluster["b"].node.read(1)
    assert refused.value.leader == "a"


def test_waiting_reads_are_bounded() -> None:
    lone = leading(Limits(reads_max=2))
    lone.node.read(1)
    lone.sent()
    lone.node.read(2)
    with pytest.raises(Busy, match="too many reads"):
        lone.node.read(3)


def test_a_single_voter_confirms_by_itself() -> None:
    lone = Lone(filled([], voters="a"))
    lone.node.tick()
    lone.sent()
    lone.node.read(1)
    lone.sent()
    assert lone.member.reads == [Read(1, 1)]
    assert lone.node.lease_read(lone.node.now) == 1


# Leases


def test_trap_19_a_lease_counts_from_when_the_heartbeat_was_sent() -> None:
    """E = 10 and 10 % of drift: (10 - 1) * 90 / 110 = 7 ticks from the sending, however late the answer."""
    lone = leading()
    lone.node.tick()  # round 2 begins at tick 1
    round_ = beat(lone)
    lone.node.tick(4)
    lone.sent()
    lone.step(HeartbeatReply("b", "a", 1, 1, round_))
    assert lone.node.now == 5
    assert [lone.node.lease_read(tick) for tick in (5, 7, 8)] == [1, 1, None]


def test_trap_19_a_pause_that_no_tick_tells_of_ends_the_lease() -> None:
    lone = leading()
    lone.step(HeartbeatReply("b", "a", 1, 1, 1))
    assert lone.node.lease_read(now_tick=0) == 1
    assert lone.node.lease_read(now_tick=50) is None


def test_trap_19_a_lease_ends_before_any_follower_may_vote_for_another() -> None:
    """With clocks that differ by the stated bound: the leader's slow, the follower's fast."""
    for election_ticks in range(4, 60):
        for drift in (0, 5, 10, 20):
            lease = (election_ticks - 1) * (100 - drift) // (100 + drift)
            slow, fast = 1 + drift / 100, 1 - drift / 100
            assert lease * slow <= (election_ticks - 1) * fast + 1e-9


def test_a_lease_needs_a_majority() -> None:
    cluster = Cluster("abcde")
    leader = cluster.elect("a")
    cluster.tick(1)
    cluster.cut_off("a", "b")
    for _ in range(6):
        cluster.tick(1, "a", "b")
        assert leader.node.lease_read(leader.node.now) == 1
    cluster.tick(1, "a", "b")
    assert leader.node.lease_read(leader.node.now) is None
    assert leader.node.role is Role.LEADER


def test_there_is_no_lease_before_the_first_commit_of_the_term() -> None:
    lone = Lone(filled([1, 1]))
    lone.lead()
    lone.sent()
    lone.step(HeartbeatReply("b", "a", 2, 0, 1))
    assert lone.node.lease_read(0) is None
    lone.step(AppendReply("b", "a", 2, 3, False, 0, 0, 0, 1))
    assert lone.node.lease_read(0) == 3


def test_only_a_leader_has_a_lease() -> None:
    cluster = Cluster()
    cluster.elect("a")
    assert cluster["b"].node.lease_read(0) is None

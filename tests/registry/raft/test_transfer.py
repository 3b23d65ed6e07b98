"""Leadership transfer (thesis 3.10)."""

import pytest

from registry.raft.errors import Busy, ChangeRefused, NotLeader
from registry.raft.messages import AppendReply, TimeoutNow
from registry.raft.ready import Role
from tests.support.raft import Cluster, Lone, filled


def leading() -> Lone:
    lone = Lone(filled([]))
    lone.lead()
    lone.sent()
    lone.step(AppendReply("b", "a", 1, 1, False, 0, 0, 1, 1))
    return lone


def test_leadership_goes_to_the_server_that_was_named() -> None:
    cluster = Cluster("abcde")
    cluster.elect("a")
    cluster.write(b"x")
    assert cluster["a"].node.transfer("d") == "d"
    cluster.settle()
    assert cluster.leaders() == ["d"]
    cluster.write(b"y")
    assert cluster["a"].data == [b"x", b"y"]


def test_without_a_name_it_goes_to_the_longest_log() -> None:
    assert leading().node.transfer() == "b"


def test_the_target_is_told_once_it_has_the_whole_log() -> None:
    """ "The prior leader fully updates the target server's log"."""
    lone = leading()
    lone.node.propose([b"x"])
    lone.node.transfer("b")
    assert not [m for m in lone.sent() if isinstance(m, TimeoutNow)]
    found = lone.step(AppendReply("b", "a", 1, 2, False, 0, 0, 1, 1))
    assert TimeoutNow("a", "b", 1) in found


def test_proposals_wait_meanwhile_but_not_for_ever() -> None:
    lone = leading()
    lone.node.propose([b"x"])
    lone.node.transfer("c")
    with pytest.raises(Busy, match="handed over"):
        lone.node.propose([b"y"])
    lone.node.tick(9)
    with pytest.raises(Busy):
        lone.node.propose([b"y"])
    lone.step(AppendReply("b", "a", 1, 2, False, 0, 0, 1, 1))
    lone.node.tick()
    lone.node.propose([b"y"])


def test_trap_19_the_lease_ends_before_leadership_is_handed_over() -> None:
    lone = leading()
    assert lone.node.lease_read(0) == 1
    lone.node.transfer("b")
    assert lone.node.lease_read(0) is None
    lone.node.tick(9)
    lone.step(AppendReply("b", "a", 1, 1, False, 0, 0, 1, 1))
    lone.node.tick()  # given up; but the offer may still arrive
    lone.node.propose([b"x"])
    round_ = lone.server.leading.rounds.current  # type: ignore[union-attr]
    lone.step(AppendReply("b", "a", 1, 1, False, 0, 0, 1, round_))
    assert lone.node.role is Role.LEADER
    assert lone.node.lease_read(lone.node.now) is None


def test_a_transfer_that_was_never_offered_gives_the_lease_back() -> None:
    lone = leading()
    lone.node.propose([b"x"])
    lone.node.transfer("c")
    lone.node.tick(9)
    lone.step(AppendReply("b", "a", 1, 2, False, 0, 0, 1, 1))
    lone.node.tick(1)
    round_ = lone.server.leading.rounds.current  # type: ignore[union-attr]
    lone.step(AppendReply("b", "a", 1, 2, False, 0, 0, 2, round_))
    assert lone.node.lease_read(lone.node.now) == 2


@pytest.mark.parametrize("to", ["a", "x", "d"])
def test_only_another_voter_can_take_it(to: str) -> None:
    cluster = Cluster("abc", "d")
    cluster.elect("a")
    with pytest.raises(ChangeRefused, match="no other voter"):
        cluster["a"].node.transfer(to)


def test_a_single_voter_has_nobody_to_hand_over_to() -> None:
    cluster = Cluster("a")
    cluster.tick()
    with pytest.raises(ChangeRefused, match="nobody else"):
        cluster["a"].node.transfer()


def test_only_a_leader_hands_over() -> None:
    with pytest.raises(NotLeader):
        Lone(filled([])).node.transfer("b")


def test_an_offer_of_an_old_term_is_ignored() -> None:
    lone = Lone(filled([], term=5))
    assert lone.step(TimeoutNow("b", "a", 4)) == []
    assert lone.node.role is Role.FOLLOWER

"""Membership changes (thesis 4.1, 4.2)."""

import pytest

from registry.raft.config import Change, ChangeKind, Config
from registry.raft.errors import Busy, ChangeRefused, NotLeader
from registry.raft.limits import Limits
from registry.raft.messages import AppendReply
from registry.raft.ready import Role
from tests.support.raft import Cluster, Lone, filled

ADD, PROMOTE, DEMOTE, REMOVE = ChangeKind


def change(cluster: Cluster, kind: ChangeKind, name: str) -> None:
    (leader,) = cluster.leaders()
    cluster[leader].node.propose_config(Change(kind, name))
    cluster.settle()


def test_a_cluster_grows_from_one_to_five_and_shrinks_again() -> None:
    cluster = Cluster("a")
    cluster.elect("a")
    for number, name in enumerate("bcde"):
        cluster.add(name)
        change(cluster, ADD, name)
        cluster.write(f"learned by {name}".encode())
        change(cluster, PROMOTE, name)
        assert cluster[name].node.config.voters == set("abcde"[: number + 2])
    cluster.write(b"five")
    assert all(member.data == cluster["a"].data for member in cluster.members.values())
    for name in "edcb":
        change(cluster, REMOVE, name)
    cluster.write(b"one")
    assert cluster["a"].node.status().commit == cluster["a"].node.status().last_index


def test_a_change_is_in_force_when_it_is_in_the_log() -> None:
    """Thesis 4.1: "A server always uses the latest configuration in its log, regardless of whether the entry
    is committed." """
    cluster = Cluster()
    leader = cluster.elect("a")
    leader.node.propose_config(Change(ADD, "d"))
    assert leader.node.config == Config.of("abc", "d")
    status = leader.node.status()
    assert (status.config_index, status.config_committed) == (2, False)


def test_the_previous_change_is_committed_before_the_next() -> None:
    cluster = Cluster()
    leader = cluster.elect("a")
    index = leader.node.propose_config(Change(ADD, "d"))
    with pytest.raises(ChangeRefused, match="previous membership change"):
        leader.node.propose_config(Change(ADD, "e"))
    cluster.settle()
    assert leader.node.commit == index
    leader.node.propose_config(Change(ADD, "e"))


def test_a_leader_changes_nothing_before_it_has_committed_an_entry_of_its_term() -> None:
    """The correction of July 2015: otherwise two leaders' changes need not overlap."""
    lone = Lone(filled([1, 1]))
    lone.lead()
    lone.sent()
    with pytest.raises(ChangeRefused, match="not committed an entry of its term"):
        lone.node.propose_config(Change(ADD, "d"))
    lone.step(AppendReply("b", "a", 2, 3, False, 0, 0, 0, 1))
    lone.node.propose_config(Change(ADD, "d"))


def test_a_learner_that_is_far_behind_is_not_promoted() -> None:
    """Thesis 4.2.1"""
    cluster = Cluster("abc", "d", limits=Limits(promote_lag_entries_max=2))
    leader = cluster.elect("a")
    cluster.cut_off("d")
    cluster.write(b"1", b"2", b"3")
    with pytest.raises(ChangeRefused, match="d is 3 entries behind"):
        leader.node.propose_config(Change(PROMOTE, "d"))
    cluster.heal()
    cluster.tick()
    change(cluster, PROMOTE, "d")
    assert leader.node.config.voters == set("abcd")


def test_a_learner_does_not_count() -> None:
    cluster = Cluster("ab", "cde")
    leader = cluster.elect("a")
    cluster.cut_off("b")
    leader.node.propose([b"x"])
    cluster.settle()
    assert (leader.node.commit, leader.data) == (1, [])


def test_an_uncommitted_change_goes_with_its_entry() -> None:
    cluster = Cluster()
    old = cluster.elect("a")
    cluster.cut_off("a")
    old.node.propose_config(Change(REMOVE, "c"))
    cluster.settle()
    assert old.node.config.voters == set("ab")
    cluster.elect("b")
    cluster.write_at("b", b"x")
    cluster.heal()
    cluster.tick()
    assert old.node.config.voters == set("abc")
    assert old.data == [b"x"]


@pytest.mark.parametrize("kind", [REMOVE, DEMOTE])
def test_a_leader_that_goes_leads_until_that_is_committed(kind: ChangeKind) -> None:
    """Thesis 4.2.2: it does not count itself, and steps down once the change is committed."""
    cluster = Cluster()
    leader = cluster.elect("a")
    cluster.cut_off("b")
    leader.node.propose_config(Change(kind, "a"))
    cluster.settle()
    assert (leader.node.role, leader.node.commit) == (Role.LEADER, 1)  # a and c: but a does not count
    cluster.heal()
    cluster.tick()
    assert leader.node.role is Role.FOLLOWER
    (new,) = cluster.leaders()
    assert new in "bc"
    cluster.write(b"goes on")


def test_the_leader_of_a_cluster_of_two_may_go() -> None:
    cluster = Cluster("ab")
    cluster.elect("a")
    change(cluster, REMOVE, "a")
    assert cluster.leaders() == ["b"]
    cluster.write(b"alone")
    assert cluster["b"].data == [b"alone"]


def test_only_a_leader_that_stays_changes_members() -> None:
    cluster = Cluster()
    leader = cluster.elect("a")
    with pytest.raises(NotLeader):
        cluster["b"].node.propose_config(Change(ADD, "d"))
    leader.node.transfer("b")
    with pytest.raises(Busy):
        leader.node.propose_config(Change(ADD, "d"))


def test_the_configuration_of_an_index_is_known_for_its_snapshot() -> None:
    cluster = Cluster()
    leader = cluster.elect("a")
    change(cluster, ADD, "d")
    change(cluster, PROMOTE, "d")
    assert [leader.node.config_at(index) for index in (1, 2, 3)] == [
        Config.of("abc"),
        Config.of("abc", "d"),
        Config.of("abcd"),
    ]


def test_a_restarted_member_knows_the_members() -> None:
    cluster = Cluster()
    cluster.elect("a")
    change(cluster, ADD, "d")
    cluster["b"].restart()
    assert cluster["b"].node.config == Config.of("abc", "d")

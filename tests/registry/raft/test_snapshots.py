"""Snapshots to followers that are too far behind (§7), in chunks."""

from registry.raft.config import Config
from registry.raft.limits import Limits
from registry.raft.memory import MemoryStorage
from registry.raft.messages import (
    Append,
    AppendReply,
    HeartbeatReply,
    InstallSnapshot,
    SnapshotMeta,
    SnapshotReply,
)
from tests.support.raft import Cluster, Lone, filled

LIMITS = Limits(chunk_bytes_max=4)
META = SnapshotMeta(5, 2, Config.of("abc"))


def chunk(
    offset: int, data: bytes, done: bool = False, meta: SnapshotMeta = META, from_: str = "b"
) -> InstallSnapshot:
    return InstallSnapshot(from_, "a", 2, meta, offset, data, done, 1)


def compacted() -> Lone:
    """A leader in term 2 with a snapshot of index 5 and the entries 6 (its no-op) on; b is at 0."""
    storage = filled([1] * 5)
    storage.compact(SnapshotMeta(5, 1, Config.of("abc")), b"0123456789")
    lone = Lone(storage, limits=LIMITS)
    lone.lead()
    lone.sent()
    lone.step(AppendReply("c", "a", 2, 6, False, 0, 0, 0, 1))
    return lone


def chunks(
    lone: Lone, *messages: AppendReply | SnapshotReply | HeartbeatReply
) -> list[tuple[int, bytes, bool]]:
    found = lone.step(*messages)
    return [(m.offset, m.chunk, m.done) for m in found if isinstance(m, InstallSnapshot) and m.to == "b"]


def lost() -> AppendReply:
    return AppendReply("b", "a", 2, 5, True, 0, 0, 0, 1)


def wants(offset: int, index: int = 5) -> SnapshotReply:
    return SnapshotReply("b", "a", 2, index, offset, 1)


# The leader's side


def test_a_follower_behind_the_log_gets_the_snapshot_chunk_by_chunk() -> None:
    lone = compacted()
    assert chunks(lone, lost()) == [(0, b"0123", False)]
    assert lone.node.snapshots_in_use() == {5}
    assert chunks(lone, wants(4)) == [(4, b"4567", False)]
    assert chunks(lone, wants(8)) == [(8, b"89", True)]
    found = lone.step(AppendReply("b", "a", 2, 5, False, 0, 0, 5, 1))
    assert [(m.prev_index, len(m.entries)) for m in found if isinstance(m, Append)] == [(5, 1)]
    assert lone.node.snapshots_in_use() == set()


def test_a_chunk_without_an_answer_is_sent_again_after_an_election_timeout() -> None:
    lone = compacted()
    chunks(lone, lost())
    for _ in range(9):
        lone.node.tick()
        assert chunks(lone, HeartbeatReply("b", "a", 2, 0, 1)) == []
    lone.node.tick()
    assert chunks(lone) == [(0, b"0123", False)]


def test_a_follower_says_where_to_go_on() -> None:
    lone = compacted()
    chunks(lone, lost())
    assert chunks(lone, wants(8)) == [(8, b"89", True)]
    assert chunks(lone, wants(0)) == [(0, b"0123", False)]
    assert chunks(lone, wants(4, index=3)) == []  # of another snapshot


def test_a_newer_snapshot_takes_the_place_of_one_that_is_gone() -> None:
    lone = compacted()
    chunks(lone, lost())
    lone.member.storage.compact(SnapshotMeta(6, 2, Config.of("abc")), b"abcdef")
    assert chunks(lone, wants(4)) == [(0, b"abcd", False)]
    assert chunks(lone, wants(4, index=6)) == [(4, b"ef", True)]


def test_an_empty_snapshot_is_one_chunk() -> None:
    lone = compacted()
    lone.member.storage.compact(SnapshotMeta(6, 2, Config.of("abc")), b"")
    assert chunks(lone, lost()) == [(0, b"", True)]


# The follower's side


def test_chunks_are_written_before_they_are_answered() -> None:
    lone = Lone(filled([1]))
    lone.node.step(chunk(0, b"0123"))
    plan = lone.node.ready()
    assert plan and [c.offset for c in plan.chunks] == [0]
    assert SnapshotReply("a", "b", 2, 5, 4, 1) in plan.messages
    assert plan.install is None


def test_the_last_chunk_installs_and_is_answered_as_an_append() -> None:
    lone = Lone(filled([1]))
    (answer,) = lone.step(chunk(0, b"0123"))
    assert isinstance(answer, SnapshotReply)
    lone.node.step(chunk(4, b"45", done=True))
    plan = lone.node.ready()
    assert plan and plan.install == META and plan.must_sync and plan.entries == ()
    (answer,) = lone.member.carry_out(plan)
    assert answer == AppendReply("a", "b", 2, 5, False, 0, 0, 5, 1)
    assert lone.member.storage.encoded_snapshot() == b"012345"
    status = lone.node.status()
    assert (status.commit, status.last_index, status.durable_index) == (5, 5, 5)


def test_chunks_out_of_order_are_answered_with_what_is_wanted() -> None:
    lone = Lone(filled([1]))
    assert lone.step(chunk(4, b"45")) == [SnapshotReply("a", "b", 2, 5, 0, 1)]
    lone.step(chunk(0, b"0123"))
    assert lone.step(chunk(0, b"0123")) == [SnapshotReply("a", "b", 2, 5, 4, 1)]
    assert lone.step(chunk(8, b"89")) == [SnapshotReply("a", "b", 2, 5, 4, 1)]


def test_another_sender_begins_anew() -> None:
    """Its bytes might differ: another version of Weft may have written them."""
    lone = Lone(filled([1]))
    lone.step(chunk(0, b"0123"))
    lone.node.step(chunk(0, b"abc", from_="c"))
    plan = lone.node.ready()
    assert plan
    lone.member.carry_out(plan)
    assert lone.step(chunk(3, b"d", done=True, from_="c"))
    assert lone.member.storage.encoded_snapshot() == b"abcd"


def test_a_snapshot_of_what_is_committed_is_not_needed() -> None:
    lone = Lone(filled([1, 1, 2, 2, 2, 2]))
    lone.step(Append("b", "a", 2, 6, 2, (), 6, 1))
    assert lone.step(chunk(0, b"x")) == [AppendReply("a", "b", 2, 6, False, 0, 0, 6, 1)]


def test_a_snapshot_of_what_is_in_the_log_commits_it_and_keeps_the_rest() -> None:
    """§7: "If existing log entry has same index and term as snapshot's last included entry, retain log
    entries following it"."""
    lone = Lone(filled([1, 1, 2, 2, 2, 2]))
    assert lone.step(chunk(0, b"x")) == [AppendReply("a", "b", 2, 5, False, 0, 0, 5, 1)]
    assert len(lone.member.log()) == 6
    assert len(lone.member.applied) == 5


def test_a_snapshot_replaces_a_log_in_conflict_and_its_membership() -> None:
    lone = Lone(filled([1] * 8))
    meta = SnapshotMeta(5, 2, Config.of("abx"))
    lone.step(chunk(0, b"x", done=True, meta=meta))
    assert lone.member.log() == []
    assert lone.node.config == Config.of("abx")


def test_while_one_is_installed_no_other_begins() -> None:
    lone = Lone(filled([1]))
    lone.node.step(chunk(0, b"x", done=True))
    plan = lone.node.ready()
    assert plan
    newer = SnapshotMeta(9, 2, Config.of("abc"))
    lone.node.step(chunk(0, b"y", meta=newer))
    lone.node.tick(30)  # nor an election
    assert lone.node.ready() is None
    lone.member.carry_out(plan)
    assert lone.step(chunk(0, b"y", meta=newer)) == [SnapshotReply("a", "b", 2, 9, 1, 1)]


def test_a_server_joins_behind_a_compacted_log() -> None:
    cluster = Cluster("a", "d", limits=LIMITS)
    cluster.members["d"].storage = MemoryStorage()
    cluster["d"].start()
    cluster.elect("a")
    cluster.write(*(b"%d" % number for number in range(20)))
    cluster["a"].storage.compact(SnapshotMeta(15, 1, cluster["a"].node.config), b"0123456789")
    cluster.cut_off("d")
    cluster["d"].storage = MemoryStorage()
    cluster["d"].start()
    cluster["a"].restart()
    cluster.heal()
    cluster.tick(5)
    assert cluster["d"].storage.encoded_snapshot() == b"0123456789"
    assert cluster["d"].node.status().last_index == cluster["a"].node.status().last_index

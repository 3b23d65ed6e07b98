"""What a leader believes of a follower."""

import pytest

from registry.raft.limits import Limits
from registry.raft.messages import Entry, EntryKind, SnapshotMeta
from registry.raft.progress import Progress, ProgressState

LIMITS = Limits(inflight_bytes_max=300, inflight_messages_max=3)


def entries(first: int, count: int, data: int = 0) -> list[Entry]:
    return [Entry(1, index, EntryKind.NORMAL, bytes(data)) for index in range(first, first + count)]


def replicating(match: int = 4) -> Progress:
    progress = Progress(match + 1, now=0)
    progress.accepted(match)
    return progress


def test_a_probe_sends_one_append_and_waits() -> None:
    progress = Progress(5, now=0)
    assert progress.may_send(LIMITS)
    progress.sent(entries(5, 2), commit=3)
    assert not progress.may_send(LIMITS)
    assert progress.next == 5
    progress.accepted(6)
    assert (progress.state, progress.match, progress.next) == (ProgressState.REPLICATE, 6, 7)


def test_replication_is_pipelined_up_to_a_number_of_messages() -> None:
    progress = replicating()
    for first in (5, 6, 7):
        assert progress.may_send(LIMITS)
        progress.sent(entries(first, 1), commit=0)
        assert progress.next == first + 1
    assert not progress.may_send(LIMITS)
    progress.accepted(5)
    assert progress.may_send(LIMITS)


def test_replication_is_pipelined_up_to_a_number_of_bytes() -> None:
    progress = replicating()
    progress.sent(entries(5, 1, data=400), commit=0)
    assert not progress.may_send(LIMITS)
    progress.accepted(5)
    assert (progress.may_send(LIMITS), progress.inflight_bytes) == (True, 0)


def test_an_answer_frees_all_that_it_covers() -> None:
    progress = replicating()
    for first in (5, 6, 7):
        progress.sent(entries(first, 1), commit=0)
    progress.accepted(7)
    assert progress.inflight_bytes == 0
    progress.accepted(6)  # late
    assert (progress.match, progress.next) == (7, 8)


def test_a_rejection_goes_back_to_the_hint_and_probes() -> None:
    progress = replicating()
    progress.sent(entries(5, 3), commit=0)
    progress.rejected(7, hint=5, asked_in=1, round_=1)
    assert (progress.state, progress.next, progress.inflight_bytes) == (ProgressState.PROBE, 6, 0)


@pytest.mark.parametrize(("hint", "next_"), [(0, 5), (4, 5), (6, 7), (99, 7)])
def test_a_probe_never_goes_below_what_matched_nor_forward(hint: int, next_: int) -> None:
    progress = replicating(match=4)
    progress.sent(entries(5, 3), commit=0)
    progress.rejected(7, hint, 1, 1)
    assert progress.next == next_


def test_old_rejections_change_nothing() -> None:
    progress = replicating(match=4)
    progress.rejected(4, hint=0, asked_in=1, round_=1)
    assert (progress.state, progress.next) == (ProgressState.REPLICATE, 5)
    probing = Progress(9, now=0)
    probing.rejected(5, hint=0, asked_in=1, round_=1)
    assert probing.next == 9
    probing.send_snapshot(SnapshotMeta(20, 1))
    probing.rejected(20, hint=0, asked_in=1, round_=1)
    assert probing.state is ProgressState.SNAPSHOT


def test_a_snapshot_ends_when_it_is_installed_even_if_the_log_has_moved_on() -> None:
    progress = replicating(match=4)
    progress.send_snapshot(SnapshotMeta(20, 1))
    assert not progress.may_send(LIMITS)
    progress.accepted(4)
    assert progress.state is ProgressState.SNAPSHOT
    progress.accepted(20)
    assert (progress.state, progress.next, progress.snapshot) == (ProgressState.REPLICATE, 21, None)


def test_a_heartbeats_answer_of_one_that_is_behind_asks_where_it_is() -> None:
    progress = replicating(match=4)
    progress.sent(entries(5, 1), commit=0)
    progress.heartbeat_answered(last_index=5)
    assert progress.nudge
    progress.sent([], commit=0)
    progress.accepted(5)
    progress.heartbeat_answered(last_index=5)
    assert not progress.nudge


def test_a_lost_probe_is_asked_again_after_a_heartbeat_but_a_chunk_is_not() -> None:
    progress = Progress(5, now=0)
    progress.sent([], commit=0)
    progress.heartbeat_answered(9)
    assert progress.may_send(LIMITS)
    progress.send_snapshot(SnapshotMeta(20, 1))
    progress.asked = True
    progress.heartbeat_answered(9)
    assert progress.asked


def test_the_commit_index_counts_as_told_only_as_far_as_the_append_verifies() -> None:
    progress = Progress(5, now=0)
    progress.sent(entries(5, 1), commit=9)
    assert progress.commit_sent == 5


def test_rejections_of_all_that_followed_one_lost_append_count_once() -> None:
    """Else each answer that is still under way would have everything sent, and rejected, again."""
    progress = replicating(match=4)
    progress.rejected(9, hint=4, asked_in=3, round_=3)
    assert progress.state is ProgressState.PROBE
    progress.accepted(4)
    progress.rejected(8, hint=4, asked_in=3, round_=3)
    progress.rejected(8, hint=4, asked_in=2, round_=4)
    assert progress.state is ProgressState.REPLICATE
    progress.rejected(8, hint=4, asked_in=4, round_=4)
    assert progress.state is ProgressState.PROBE


def test_a_copy_of_a_chunk_s_answer_sends_no_chunk() -> None:
    progress = replicating(match=4)
    progress.send_snapshot(SnapshotMeta(20, 1))
    progress.asked = True
    progress.chunk_answered(100, asked_in=2, round_=2)
    assert (progress.offset, progress.asked) == (100, False)
    progress.asked = True
    progress.chunk_answered(100, asked_in=2, round_=2)
    assert (progress.offset, progress.asked) == (100, True)


def test_a_snapshot_begins_anew_for_a_follower_that_restarted() -> None:
    progress = replicating(match=4)
    progress.send_snapshot(SnapshotMeta(20, 1))
    progress.chunk_answered(100, asked_in=2, round_=2)
    progress.chunk_answered(0, asked_in=3, round_=3)
    assert progress.offset == 0
    progress.chunk_answered(100, asked_in=3, round_=3)
    progress.chunk_answered(0, asked_in=3, round_=4)  # a copy
    assert progress.offset == 100

"""Frames and lanes: whatever the pieces are, messages come out whole and in order, or are refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.replica import limits
from registry.replica.errors import PeerRefused
from registry.replica.lanes import HEAD_BYTES, Inbox, Item, Kind, Lane, Outbox

SIZE_MAX = 1024 * 1024
HEAD = struct.Struct(">IBBB")


def _inbox() -> Inbox:
    return Inbox(SIZE_MAX)


def _all(outbox: Outbox, size_max: int = 2**30) -> bytes:
    return b"".join(iter(lambda: outbox.take(size_max), b""))


def test_a_message_is_one_frame() -> None:
    outbox = Outbox()
    outbox.put(Lane.WORK, Kind.CALL, b"abc")
    assert outbox.take(1000) == HEAD.pack(3, Kind.CALL, Lane.WORK, 1) + b"abc"
    assert outbox.take(1000) == b"" and outbox.waiting == outbox.waiting_bytes == 0


def test_a_snapshot_never_holds_up_a_heartbeat() -> None:
    outbox, inbox = Outbox(), _inbox()
    outbox.put(Lane.BULK, Kind.MESSAGE, b"s" * SIZE_MAX)
    sent = outbox.take(1)
    assert len(sent) == limits.FRAME_BYTES_MAX + HEAD_BYTES
    outbox.put(Lane.WORK, Kind.CALL, b"call")
    outbox.put(Lane.BEAT, Kind.MESSAGE, b"beat")
    found = inbox.receive(sent + outbox.take(1) + outbox.take(1))
    assert found == [Item(Kind.MESSAGE, b"beat"), Item(Kind.CALL, b"call")]
    assert inbox.receive(_all(outbox, 1)) == [Item(Kind.MESSAGE, b"s" * SIZE_MAX)]


def test_calls_that_have_not_begun_to_leave_can_be_withdrawn() -> None:
    outbox = Outbox()
    outbox.put(Lane.WORK, Kind.CALL, b"x" * (limits.FRAME_BYTES_MAX + 1))
    outbox.put(Lane.WORK, Kind.MESSAGE, b"kept")
    for _ in range(3):
        outbox.put(Lane.WORK, Kind.CALL, b"call")
    outbox.take(1)
    assert outbox.withdraw(Lane.WORK, Kind.CALL) == 3
    assert outbox.waiting == 2 and outbox.waiting_bytes == 1 + len(b"kept")
    assert outbox.withdraw(Lane.WORK, Kind.CALL) == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (HEAD.pack(limits.FRAME_BYTES_MAX + 1, 1, 0, 1), "a frame says that it has 65537 bytes"),
        (b"\xff" * HEAD_BYTES, "a frame says that it has 4294967295 bytes"),
        (HEAD.pack(0, 99, 0, 1), "unknown kind"),
        (HEAD.pack(0, 0, 0, 1), "unknown kind"),
        (HEAD.pack(0, 1, 3, 1), "unknown kind"),
        (HEAD.pack(0, 1, 0, 2), "unknown kind"),
        (HEAD.pack(0, 1, 0, 0), "without content"),
        (HEAD.pack(1, 1, 0, 0) + b"x" + HEAD.pack(1, 2, 0, 1) + b"y", "of kind 1 goes on as one of kind 2"),
    ],
)
def test_bad_frames_are_refused_with_one_clear_line(data: bytes, why: str) -> None:
    with pytest.raises(PeerRefused, match=why) as refusal:
        _inbox().receive(data)
    assert "same version" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_message_above_the_cap_is_refused_before_it_is_whole() -> None:
    inbox = Inbox(limits.OPENING_BYTES_MAX - 1)
    whole = HEAD.pack(limits.OPENING_BYTES_MAX, Kind.OPENING, 0, 1) + b"x" * limits.OPENING_BYTES_MAX
    with pytest.raises(PeerRefused, match="at most 65535 are taken"):
        inbox.receive(whole)
    inbox = Inbox(100_000)
    piece = HEAD.pack(60_000, Kind.MESSAGE, Lane.BULK, 0) + b"x" * 60_000
    assert inbox.receive(piece) == []
    with pytest.raises(PeerRefused, match="120000 bytes or more"):
        inbox.receive(piece)


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(Lane),
        st.sampled_from(Kind),
        st.one_of(st.binary(max_size=20), st.integers(0, 3 * limits.FRAME_BYTES_MAX).map(bytes)),
    ),
    max_size=12,
)


@given(MESSAGES, st.lists(st.integers(1, 3 * limits.FRAME_BYTES_MAX), min_size=1), st.data())
def test_messages_come_out_whole_and_in_the_order_of_their_lane(
    messages: list[tuple[Lane, Kind, bytes]], cuts: list[int], data: st.DataObject
) -> None:
    """Whatever was put when, however much was taken at a time, and however TCP cut it."""
    outbox, inbox = Outbox(), _inbox()
    sent = b""
    for lane, kind, body in messages:
        outbox.put(lane, kind, body)
        if data.draw(st.booleans()):
            sent += outbox.take(data.draw(st.integers(1, 2 * limits.FRAME_BYTES_MAX)))
    sent += _all(outbox)
    assert outbox.waiting == outbox.waiting_bytes == 0
    found: list[Item] = []
    at = number = 0
    while at < len(sent):
        size = cuts[number % len(cuts)]
        found += inbox.receive(sent[at : at + size])
        at, number = at + size, number + 1
    expected = [Item(kind, body) for _, kind, body in messages]
    assert sorted(found) == sorted(expected)
    for lane in Lane:
        of_lane = [Item(kind, body) for its, kind, body in messages if its is lane]
        left = list(found)
        for item in of_lane:  # in this order among the others
            left = left[left.index(item) + 1 :]


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_any_bytes_are_messages_or_refused(pieces: list[bytes]) -> None:
    inbox = _inbox()
    try:
        for piece in pieces:
            for item in inbox.receive(piece):
                assert item.kind in set(Kind) and len(item.body) <= SIZE_MAX
    except PeerRefused as error:
        assert "same version" in str(error)


@given(
    st.lists(
        st.tuples(st.integers(0, 70), st.integers(0, 7), st.integers(0, 3), st.integers(0, 2)), max_size=12
    )
)
def test_frames_that_almost_fit_are_messages_or_refused(heads: list[tuple[int, int, int, int]]) -> None:
    inbox = Inbox(100)
    try:
        for size, kind, lane, last in heads:
            for item in inbox.receive(HEAD.pack(size, kind, lane, last) + b"x" * size):
                assert item.kind in set(Kind) and len(item.body) <= 100
    except PeerRefused as error:
        assert "same version" in str(error)

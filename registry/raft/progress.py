"""What a leader knows of one follower, and how much it may send it (thesis 10.2.1: pipelining).

PROBE      where the logs agree is unknown: one Append at a time
REPLICATE  they agree at `match`: Appends go out without waiting, within the bounds of bytes and messages
SNAPSHOT   what it needs is no longer in the log: one chunk at a time (§7)
"""

from collections import deque
from collections.abc import Sequence
from enum import StrEnum

from .limits import Limits
from .log import size
from .messages import Entry, SnapshotMeta


class ProgressState(StrEnum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """`match`: the logs agree up to here, on its disk. `next`: the first entry of the next Append."""

    __slots__ = (
        "_fell_back_in",
        "_inflight",
        "asked",
        "chunk_sent_at",
        "commit_sent",
        "heard_at",
        "inflight_bytes",
        "match",
        "next",
        "nudge",
        "offset",
        "round",
        "snapshot",
        "state",
    )

    def __init__(self, next_index: int, now: int) -> None:
        self.state = ProgressState.PROBE
        self.match = 0
        self.next = next_index
        self.asked = False  # PROBE: an Append is under way; SNAPSHOT: a chunk is
        self.nudge = True  # send an Append even without news: its answer tells where the follower is
        self.commit_sent = 0
        self.round = 0  # the newest round that it has answered
        self.heard_at = now  # tick of its last answer
        self._inflight: deque[tuple[int, int]] = deque()  # (last index, bytes) per unanswered Append
        self.inflight_bytes = 0
        self.snapshot: SnapshotMeta | None = None
        self._fell_back_in = 0  # the round in which it last went back in the log, or in a snapshot
        self.offset = 0
        self.chunk_sent_at = 0

    def may_send(self, limits: Limits) -> bool:
        """Whether entries may go out now."""
        if self.state is ProgressState.REPLICATE:
            return (
                self.inflight_bytes < limits.inflight_bytes_max
                and len(self._inflight) < limits.inflight_messages_max
            )
        return self.state is ProgressState.PROBE and not self.asked

    def sent(self, entries: Sequence[Entry], commit: int) -> None:
        """An Append with these entries and this commit index went out."""
        self.nudge = False
        last = self.next + len(entries) - 1
        self.commit_sent = max(self.commit_sent, min(commit, last))
        if self.state is ProgressState.PROBE:
            self.asked = True
        elif entries:
            count = size(entries)
            self._inflight.append((last, count))
            self.inflight_bytes += count
            self.next = last + 1

    def accepted(self, index: int) -> None:
        """It says that the logs agree up to `index`, on its disk."""
        self.match = max(self.match, index)
        self.next = max(self.next, self.match + 1)
        while self._inflight and self._inflight[0][0] <= index:
            self.inflight_bytes -= self._inflight.popleft()[1]
        installed = self.snapshot is not None and self.snapshot.index <= self.match
        if self.state is ProgressState.PROBE or installed:
            self._become(ProgressState.REPLICATE, self.match + 1)

    def rejected(self, index: int, hint: int, asked_in: int, round_: int) -> None:
        """It has no such entry at `index`; the logs may agree at `hint` (§5.3). It was asked in the round
        `asked_in`, and `round_` is the leader's newest.

        One lost Append makes it reject all that were sent behind it. If each of these answers counted once
        it replicates again, each would have everything sent anew, and answered anew, without end; so it
        falls back once per round. Should it be necessary again, the next heartbeat's answer brings it up.
        """
        current = {
            ProgressState.PROBE: index == self.next - 1,
            ProgressState.REPLICATE: index > self.match and asked_in > self._fell_back_in,
            ProgressState.SNAPSHOT: False,
        }
        if current[self.state]:  # otherwise an old answer
            if self.state is ProgressState.REPLICATE:
                self._fell_back_in = round_
            self._become(ProgressState.PROBE, max(min(index, hint + 1), self.match + 1))

    def send_snapshot(self, meta: SnapshotMeta) -> None:
        """The log no longer holds what it needs next."""
        self._become(ProgressState.SNAPSHOT, meta.index + 1)
        self.snapshot = meta

    def chunk_answered(self, offset: int, asked_in: int, round_: int) -> None:
        """It wants the snapshot from `offset` on. Only what moves the transfer is answered by a chunk: if
        each copy of an answer were, every copy would live on to the end (RFC 1123, 4.2.3.1). Back, as after
        a restart of the follower, it goes once per round.
        """
        back = offset < self.offset
        if offset == self.offset or (back and asked_in <= self._fell_back_in):
            return  # a copy
        if back:
            self._fell_back_in = round_
        self.offset = offset
        self.asked = False

    def answered(self, round_: int, now: int) -> None:
        """Any answer of the current term: it follows this leader."""
        self.round = max(self.round, round_)
        self.heard_at = now

    def lacks_commit(self, commit: int) -> bool:
        """It has all that is committed, and was not told so."""
        return self.commit_sent < commit <= self.match and self.state is ProgressState.REPLICATE

    def heartbeat_answered(self, last_index: int) -> None:
        """Behind although it hears us: something was lost on the way, so ask where it is."""
        self.asked = self.asked and self.state is ProgressState.SNAPSHOT
        self.nudge = self.nudge or self.match < last_index

    def _become(self, state: ProgressState, next_index: int) -> None:
        self.state = state
        self.next = next_index
        self.asked = False
        self.snapshot, self.offset = None, 0
        self._inflight.clear()
        self.inflight_bytes = 0

"""What servers say to each other, and what they keep.

Every message carries the term of its sender (§5.1). A `round` counts a leader's rounds of contact: the
answer repeats it, which proves that the sender still followed this leader after the round began (thesis
6.4). Bytes on the wire are the transport's business.

Entries and messages are never changed once made. They are not frozen: that would make each take four times as
long to make, and one is made per entry and server.
"""

from dataclasses import dataclass
from enum import IntEnum

from .config import NOBODY, Config


class EntryKind(IntEnum):
    NORMAL = 0  # a command of the state machine
    NOOP = 1  # a new leader's first entry (§8)
    CONFIG = 2  # data is a `Config`


@dataclass(slots=True)
class Entry:
    """One entry of the log. `index` counts from 1."""

    term: int
    index: int
    kind: EntryKind
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What must be on disk before a message that depends on it leaves (§5.1, figure 2).

    `commit` is a help for a restart: never above what was durable when this was written.
    """

    term: int = 0
    vote: str = ""
    commit: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot replaces: the log up to `index`, whose entry had `term`; `config` as of there.

    Index 0 is no snapshot but the beginning: its `config` is that of a bootstrapped cluster, or empty for
    a server that is to be added to one.
    """

    index: int = 0
    term: int = 0
    config: Config = NOBODY


@dataclass(slots=True)
class PreVote:
    """Would you vote for me in `term`? Changes nothing at the receiver (thesis 9.6)."""

    from_: str
    to: str
    term: int
    last_index: int
    last_term: int


@dataclass(slots=True)
class PreVoteReply:
    """`term` is that of the question when granted, the replier's own when not."""

    from_: str
    to: str
    term: int
    granted: bool


@dataclass(slots=True)
class Vote:
    """RequestVote (§5.2). `transfer`: the old leader asked for it, so its lease is no reason to refuse."""

    from_: str
    to: str
    term: int
    last_index: int
    last_term: int
    transfer: bool = False


@dataclass(slots=True)
class VoteReply:
    from_: str
    to: str
    term: int
    granted: bool


@dataclass(slots=True)
class Append:
    """AppendEntries (§5.3). Without entries it still verifies `prev` and carries the commit index."""

    from_: str
    to: str
    term: int
    prev_index: int
    prev_term: int
    entries: tuple[Entry, ...]
    commit: int
    round: int


@dataclass(slots=True)
class AppendReply:
    """Accepted: the logs agree up to `index`. Rejected: they do not at `index`, the `prev_index` asked.

    The hint is the last place where they may agree: the largest index up to `prev_index` whose term is
    not above `prev_term`, with its term (§5.3, the last paragraphs).
    """

    from_: str
    to: str
    term: int
    index: int
    rejected: bool
    hint_index: int
    hint_term: int
    commit: int  # what the replier knows to be committed
    round: int


@dataclass(slots=True)
class Heartbeat:
    """I lead (§5.2), and the entry `commit` of `commit_term` is committed. It verifies no log: whoever has
    that very entry has all before it (§5.3, log matching); to anyone else it says nothing."""

    from_: str
    to: str
    term: int
    round: int
    commit: int = 0
    commit_term: int = 0


@dataclass(slots=True)
class Commit:
    """The entry `index` of `entry_term` is committed, as a heartbeat says it, between two of them. Nobody
    answers it; when it is lost, the next heartbeat says the same."""

    from_: str
    to: str
    term: int
    index: int
    entry_term: int


@dataclass(slots=True)
class HeartbeatReply:
    from_: str
    to: str
    term: int
    commit: int
    round: int


@dataclass(slots=True)
class InstallSnapshot:
    """One chunk of a snapshot (§7): bytes of its encoding from `offset` on."""

    from_: str
    to: str
    term: int
    meta: SnapshotMeta
    offset: int
    chunk: bytes
    done: bool
    round: int


@dataclass(slots=True)
class SnapshotReply:
    """Send the snapshot of `index` from `offset` on. (A whole one is answered by AppendReply.)"""

    from_: str
    to: str
    term: int
    index: int
    offset: int
    round: int


@dataclass(slots=True)
class TimeoutNow:
    """The leader hands over: start an election at once (thesis 3.10)."""

    from_: str
    to: str
    term: int


Message = (
    PreVote
    | PreVoteReply
    | Vote
    | VoteReply
    | Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | Commit
    | InstallSnapshot
    | SnapshotReply
    | TimeoutNow
)

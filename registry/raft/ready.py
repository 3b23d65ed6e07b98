"""The plan: what the driver does next, in which order.

    1. `messages_first` leave at once. They depend on nothing that is still to be written: a leader may
       replicate in parallel with writing its own disk (thesis 10.2.1).
    2. `chunks`, then `install`, then `entries`, and `hard_state` are written; synced if `must_sync`.
    3. Only then `messages` leave (figure 2: "Updated on stable storage before responding to RPCs").
    4. `committed` are applied, in order, and `reads` answered once their index is applied.
    5. `Node.advance(ready)`: step 2 is done. (Applying may still go on.)

While a Ready is being written, `Node.ready` may be called again. Readies are written and advanced in the
order of `number`, and `messages` of one leave only after every earlier one was written as well.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from .config import Config
from .messages import Entry, HardState, InstallSnapshot, Message, SnapshotMeta


class Role(IntEnum):
    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


class Soft(NamedTuple):
    """What need not be stored. `leader` is "" while none is known."""

    role: Role
    term: int
    leader: str


@dataclass(slots=True)
class Read:
    """A confirmed read: the state at `index`, or any later one, is linearizable for it."""

    token: int
    index: int


@dataclass(slots=True)
class Ready:
    number: int
    messages_first: tuple[Message, ...]
    hard_state: HardState | None
    """To write, when not None. A newer one replaces all older ones."""
    chunks: tuple[InstallSnapshot, ...]
    """Pieces of a snapshot that is being received, in order. Offset 0 begins it anew."""
    install: SnapshotMeta | None
    """The chunks so far are whole: they replace the state and the complete log (§7)."""
    entries: tuple[Entry, ...]
    """To write. They replace every entry held at the index of the first one or above."""
    must_sync: bool
    """Written data must be durable before step 3; false when only a commit index was noted."""
    messages: tuple[Message, ...]
    committed: tuple[Entry, ...]
    """To apply: in index order, without a gap, each exactly once, all of them on this server's disk."""
    reads: tuple[Read, ...]
    reads_lost: tuple[int, ...]
    """Tokens of reads that this server cannot confirm any more: it does not lead."""
    config: Config | None
    """Not None when the membership in force changed: it holds from the moment it is in the log."""
    soft: Soft | None
    """Not None when role, term or known leader changed. What this server proposed in a term and what did not
    come back in `committed` has an unknown outcome once it does not lead in that term any more; it may have
    lost and won leadership between two plans, so compare the term."""

"""One server's part in Raft: the public face of the core."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .config import Change, Config
from .limits import LIMITS, Limits
from .messages import Message
from .ready import Ready, Role
from .storage import Storage


class Chance(Protocol):
    """What the core needs of a `random.Random`."""

    def randrange(self, stop: int, /) -> int:
        """A number in 0 <= n < stop."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What a leader knows of another server."""

    id: str
    voter: bool
    state: str  # "probe", "replicate" or "snapshot"
    match: int
    next: int
    inflight_bytes: int
    heard_ticks_ago: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    id: str
    role: Role
    term: int
    vote: str
    leader: str
    commit: int
    last_index: int
    durable_index: int
    config: Config
    config_index: int
    config_committed: bool
    transfer_to: str
    peers: tuple[PeerStatus, ...]  # empty unless this server leads


class Node:
    """Raft for one server. No method blocks; none but the constructor and `ready` reads the storage much.

    `election_ticks` E: a follower that hears nothing starts an election after E to 2E ticks. A leader sends
    a heartbeat every `heartbeat_ticks`, and steps down after E ticks without a majority.
    """

    id: str

    def __init__(
        self,
        node_id: str,
        storage: Storage,
        *,
        chance: Chance,
        election_ticks: int = 10,
        heartbeat_ticks: int = 1,
        limits: Limits = LIMITS,
    ) -> None:
        """Resumes from what `storage` holds. Committed entries above snapshot().index come (again) in
        `Ready.committed`: the state machine starts from that snapshot."""
        raise NotImplementedError

    # Input

    def tick(self) -> None:
        """One unit of time has passed."""
        raise NotImplementedError

    def step(self, message: Message) -> None:
        """A message arrived; duplicates, delays and any order are fine. Its `from_` was authenticated."""
        raise NotImplementedError

    def propose(self, data: Sequence[bytes]) -> range:
        """Appends commands to the leader's log; returns their indices, their term is `term`.

        Their outcome: the entry of that index and term comes in `Ready.committed`; another one at that
        index means that it is lost; loss of leadership before either means that it is unknown.
        Raises NotLeader or Busy; then none was appended.
        """
        raise NotImplementedError

    def propose_config(self, change: Change) -> int:
        """Appends a membership change (thesis 4.1); in force at once, done when its index is committed.

        Raises NotLeader, Busy, or ChangeRefused: while the previous change is uncommitted, before this
        leader has committed an entry of its own term, for a learner that is too far behind.
        """
        raise NotImplementedError

    def read(self, token: int) -> None:
        """Asks for a linearizable read (thesis 6.4): `Ready.reads` or `Ready.reads_lost` brings the token.

        Raises NotLeader or Busy.
        """
        raise NotImplementedError

    def lease_read(self, now_tick: int) -> int | None:
        """The index to read at without asking anyone, or None: use `read` (thesis 6.4.1).

        `now_tick` is `now` plus the ticks that are due by the monotonic clock but not yet delivered: after a
        pause of the process, ticks lag. Correct only under `Limits.clock_drift_percent`.
        """
        raise NotImplementedError

    def transfer(self, to: str = "") -> str:
        """Begins to hand leadership to a voter (thesis 3.10): "" takes the one whose log is longest.

        Returns its id. It shows in `Ready.soft` when done; given up after E ticks. Meanwhile proposals are
        Busy. Raises NotLeader or ChangeRefused (no such voter).
        """
        raise NotImplementedError

    def campaign(self) -> None:
        """Starts an election now, with a pre-vote, if this server is a voter and does not lead."""
        raise NotImplementedError

    def step_down(self) -> None:
        """Stops leading, for instance with a full disk; does not campaign for the next E ticks."""
        raise NotImplementedError

    # Output

    def ready(self) -> Ready | None:
        """The next plan, None when there is nothing to do. Each thing is handed out once."""
        raise NotImplementedError

    def advance(self, ready: Ready) -> None:
        """What `ready` asked to write is on disk, and `storage` shows it. In order of `ready.number`."""
        raise NotImplementedError

    # What is known

    @property
    def now(self) -> int:
        """Ticks so far."""
        raise NotImplementedError

    @property
    def role(self) -> Role:
        raise NotImplementedError

    @property
    def term(self) -> int:
        raise NotImplementedError

    @property
    def leader(self) -> str:
        """The leader's id; "" while none is known."""
        raise NotImplementedError

    @property
    def commit(self) -> int:
        raise NotImplementedError

    @property
    def config(self) -> Config:
        """The configuration in force: the newest in the log, committed or not (thesis 4.1)."""
        raise NotImplementedError

    def config_at(self, index: int) -> Config:
        """The configuration as of a committed index: what a snapshot of that index must say."""
        raise NotImplementedError

    def snapshots_in_use(self) -> frozenset[int]:
        """Indices of snapshots that are being sent: keep them a while when a newer one is made."""
        raise NotImplementedError

    def status(self) -> NodeStatus:
        raise NotImplementedError

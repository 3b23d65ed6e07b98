"""One server's part in Raft: the public face of the core."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .config import Change, Config
from .election import on_pre_vote, on_pre_vote_reply, on_vote, on_vote_reply, pre_campaign
from .errors import NotLeader
from .follower import on_append, on_commit, on_heartbeat, on_install, on_timeout_now
from .leader import Leader
from .limits import LIMITS, Limits
from .messages import (
    Append,
    AppendReply,
    Commit,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteReply,
    SnapshotReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from .ready import Ready, Role, Soft
from .server import Chance, Server
from .storage import Storage

_ROUNDS = (Append, Heartbeat, InstallSnapshot)  # of a leader, to be answered
_FROM_LEADER = (*_ROUNDS, Commit)

_HANDLERS: dict[type[Message], Callable[[Server, Any], None]] = {
    PreVote: on_pre_vote,
    PreVoteReply: on_pre_vote_reply,
    Vote: on_vote,
    VoteReply: on_vote_reply,
    Append: on_append,
    Heartbeat: on_heartbeat,
    Commit: on_commit,
    InstallSnapshot: on_install,
    TimeoutNow: on_timeout_now,
}

_LEADER_HANDLERS: dict[type[Message], Callable[[Leader, Any], None]] = {
    AppendReply: Leader.on_append_reply,
    HeartbeatReply: Leader.on_heartbeat_reply,
    SnapshotReply: Leader.on_snapshot_reply,
}

# Once term and vote are on disk these say nothing that is not (thesis 10.2.1): a leader counts its own
# disk only when it is written, and a heartbeat's answer must not wait for a slow disk.
_NEED_NO_ENTRIES = (Append, Commit, Heartbeat, HeartbeatReply, InstallSnapshot, TimeoutNow)


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
        `Ready.committed`: the state machine starts from that snapshot. Raises InvariantBroken when the log
        is shorter than what was committed."""
        self._server = Server(node_id, storage, chance, election_ticks, heartbeat_ticks, limits)
        self.id = node_id
        self._number = 0
        self._hard = self._hard_on_disk = (self._server.term, self._server.vote)
        self._hard_writes: dict[int, tuple[int, str]] = {}
        self._soft = self._soft_now()
        self._config = self._server.log.config

    # Input

    def tick(self, count: int = 1) -> None:
        """`count` units of time have passed. Deliver ticks that are due before messages that arrived after
        them, and all ticks of a pause at once."""
        server = self._server
        server.now += count
        if server.leading:
            server.leading.tick()
        elif server.now >= server.deadline:
            self.campaign()

    def step(self, message: Message) -> None:
        """A message arrived; duplicates, delays and any order are fine. Its `from_` was authenticated."""
        server = self._server
        if message.to != server.id:
            return
        if type(message) is not PreVote and not self._settle_term(message):
            return
        if type(message) in _LEADER_HANDLERS:
            if server.leading:
                _LEADER_HANDLERS[type(message)](server.leading, message)
        else:
            _HANDLERS[type(message)](server, message)

    def _settle_term(self, message: Message) -> bool:
        """Follows a newer term, answers an older one with ours (§5.1). False: nothing else is to be done."""
        server = self._server
        if message.term == server.term or (isinstance(message, PreVoteReply) and message.granted):
            return True
        if message.term < server.term:
            self._refuse_old_term(message)
            return isinstance(message, PreVoteReply)
        if isinstance(message, Vote):
            if server.has_live_leader() and not message.transfer:
                return False  # of a server that was removed, or cut off from the leader (thesis 4.2.3)
        elif not isinstance(message, (*_FROM_LEADER, TimeoutNow)) and not self._is_member(message.from_):
            return False  # a removed server deposes nobody
        server.follow(message.term, message.from_ if isinstance(message, _FROM_LEADER) else "")
        return True

    def _refuse_old_term(self, message: Message) -> None:
        """The answer deposes an old leader, also one that a new term of pre-vote times could not reach."""
        server = self._server
        if isinstance(message, Vote):
            server.outbox.append(VoteReply(server.id, message.from_, server.term, False))
        elif isinstance(message, _ROUNDS):
            server.outbox.append(
                AppendReply(
                    server.id, message.from_, server.term, 0, True, 0, 0, server.log.commit, message.round
                )
            )

    def _is_member(self, other: str) -> bool:
        return self._server.log.config.get(other) is not None

    def propose(self, data: Sequence[bytes]) -> range:
        """Appends commands to the leader's log; returns their indices, their term is `term`.

        Their outcome: the entry of that index and term comes in `Ready.committed`; another one at that
        index means that it is lost; loss of leadership before either means that it is unknown.
        Raises NotLeader or Busy; then none was appended.
        """
        return self._leading().propose(data)

    def propose_config(self, change: Change) -> int:
        """Appends a membership change (thesis 4.1); in force at once, done when its index is committed.

        Raises NotLeader, Busy, or ChangeRefused: while the previous change is uncommitted, before this
        leader has committed an entry of its own term, for a learner that is too far behind.
        """
        return self._leading().propose_config(change)

    def read(self, token: int) -> None:
        """Asks for a linearizable read (thesis 6.4): `Ready.reads` or `Ready.reads_lost` brings the token.

        Raises NotLeader or Busy.
        """
        self._leading().read(token)

    def lease_read(self, now_tick: int) -> int | None:
        """The index to read at without asking anyone, or None: use `read` (thesis 6.4.1).

        `now_tick` is `now` plus the ticks that are due by the monotonic clock but not yet delivered: after a
        pause of the process, ticks lag. Correct only under `Limits.clock_drift_percent`.
        """
        leading = self._server.leading
        return leading.lease_read(now_tick) if leading else None

    @property
    def commit_untold(self) -> bool:
        """Whether a follower has committed entries and does not know it. The next entries will tell it, or
        the next heartbeat; a driver that sees neither coming calls `tell_commit` before long."""
        leading = self._server.leading
        return leading is not None and leading.commit_untold

    def tell_commit(self) -> None:
        """Has the commit index sent to followers that would have to wait for it."""
        if self._server.leading:
            self._server.leading.tell_commit()

    def learn_commit(self, index: int, term: int) -> None:
        """Somebody who applied the entry of this index and term says so: it is committed."""
        self._server.log.learn_commit(index, term)

    def transfer(self, to: str = "") -> str:
        """Begins to hand leadership to a voter (thesis 3.10): "" takes the one whose log is longest.

        Returns its id. It shows in `Ready.soft` when done; given up after E ticks. Meanwhile proposals are
        Busy. Raises NotLeader or ChangeRefused (no such voter).
        """
        return self._leading().transfer(to)

    def campaign(self) -> None:
        """Starts an election now, with a pre-vote, if this server is a voter and does not lead."""
        server = self._server
        if server.may_campaign and not server.leading and not server.log.installing:
            pre_campaign(server)

    def step_down(self) -> None:
        """Stops leading, for instance with a full disk; does not campaign for the next E ticks."""
        self._server.follow(self._server.term, "" if self._server.leading else self._server.leader)
        self._server.reset_timer()

    def _leading(self) -> Leader:
        if self._server.leading is None:
            raise NotLeader(self._server.leader)
        return self._server.leading

    # Output

    def ready(self) -> Ready | None:
        """The next plan, None when there is nothing to do. Each thing is handed out once."""
        server, log = self._server, self._server.log
        if server.leading:
            server.leading.flush()
        if not self._has_news():
            return None
        self._number += 1
        installing = log.installing if any(chunk.done for chunk in server.chunks) else None
        entries = tuple(log.take_unwritten())
        hard = self._take_hard(bool(entries or installing))
        first, after = self._take_messages()
        plan = Ready(
            number=self._number,
            messages_first=first,
            hard_state=hard,
            chunks=tuple(server.chunks),
            install=installing,
            entries=entries,
            must_sync=hard is not None,
            messages=after,
            committed=tuple(log.take_committed(server.limits.committed_bytes_max)),
            reads=tuple(server.reads),
            reads_lost=tuple(server.reads_lost),
            config=self._take_config(),
            soft=self._take_soft(),
        )
        server.chunks, server.reads, server.reads_lost = [], [], []
        log.writing(plan.number)
        if hard:
            self._hard_writes[plan.number] = (hard.term, hard.vote)
        return plan

    def advance(self, ready: Ready) -> None:
        """What `ready` asked to write is on disk, and `storage` shows it. In order of `ready.number`."""
        server = self._server
        server.log.written(ready.number)
        self._hard_on_disk = self._hard_writes.pop(ready.number, self._hard_on_disk)
        if server.leading:
            server.leading.advance_commit()

    def _has_news(self) -> bool:
        server = self._server
        return bool(
            server.outbox
            or server.log.has_news
            or server.reads
            or server.reads_lost
            or server.chunks
            or self._hard != (server.term, server.vote)
            or self._soft != self._soft_now()
            or self._config is not server.log.config
        )

    def _take_messages(self) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
        server = self._server
        outbox, server.outbox = server.outbox, []
        if self._hard_on_disk != (server.term, server.vote):
            return (), tuple(outbox)
        first = tuple(message for message in outbox if isinstance(message, _NEED_NO_ENTRIES))
        return first, tuple(message for message in outbox if not isinstance(message, _NEED_NO_ENTRIES))

    def _take_hard(self, writes_anyway: bool) -> HardState | None:
        """The commit index alone is worth no write."""
        server = self._server
        now = (server.term, server.vote)
        if now == self._hard and not writes_anyway:
            return None
        self._hard = now
        return HardState(server.term, server.vote, min(server.log.commit, server.log.durable))

    def _take_soft(self) -> Soft | None:
        now = self._soft_now()
        changed = now != self._soft
        self._soft = now
        return now if changed else None

    def _soft_now(self) -> Soft:
        return Soft(self._server.role, self._server.term, self._server.leader)

    def _take_config(self) -> Config | None:
        config = self._server.log.config
        changed = config is not self._config
        self._config = config
        return config if changed else None

    # What is known

    @property
    def now(self) -> int:
        """Ticks so far."""
        return self._server.now

    @property
    def role(self) -> Role:
        return self._server.role

    @property
    def term(self) -> int:
        return self._server.term

    @property
    def leader(self) -> str:
        """The leader's id; "" while none is known."""
        return self._server.leader

    @property
    def commit(self) -> int:
        return self._server.log.commit

    @property
    def config(self) -> Config:
        """The configuration in force: the newest in the log, committed or not (thesis 4.1)."""
        return self._server.log.config

    def term_at(self, index: int) -> int:
        """The term of a committed entry; 0 where the log no longer has it."""
        return self._server.log.term(index) or 0

    def config_at(self, index: int) -> Config:
        """The configuration as of a committed index: what a snapshot of that index must say."""
        return self._server.log.config_at(index)

    def snapshots_in_use(self) -> frozenset[int]:
        """Indices of snapshots that are being sent: keep them a while when a newer one is made."""
        leading = self._server.leading
        progresses = leading.progress.values() if leading else ()
        return frozenset(progress.snapshot.index for progress in progresses if progress.snapshot)

    def status(self) -> NodeStatus:
        server, log = self._server, self._server.log
        return NodeStatus(
            id=self.id,
            role=server.role,
            term=server.term,
            vote=server.vote,
            leader=server.leader,
            commit=log.commit,
            last_index=log.last_index,
            durable_index=log.durable,
            config=log.config,
            config_index=log.config_index,
            config_committed=log.config_index <= log.commit,
            transfer_to=server.leading.transfer_to if server.leading else "",
            peers=self._peers(),
        )

    def _peers(self) -> tuple[PeerStatus, ...]:
        server, leading = self._server, self._server.leading
        return tuple(
            PeerStatus(
                id=peer,
                voter=peer in server.log.voters,
                state=progress.state,
                match=progress.match,
                next=progress.next,
                inflight_bytes=progress.inflight_bytes,
                heard_ticks_ago=server.now - progress.heard_at,
            )
            for peer, progress in (leading.progress.items() if leading else ())
        )

"""What a leader does (figure 2, "Leaders"): from its election until it steps down."""

from collections import deque
from collections.abc import Sequence

from weft.errors import invariant

from .config import Change, ChangeKind
from .errors import Busy, ChangeRefused
from .limits import ENTRY_OVERHEAD_BYTES
from .messages import (
    Append,
    AppendReply,
    Commit,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    SnapshotReply,
    TimeoutNow,
)
from .progress import Progress, ProgressState
from .quorum import agreed, majority
from .ready import Role
from .rounds import Rounds
from .server import Server


class Leader:
    """Made when an election is won; dropped by `Server.follow`."""

    def __init__(self, server: Server) -> None:
        server.role = Role.LEADER
        server.leader = server.id
        self._server = server
        self._log = server.log
        self.rounds = Rounds()
        self.progress: dict[str, Progress] = {}
        self.transfer_to = ""
        self._transfer_until = 0
        self._lease_over = False  # leadership was offered to another in this term
        self._uncommitted: deque[tuple[int, int]] = deque()  # (last index, bytes) per proposal
        self._uncommitted_bytes = 0
        self._first_own = self._log.last_index + 1
        self._beat = True
        self._members_changed()
        self._append(EntryKind.NOOP, (b"",))  # nothing older commits without an own entry (§5.4.2, §8)
        self._begin_round()

    # Proposals

    def propose(self, data: Sequence[bytes]) -> range:
        count = sum(map(len, data)) + ENTRY_OVERHEAD_BYTES * len(data)
        if self.transfer_to:
            raise Busy("leadership is being handed over; retry later")
        if self._uncommitted_bytes + count > self._server.limits.uncommitted_bytes_max:
            raise Busy("too much is proposed and not yet committed; retry later")
        indices = self._append(EntryKind.NORMAL, data)
        self._uncommitted.append((self._log.last_index, count))
        self._uncommitted_bytes += count
        return indices

    def propose_config(self, change: Change) -> int:
        """One server at a time (thesis 4.1), and only on firm ground."""
        log = self._log
        if self.transfer_to:
            raise Busy("leadership is being handed over; retry later")
        if not self.has_own_commit:
            # Otherwise two leaders' changes might not overlap (the correction of thesis 4.1, July 2015).
            raise ChangeRefused("this leader has not committed an entry of its term yet; retry in a moment")
        if log.config_index > log.commit:
            raise ChangeRefused("the previous membership change is not committed yet; retry in a moment")
        config = log.config.after(change)
        if change.kind is ChangeKind.PROMOTE:
            self._ensure_caught_up(change.id)
        index = self._append(EntryKind.CONFIG, (config.encode(),))[0]
        self._members_changed()
        self.advance_commit()
        return index

    def _ensure_caught_up(self, learner: str) -> None:
        """A voter that is far behind would hold up every commit that needs it (thesis 4.2.1)."""
        progress = self.progress.get(learner)
        lag = self._log.last_index - progress.match if progress else 0
        if lag > self._server.limits.promote_lag_entries_max:
            raise ChangeRefused(f"{learner} is {lag} entries behind; retry when it has caught up")

    def _append(self, kind: EntryKind, data: Sequence[bytes]) -> range:
        term, first = self._server.term, self._log.last_index + 1
        self._log.append([Entry(term, index, kind, one) for index, one in enumerate(data, first)])
        return range(first, first + len(data))

    def _members_changed(self) -> None:
        """A membership is in force as soon as it is in the log (thesis 4.1)."""
        server = self._server
        members = [member.id for member in self._log.config.members if member.id != server.id]
        self.progress = {
            member: self.progress.get(member) or Progress(self._log.last_index + 1, server.now)
            for member in members
        }

    # Time

    def tick(self) -> None:
        server = self._server
        if self._lacks_majority():
            server.follow(server.term, "")
            return
        if self.transfer_to and server.now >= self._transfer_until:
            self.transfer_to = ""
        if server.now >= self._next_beat:
            self._begin_round()

    def _begin_round(self) -> None:
        self.rounds.begin(self._server.now)
        self._next_beat = self._server.now + self._server.heartbeat_ticks
        self._beat = True

    def _lacks_majority(self) -> bool:
        """Check-quorum: who reaches no majority for an election timeout leads no one (thesis 6.2)."""
        server, voters = self._server, self._log.voters
        since = server.now - server.election_ticks
        heard = sum(voter == server.id or self.progress[voter].heard_at > since for voter in voters)
        return heard < majority(len(voters))

    # Sending

    def flush(self) -> None:
        """Puts into the post what is due to each member."""
        if self.rounds.has_fresh and self.has_own_commit:
            self._begin_round()
            self.rounds.cover(self._log.commit)
            self._confirm_reads()
        server = self._server
        for member, progress in self.progress.items():
            if self._beat:
                server.outbox.append(
                    Heartbeat(server.id, member, server.term, self.rounds.current, *self._committed())
                )
            if progress.state is not ProgressState.SNAPSHOT:
                self._send_entries(member, progress)
            if progress.state is ProgressState.SNAPSHOT:
                self._send_chunk(member, progress)
        self._beat = False

    def _send_entries(self, member: str, progress: Progress) -> None:
        log, limits = self._log, self._server.limits
        while progress.may_send(limits) and (progress.next <= log.last_index or progress.nudge):
            if not self._send_append(member, progress, limits.append_bytes_max):
                return
        if progress.nudge and progress.state is ProgressState.REPLICATE:  # no room, but a question has room
            self._send_append(member, progress, 0)

    def _send_append(self, member: str, progress: Progress, bytes_max: int) -> bool:
        """False when the log no longer reaches back far enough: then a snapshot is on its way."""
        server, log = self._server, self._log
        prev = progress.next - 1
        prev_term = log.term(prev)
        if prev_term is None or progress.next < log.first_index():
            progress.send_snapshot(server.storage.snapshot())
            return False
        entries = log.entries(progress.next, log.last_index + 1, bytes_max) if bytes_max else []
        server.outbox.append(
            Append(
                server.id,
                member,
                server.term,
                prev,
                prev_term,
                tuple(entries),
                log.commit,
                self.rounds.current,
            )
        )
        progress.sent(entries, log.commit)
        return True

    @property
    def commit_untold(self) -> bool:
        """Whether somebody has all that is committed, and does not know it."""
        commit = self._log.commit
        return any(progress.lacks_commit(commit) for progress in self.progress.values())

    def tell_commit(self) -> None:
        """Says what is committed to those who have it. Others learn it with the entries that they lack."""
        server, (commit, term) = self._server, self._committed()
        for member, progress in self.progress.items():
            if progress.lacks_commit(commit):
                server.outbox.append(Commit(server.id, member, server.term, commit, term))
                progress.commit_sent = commit

    def _committed(self) -> tuple[int, int]:
        """Index and term of the newest committed entry."""
        commit = self._log.commit
        return commit, self._log.term(commit) or 0

    def _send_chunk(self, member: str, progress: Progress) -> None:
        """The next chunk, or the same again when its answer does not come (§7)."""
        server = self._server
        if progress.asked and server.now - progress.chunk_sent_at < server.election_ticks:
            return
        size_max = server.limits.chunk_bytes_max
        meta = progress.snapshot or server.storage.snapshot()
        chunk = server.storage.snapshot_chunk(meta, progress.offset, size_max)
        if chunk is None:  # a newer one has replaced it
            meta = server.storage.snapshot()
            progress.send_snapshot(meta)
            chunk = server.storage.snapshot_chunk(meta, 0, size_max)
            if chunk is None:
                return
        progress.asked = True
        progress.chunk_sent_at = server.now
        server.outbox.append(
            InstallSnapshot(
                server.id,
                member,
                server.term,
                meta,
                progress.offset,
                chunk.data,
                chunk.done,
                self.rounds.current,
            )
        )

    # Answers

    def on_append_reply(self, reply: AppendReply) -> None:
        progress = self._answered(reply)
        if progress is None:
            return
        log = self._log
        if reply.rejected:
            hint, _ = log.agreement(min(reply.hint_index, log.last_index), reply.hint_term)
            progress.rejected(reply.index, hint, reply.round, self.rounds.current)
            return
        invariant(reply.index <= log.last_index, f"{reply.from_} agrees up to {reply.index}, beyond the log")
        progress.accepted(reply.index)
        self._hand_over()
        self.advance_commit()

    def on_heartbeat_reply(self, reply: HeartbeatReply) -> None:
        progress = self._answered(reply)
        if progress:
            progress.heartbeat_answered(self._log.last_index)

    def on_snapshot_reply(self, reply: SnapshotReply) -> None:
        progress = self._answered(reply)
        if progress and progress.snapshot and progress.snapshot.index == reply.index:
            progress.chunk_answered(reply.offset, reply.round, self.rounds.current)

    def _answered(self, reply: AppendReply | HeartbeatReply | SnapshotReply) -> Progress | None:
        progress = self.progress.get(reply.from_)
        if progress:
            progress.answered(reply.round, self._server.now)
            self._confirm_reads()
        return progress

    # Commit

    @property
    def has_own_commit(self) -> bool:
        """Whether an entry of this term is committed: before that, the commit index may be old (§8)."""
        return self._log.commit >= self._first_own

    def advance_commit(self) -> None:
        """Commits what a majority has on disk, counting entries of this term only (§5.3, §5.4.2)."""
        log = self._log
        index = agreed(log.voters, self._match)
        if index <= log.commit or index < self._first_own:
            return
        log.commit_to(index)
        while self._uncommitted and self._uncommitted[0][0] <= index:
            self._uncommitted_bytes -= self._uncommitted.popleft()[1]
        if index >= log.config_index and self._server.id not in log.voters:
            self._resign()

    def _match(self, voter: str) -> int:
        return self._log.durable if voter == self._server.id else self.progress[voter].match

    def _resign(self) -> None:
        """The membership without this server is committed: it leads no longer (thesis 4.2.2)."""
        self._offer_leadership(self._longest())
        self._server.follow(self._server.term, "")

    # Reads

    def read(self, token: int) -> None:
        if self.rounds.reads >= self._server.limits.reads_max:
            raise Busy("too many reads wait for a confirmation; retry later")
        self.rounds.ask(token)

    def lease_read(self, now_tick: int) -> int | None:
        """The lease lasts while no follower can have given up on this leader (thesis 6.4.1).

        A follower keeps its vote for at least E - 1 whole ticks of its own clock after it heard a message,
        hence after that was sent. Its clock may be fast, and this one slow, by the stated drift.
        """
        began = self.rounds.began_at(self._confirmed_round())
        if began is None or self.transfer_to or self._lease_over or not self.has_own_commit:
            return None
        drift = self._server.limits.clock_drift_percent
        lease_ticks = (self._server.election_ticks - 1) * (100 - drift) // (100 + drift)
        return self._log.commit if max(now_tick, self._server.now) - began < lease_ticks else None

    def _confirm_reads(self) -> None:
        self._server.reads += self.rounds.confirmed(self._confirmed_round())

    def _confirmed_round(self) -> int:
        return agreed(self._log.voters, self._round)

    def _round(self, voter: str) -> int:
        return self.rounds.current if voter == self._server.id else self.progress[voter].round

    # Handing over

    def transfer(self, to: str) -> str:
        """Thesis 3.10: no new proposals, bring the target up to date, tell it to start an election."""
        server = self._server
        to = to or self._longest()
        if to not in self._log.voters or to == server.id:
            raise ChangeRefused(f"{to or 'nobody else'} is no other voter; see the list of peers")
        self.transfer_to = to
        self._transfer_until = server.now + server.election_ticks
        self._hand_over()
        return to

    def _hand_over(self) -> None:
        if self.transfer_to and self.progress[self.transfer_to].match == self._log.last_index:
            self._offer_leadership(self.transfer_to)

    def _offer_leadership(self, to: str) -> None:
        """The lease ends first, and for the rest of the term: the offer may arrive late."""
        self._lease_over = True
        if to:
            self._server.outbox.append(TimeoutNow(self._server.id, to, self._server.term))

    def _longest(self) -> str:
        """The other voter whose log is longest; "" when there is none."""
        others = self._server.others()
        return max(others, key=lambda voter: self.progress[voter].match) if others else ""

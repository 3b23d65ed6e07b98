"""What a follower does with its leader's messages (§5.3, §7). All are of the current term here."""

from weft.errors import invariant

from .election import campaign
from .messages import (
    Append,
    AppendReply,
    Commit,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    SnapshotReply,
    TimeoutNow,
)
from .server import Receiving, Server


def on_append(server: Server, asked: Append) -> None:
    """AppendEntries, receiver (figure 2)."""
    server.hear(asked.from_)
    log = server.log
    prev, entries = asked.prev_index, asked.entries
    invariant(
        not entries or entries[-1].index == prev + len(entries),
        f"a gap in an Append of {asked.from_} at {prev}",
    )
    if prev < log.commit:  # what is committed here is in every leader's log (§5.4)
        entries = entries[log.commit - prev :]
        prev = log.commit
    elif log.term(prev) != asked.prev_term:
        _reply(server, asked, prev, hint=log.agreement(prev, asked.prev_term, floor=log.commit))
        return
    log.append(entries[log.first_conflict(entries) :])
    verified = prev + len(entries)
    # Not beyond what this message verified: the rest of this log may be of another leader (figure 2, 5).
    log.commit_to(min(asked.commit, verified))
    _reply(server, asked, verified)


def on_heartbeat(server: Server, asked: Heartbeat) -> None:
    server.hear(asked.from_)
    server.log.learn_commit(asked.commit, asked.commit_term)
    server.outbox.append(HeartbeatReply(server.id, asked.from_, server.term, server.log.commit, asked.round))


def on_commit(server: Server, told: Commit) -> None:
    server.hear(told.from_)
    server.log.learn_commit(told.index, told.entry_term)


def on_install(server: Server, asked: InstallSnapshot) -> None:
    """InstallSnapshot, receiver (§7), in chunks; resumed when the same sender starts anew."""
    server.hear(asked.from_)
    log, meta = server.log, asked.meta
    if log.installing:
        return  # the disk is still busy with one
    if meta.index <= log.commit or log.term(meta.index) == meta.term:
        log.commit_to(meta.index)  # nothing to replace: the log has it all
        server.receiving = None
        _reply(server, asked, max(log.commit, meta.index))
        return
    into = server.receiving
    if into is None or (into.from_, into.meta) != (asked.from_, meta):
        into = server.receiving = Receiving(asked.from_, meta)
    if asked.offset == into.offset:
        server.chunks.append(asked)
        into.offset += len(asked.chunk)
        if asked.done:
            log.restore(meta)
            server.receiving = None
            _reply(server, asked, meta.index)
            return
    server.outbox.append(
        SnapshotReply(server.id, asked.from_, server.term, meta.index, into.offset, asked.round)
    )


def on_timeout_now(server: Server, asked: TimeoutNow) -> None:
    """Leadership is handed to this server: no pre-vote, and no waiting (thesis 3.10)."""
    if server.may_campaign and server.leading is None:
        campaign(server, transfer=True)


def _reply(
    server: Server, asked: Append | InstallSnapshot, index: int, hint: tuple[int, int] | None = None
) -> None:
    at, term = hint or (0, 0)
    server.outbox.append(
        AppendReply(
            server.id,
            asked.from_,
            server.term,
            index,
            hint is not None,
            at,
            term,
            server.log.commit,
            asked.round,
        )
    )

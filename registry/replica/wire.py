"""Sans-IO. Raft's messages as protobuf, and back. Only the transport knows these types.

Sender and receiver are those that the connection has proven, never what a message says.
"""

from weft.pb.raft.v1 import raft_pb2 as pb

from ..raft import messages as raft
from ..raft.config import Config, Member
from .errors import PeerRefused


def to_pb(message: raft.Message) -> pb.Message:
    """The message without its ends."""
    out = pb.Message(term=message.term)
    match message:
        case raft.Append():
            into = out.append  # filled in place: setting a finished message would copy its entries
            into.prev_index, into.prev_term = message.prev_index, message.prev_term
            into.commit, into.round = message.commit, message.round
            add = into.entries.add
            for it in message.entries:
                add(term=it.term, kind=it.kind, data=it.data)
            into.SetInParent()
        case raft.AppendReply():
            out.append_reply.CopyFrom(
                pb.AppendReply(
                    index=message.index,
                    rejected=message.rejected,
                    hint_index=message.hint_index,
                    hint_term=message.hint_term,
                    commit=message.commit,
                    round=message.round,
                )
            )
        case raft.Heartbeat():
            out.heartbeat.CopyFrom(
                pb.Heartbeat(round=message.round, commit=message.commit, commit_term=message.commit_term)
            )
        case raft.Commit():
            out.commit.CopyFrom(pb.Commit(index=message.index, entry_term=message.entry_term))
        case raft.HeartbeatReply():
            out.heartbeat_reply.CopyFrom(pb.HeartbeatReply(commit=message.commit, round=message.round))
        case raft.InstallSnapshot():
            out.install_snapshot.CopyFrom(
                pb.InstallSnapshot(
                    meta=meta_to_pb(message.meta),
                    offset=message.offset,
                    chunk=message.chunk,
                    done=message.done,
                    round=message.round,
                )
            )
        case raft.SnapshotReply():
            out.snapshot_reply.CopyFrom(
                pb.SnapshotReply(index=message.index, offset=message.offset, round=message.round)
            )
        case _:
            _election_to_pb(message, out)
    return out


def _election_to_pb(
    message: raft.PreVote | raft.PreVoteReply | raft.Vote | raft.VoteReply | raft.TimeoutNow, out: pb.Message
) -> None:
    match message:
        case raft.PreVote():
            out.pre_vote.CopyFrom(pb.PreVote(last_index=message.last_index, last_term=message.last_term))
        case raft.PreVoteReply():
            out.pre_vote_reply.CopyFrom(pb.VoteReply(granted=message.granted))
        case raft.Vote():
            out.vote.CopyFrom(
                pb.Vote(last_index=message.last_index, last_term=message.last_term, transfer=message.transfer)
            )
        case raft.VoteReply():
            out.vote_reply.CopyFrom(pb.VoteReply(granted=message.granted))
        case raft.TimeoutNow():
            out.timeout_now.CopyFrom(pb.TimeoutNow())


def from_pb(message: pb.Message, from_: str, to: str) -> raft.Message:
    """Raises PeerRefused for a message of a kind that this version does not know."""
    ends = (from_, to, message.term)
    kind = message.WhichOneof("body")
    match kind:
        case "append":
            found = message.append
            numbered = enumerate(found.entries, found.prev_index + 1)
            entries = tuple(raft.Entry(it.term, index, _kind(it.kind), it.data) for index, it in numbered)
            return raft.Append(*ends, found.prev_index, found.prev_term, entries, found.commit, found.round)
        case "append_reply":
            reply = message.append_reply
            hint = (reply.hint_index, reply.hint_term)
            return raft.AppendReply(*ends, reply.index, reply.rejected, *hint, reply.commit, reply.round)
        case "heartbeat":
            beat = message.heartbeat
            return raft.Heartbeat(*ends, beat.round, beat.commit, beat.commit_term)
        case "commit":
            return raft.Commit(*ends, message.commit.index, message.commit.entry_term)
        case "heartbeat_reply":
            return raft.HeartbeatReply(*ends, message.heartbeat_reply.commit, message.heartbeat_reply.round)
        case "install_snapshot":
            part = message.install_snapshot
            meta = meta_from_pb(part.meta)
            return raft.InstallSnapshot(*ends, meta, part.offset, part.chunk, part.done, part.round)
        case "snapshot_reply":
            wanted = message.snapshot_reply
            return raft.SnapshotReply(*ends, wanted.index, wanted.offset, wanted.round)
    return _election_from_pb(message, kind or "none", ends)


def _election_from_pb(message: pb.Message, kind: str, ends: tuple[str, str, int]) -> raft.Message:
    match kind:
        case "pre_vote":
            return raft.PreVote(*ends, message.pre_vote.last_index, message.pre_vote.last_term)
        case "pre_vote_reply":
            return raft.PreVoteReply(*ends, message.pre_vote_reply.granted)
        case "vote":
            vote = message.vote
            return raft.Vote(*ends, vote.last_index, vote.last_term, vote.transfer)
        case "vote_reply":
            return raft.VoteReply(*ends, message.vote_reply.granted)
        case "timeout_now":
            return raft.TimeoutNow(*ends)
    raise PeerRefused(f"a Raft message of unknown kind ({kind}); run the same version on every server")


_KINDS = {int(kind): kind for kind in raft.EntryKind}


def _kind(number: int) -> raft.EntryKind:
    kind = _KINDS.get(number)
    if kind is None:
        raise PeerRefused(f"a log entry of unknown kind ({number}); run the same version everywhere")
    return kind


def meta_to_pb(meta: raft.SnapshotMeta) -> pb.SnapshotMeta:
    members = [pb.Member(id=it.id, address=it.address, voter=it.voter) for it in meta.config.members]
    return pb.SnapshotMeta(index=meta.index, term=meta.term, members=members)


def meta_from_pb(meta: pb.SnapshotMeta) -> raft.SnapshotMeta:
    members = tuple(Member(it.id, it.address, it.voter) for it in meta.members)
    return raft.SnapshotMeta(meta.index, meta.term, Config(members))

"""Elections (§5.2, §5.4.1) with pre-vote (thesis 9.6)."""

from .leader import Leader
from .messages import PreVote, PreVoteReply, Vote, VoteReply
from .quorum import Outcome, outcome
from .ready import Role
from .server import Server


def pre_campaign(server: Server) -> None:
    """Asks whether an election could be won, without disturbing anyone by a new term (thesis 9.6)."""
    server.role = Role.PRE_CANDIDATE
    server.leader = ""
    server.votes = {server.id: True}
    server.reset_timer()
    server.outbox += [
        PreVote(server.id, voter, server.term + 1, server.log.last_index, server.log.last_term)
        for voter in server.others()
    ]
    _count(server)


def campaign(server: Server, transfer: bool = False) -> None:
    """Starts an election: a new term, a vote for itself, a question to all others (§5.2)."""
    server.role = Role.CANDIDATE
    server.leader = ""
    server.term += 1
    server.vote = server.id
    server.votes = {server.id: True}
    server.reset_timer()
    server.outbox += [
        Vote(server.id, voter, server.term, server.log.last_index, server.log.last_term, transfer)
        for voter in server.others()
    ]
    _count(server)


def on_pre_vote(server: Server, asked: PreVote) -> None:
    """Grants what it would grant in a real election of that term; keeps no record of it."""
    if server.has_live_leader():
        return
    granted = asked.term > server.term and server.log.is_up_to_date(asked.last_index, asked.last_term)
    term = asked.term if granted else server.term
    server.outbox.append(PreVoteReply(server.id, asked.from_, term, granted))


def on_vote(server: Server, asked: Vote) -> None:
    """RequestVote, receiver (figure 2): one vote per term, only for a log that is up to date (§5.4.1)."""
    if server.has_live_leader() and not asked.transfer:
        return
    free = server.vote == "" and server.leader == ""
    granted = (server.vote == asked.from_ or free) and server.log.is_up_to_date(
        asked.last_index, asked.last_term
    )
    if granted:
        server.vote = asked.from_
        server.reset_timer()
    server.outbox.append(VoteReply(server.id, asked.from_, server.term, granted))


def on_pre_vote_reply(server: Server, reply: PreVoteReply) -> None:
    if server.role is not Role.PRE_CANDIDATE:
        return
    if reply.granted and reply.term != server.term + 1:
        return  # to an older question
    server.votes.setdefault(reply.from_, reply.granted)
    _count(server)


def on_vote_reply(server: Server, reply: VoteReply) -> None:
    if server.role is Role.CANDIDATE:
        server.votes.setdefault(reply.from_, reply.granted)
        _count(server)


def _count(server: Server) -> None:
    found = outcome(server.log.voters, server.votes)
    if found is Outcome.LOST:
        server.follow(server.term, "")
    elif found is Outcome.WON and server.role is Role.PRE_CANDIDATE:
        campaign(server)
    elif found is Outcome.WON:
        server.leading = Leader(server)

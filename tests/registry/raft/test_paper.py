"""The sentences of the paper (extended version), one test each; the docstring names the section."""

import random

import pytest

from registry.raft.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    Message,
    PreVote,
    TimeoutNow,
    Vote,
    VoteReply,
)
from registry.raft.ready import Role
from registry.raft.server import Server
from tests.support.raft import Cluster, Lone, filled

FIVE = "abcde"


def vote(term: int, last: tuple[int, int] = (9, 9), from_: str = "b") -> Vote:
    return Vote(from_, "a", term, *last)


def append(term: int, prev: tuple[int, int], terms: list[int], commit: int = 0, from_: str = "b") -> Append:
    entries = tuple(Entry(of, index, EntryKind.NORMAL, b"new") for index, of in enumerate(terms, prev[0] + 1))
    return Append(from_, "a", term, *prev, entries, commit, 1)


def candidate(voters: str = "abc") -> Lone:
    """A candidate in term 1 that has asked everyone."""
    lone = Lone(filled([], voters=voters))
    lone.node.step(TimeoutNow("b", "a", 0))
    assert lone.node.role is Role.CANDIDATE
    return lone


def leader(voters: str = "abc", terms: tuple[int, ...] = ()) -> Lone:
    lone = Lone(filled(terms, voters=voters))
    lone.lead()
    lone.sent()
    return lone


# 5.1


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_a_newer_term_makes_a_follower(role: Role) -> None:
    """§5.1: "If one server's current term is smaller than the other's, then it updates its current term to
    the larger value. If a candidate or leader discovers that its term is out of date, it immediately reverts
    to follower state." """
    made = {
        Role.FOLLOWER: lambda: Lone(filled([])),
        Role.CANDIDATE: candidate,
        Role.LEADER: leader,
    }
    lone = made[role]()
    lone.step(append(7, (0, 0), []))
    assert (lone.node.role, lone.node.term, lone.node.leader) == (Role.FOLLOWER, 7, "b")
    assert lone.member.storage.hard_state().term == 7


@pytest.mark.parametrize("stale", [vote(2), append(2, (0, 0), [2]), Heartbeat("b", "a", 2, 1)], ids=repr)
def test_a_request_with_a_stale_term_is_rejected(stale: Message) -> None:
    """§5.1: "If a server receives a request with a stale term number, it rejects the request." """
    lone = Lone(filled([], term=3))
    lone.forget_leader()
    (answer,) = lone.step(stale)
    assert answer.term == 3
    assert isinstance(answer, VoteReply | AppendReply)
    assert (answer.granted is False) if isinstance(answer, VoteReply) else answer.rejected
    assert lone.member.log() == []


# 5.2


def test_servers_start_as_followers() -> None:
    """§5.2: "When servers start up, they begin as followers." """
    assert Lone(filled([])).node.role is Role.FOLLOWER


def test_a_follower_stays_one_while_it_hears_a_leader() -> None:
    """§5.2: "A server remains in follower state as long as it receives valid RPCs from a leader or
    candidate." """
    lone = Lone(filled([]))
    for _ in range(30):
        lone.node.tick(9)
        lone.step(Heartbeat("b", "a", 1, 1))
    assert (lone.node.role, lone.node.term) == (Role.FOLLOWER, 1)


def test_an_election_begins_after_the_timeout() -> None:
    """§5.2: "If a follower receives no communication over a period of time called the election timeout [...]
    begins an election" - here with a pre-vote first (thesis 9.6)."""
    lone = Lone(filled([]))
    lone.node.tick(9)
    assert lone.sent() == []
    lone.node.tick()
    assert lone.node.role is Role.PRE_CANDIDATE
    assert [(m.to, m.term) for m in lone.sent(PreVote)] == [("b", 1), ("c", 1)]


def test_a_candidate_increments_its_term_votes_for_itself_and_asks_in_parallel() -> None:
    """§5.2: "To begin an election, a follower increments its current term and transitions to candidate state.
    It then votes for itself and issues RequestVote RPCs in parallel to each of the other servers"."""
    lone = candidate(FIVE)
    assert (lone.node.term, lone.server.vote) == (1, "a")
    assert [m.to for m in lone.sent(Vote)] == list("bcde")
    hard = lone.member.storage.hard_state()
    assert (hard.term, hard.vote) == (1, "a")


@pytest.mark.parametrize(
    ("granted", "refused", "role"),
    [
        ("bc", "", Role.LEADER),
        ("b", "cd", Role.CANDIDATE),
        ("b", "", Role.CANDIDATE),
        ("", "bcd", Role.FOLLOWER),
        ("bbbb", "", Role.CANDIDATE),  # one server, one vote
    ],
)
def test_a_majority_wins(granted: str, refused: str, role: Role) -> None:
    """§5.2: "A candidate wins an election if it receives votes from a majority of the servers in the full
    cluster for the same term." """
    lone = candidate(FIVE)
    for voter in granted:
        lone.node.step(VoteReply(voter, "a", 1, True))
    for voter in refused:
        lone.node.step(VoteReply(voter, "a", 1, False))
    assert lone.node.role is role


def test_one_vote_per_term_first_come_first_served() -> None:
    """§5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served
    basis" - also after a restart (figure 2: votedFor is persistent)."""
    lone = Lone(filled([]))
    granted = [
        reply.granted
        for reply in lone.step(vote(1), vote(1, from_="c"), vote(1))
        if isinstance(reply, VoteReply)
    ]
    assert granted == [True, False, True]
    lone.member.restart()
    again = Lone(lone.member.storage)
    again.forget_leader()
    assert [m.granted for m in again.step(vote(1, from_="c")) if isinstance(m, VoteReply)] == [False]


def test_the_vote_is_on_disk_before_the_reply_leaves() -> None:
    """Figure 2: "Persistent state on all servers (updated on stable storage before responding to RPCs)"."""
    lone = Lone(filled([]))
    lone.node.step(vote(1))
    plan = lone.node.ready()
    assert plan and plan.must_sync and plan.messages_first == ()
    assert plan.hard_state and (plan.hard_state.term, plan.hard_state.vote) == (1, "b")
    assert [type(message) for message in plan.messages] == [VoteReply]


def test_a_candidate_gives_way_to_a_leader_of_its_term() -> None:
    """§5.2: "If the leader's term [...] is at least as large as the candidate's current term, then the
    candidate recognizes the leader as legitimate and returns to follower state." """
    lone = candidate()
    lone.step(append(1, (0, 0), []))
    assert (lone.node.role, lone.node.leader, lone.server.vote) == (Role.FOLLOWER, "b", "a")


def test_a_leader_announces_itself_and_sends_heartbeats() -> None:
    """§5.2: "It then sends heartbeat messages to all of the other servers to establish its authority and
    prevent new elections." """
    lone = Lone(filled([], voters=FIVE))
    lone.lead()
    assert {m.to for m in lone.sent(Append, Heartbeat)} == set("bcde")
    lone.node.tick()
    assert [m.to for m in lone.sent(Heartbeat)] == list("bcde")


def test_timeouts_are_randomized_over_the_whole_interval() -> None:
    """§5.2: "election timeouts are chosen randomly from a fixed interval" - here of E to 2E - 1 ticks."""
    lone = Lone(filled([]))
    lone.server._chance = random.Random(1)
    seen = set()
    for _ in range(500):
        lone.server.reset_timer()
        seen.add(lone.server.deadline - lone.server.now)
    assert seen == set(range(10, 20))


def test_a_split_vote_is_followed_by_another_election() -> None:
    """§5.2: "each candidate will time out and start a new election by incrementing its term"."""
    lone = candidate("abcd")
    lone.step(VoteReply("b", "a", 1, False))
    lone.node.tick(10)
    assert lone.node.role is Role.PRE_CANDIDATE
    assert {m.term for m in lone.sent(PreVote)} == {2}


# 5.3


def test_an_entry_is_committed_once_a_majority_has_it() -> None:
    """§5.3: "A log entry is committed once the leader that created the entry has replicated it on a majority
    of the servers." The leader's own disk counts when it is done."""
    lone = leader(FIVE)
    lone.step(AppendReply("b", "a", 1, 1, False, 0, 0, 0, 1), AppendReply("c", "a", 1, 1, False, 0, 0, 0, 1))
    assert lone.node.commit == 1
    lone.node.propose([b"x"])
    lone.step(AppendReply("b", "a", 1, 2, False, 0, 0, 1, 1))
    assert lone.node.commit == 1
    lone.step(AppendReply("c", "a", 1, 2, False, 0, 0, 1, 1))
    assert lone.node.commit == 2
    assert lone.member.data == [b"x"]


def test_committing_an_entry_commits_all_before_it() -> None:
    """§5.3: "This also commits all preceding entries in the leader's log, including entries created by
    previous leaders." """
    cluster = Cluster(())
    for name, terms in zip("abc", ([1, 1, 2], [1], []), strict=True):
        cluster.add(name, filled(terms, term=2))
    cluster.elect("a")
    assert all(member.data == [b"1/1", b"2/1", b"3/2"] for member in cluster.members.values())


@pytest.mark.parametrize(
    ("terms", "prev"),
    [([1, 2], (3, 3)), ([1, 2], (2, 1)), ([1, 2], (2, 3)), ([], (1, 1))],
)
def test_a_follower_refuses_what_does_not_follow_its_log(terms: list[int], prev: tuple[int, int]) -> None:
    """§5.3: "If the follower does not find an entry in its log with the same index and term, then it refuses
    the new entries." """
    lone = Lone(filled(terms))
    answers = lone.step(append(3, prev, [3]))
    (answer,) = (m for m in answers if isinstance(m, AppendReply))
    assert answer.rejected and answer.index == prev[0]
    assert [term for _, term in lone.member.log()] == terms


@pytest.mark.parametrize(
    ("terms", "prev", "new", "result"),
    [
        ([1, 2], (2, 2), [3], [1, 2, 3]),
        ([1, 2], (1, 1), [3, 4], [1, 3, 4]),
        ([1, 2], (0, 0), [3, 4], [3, 4]),
        ([1, 2], (0, 0), [1], [1, 2]),  # an old message takes nothing away (figure 2: "if an existing entry
        ([1, 2, 2], (1, 1), [2], [1, 2, 2]),  # conflicts")
        ([1, 2, 2], (2, 2), [], [1, 2, 2]),
    ],
)
def test_only_conflicting_entries_are_deleted(
    terms: list[int], prev: tuple[int, int], new: list[int], result: list[int]
) -> None:
    """Figure 2, AppendEntries 3 and 4."""
    lone = Lone(filled(terms))
    lone.step(append(5, prev, new))
    assert [term for _, term in lone.member.log()] == result


@pytest.mark.parametrize(
    ("prev", "new", "leader_commit", "commit"),
    [((1, 1), [2], 9, 2), ((1, 1), [], 9, 1), ((1, 1), [2], 1, 1), ((3, 2), [], 2, 2)],
)
def test_a_follower_commits_no_more_than_the_message_verified(
    prev: tuple[int, int], new: list[int], leader_commit: int, commit: int
) -> None:
    """Figure 2, AppendEntries 5: "set commitIndex = min(leaderCommit, index of last new entry)"."""
    lone = Lone(filled([1, 2, 2]))
    lone.step(append(5, prev, new, commit=leader_commit))
    assert lone.node.commit == commit
    assert [entry.index for entry in lone.member.applied] == list(range(1, commit + 1))


FIGURE_7 = {
    "a": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b": [1, 1, 1, 4],
    "c": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e": [1, 1, 1, 4, 4, 4, 4],
    "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("follower", FIGURE_7)
def test_figure_7_every_follower_is_brought_to_the_leaders_log(follower: str) -> None:
    """§5.3, figure 7: "the leader handles inconsistencies by forcing the followers' logs to duplicate its
    own" - in at most one exchange per conflicting term."""
    cluster = Cluster(())
    voters = ("l", "v", follower)
    terms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
    cluster.add("l", filled(terms, voters=voters, term=7))
    cluster.add("v", filled([1], voters=voters, term=7))
    cluster.add(follower, filled(FIGURE_7[follower], voters=voters, term=7))
    rejections: list[Message] = []

    def count(message: Message) -> bool:
        if isinstance(message, AppendReply) and message.rejected:
            rejections.append(message)
        return False

    cluster.drop = count
    cluster.elect("l")
    assert cluster[follower].log() == cluster["l"].log()
    assert [term for _, term in cluster["l"].log()] == [*terms, 8]
    assert len(rejections) <= 2


# 5.4


@pytest.mark.parametrize(
    ("mine", "theirs", "granted"),
    [
        ([1], (1, 1), True),
        ([1], (2, 1), True),
        ([1, 1], (1, 1), False),  # same term: the longer log is more up to date
        ([1, 1, 1], (1, 2), True),  # a later term is more up to date, however short
        ([1, 2], (5, 1), False),
        ([], (0, 0), True),
    ],
)
def test_a_voter_denies_its_vote_when_its_own_log_is_more_up_to_date(
    mine: list[int], theirs: tuple[int, int], granted: bool
) -> None:
    """§5.4.1"""
    for question in (vote(5, theirs), PreVote("b", "a", 5, *theirs)):
        lone = Lone(filled(mine))
        lone.forget_leader()
        (answer,) = lone.step(question)
        assert getattr(answer, "granted", None) is granted


def figure_8(c_log: list[int]) -> Cluster:
    """Figure 8 (c): a (S1) may be elected again in term 4; index 2 of term 2 is on a majority."""
    cluster = Cluster(())
    logs = {"a": [1, 2], "b": [1, 2], "c": c_log, "d": [1], "e": [1, 3]}
    for name, terms in logs.items():
        cluster.add(name, filled(terms, voters=FIVE, term=3))
    return cluster


def test_figure_8_an_old_entry_is_not_committed_by_counting() -> None:
    """§5.4.2, figure 8 (c), (d): "an old log entry is stored on a majority of servers, yet can still be
    overwritten by a future leader." """
    cluster = figure_8([1])
    # (c) S1 is elected in term 4 and brings index 2 to S3, not yet its own entry of term 4.
    old = Lone(cluster["a"].storage)
    old.lead()
    old.sent()
    for follower in "bc":
        old.step(AppendReply(follower, "a", 4, 2, False, 0, 0, 0, 1))
    assert (old.node.term, old.node.commit) == (4, 0)
    # (d) S5 is elected with the votes of S2, S3 and S4, and overwrites index 2.
    cluster = figure_8([1, 2])
    cluster.cut_off("a")
    cluster.elect("e")
    assert all(cluster[name].data == [b"1/1", b"2/3"] for name in "bcde")


def test_figure_8_an_entry_of_its_own_term_commits_them_all() -> None:
    """§5.4.2, figure 8 (e): once an entry of term 4 is on a majority, S5 cannot win an election."""
    cluster = figure_8([1, 2])
    cluster.cut_off("d", "e")
    cluster.elect("a")
    assert cluster["a"].data == [b"1/1", b"2/2"]
    assert cluster["a"].node.commit == 3
    cluster.cut_off("a")
    cluster.quiet()
    cluster["e"].node.campaign()
    cluster.settle()
    assert cluster.leaders() == ["a"]
    cluster.elect("b")
    assert all(cluster[name].data == [b"1/1", b"2/2"] for name in "bcde")


# 8


def test_a_new_leader_appends_a_no_op() -> None:
    """§8: "each leader [commits] a blank no-op entry into the log at the start of its term"."""
    lone = leader(terms=(1, 1))
    assert lone.member.log()[-1] == (3, 2)
    (entry,) = lone.member.storage.entries(3, 4, 1)
    assert entry.kind is EntryKind.NOOP


def test_state_of_a_server_is_what_figure_2_says() -> None:
    """Figure 2: currentTerm, votedFor and log survive a restart; nothing else is needed."""
    cluster = Cluster()
    cluster.elect("a")
    cluster.write(b"x")
    member = cluster["a"]
    term, log = member.node.term, member.log()
    member.restart()
    server: Server = member.node._server
    assert (server.term, server.vote, member.log()) == (term, "a", log)
    assert member.node.role is Role.FOLLOWER

"""Golden transcripts of the consensus core: commands, and beneath each what the cluster then did.

A line `> command` is given to the cluster; the lines under it, to the next empty line, are what it printed.
`pytest --rewrite tests/registry/raft/test_scenarios.py` writes what is printed today: commit that only when
you understand every line of the difference.

    > cluster abc [learners]     servers with these one-letter names (always the first command)
    > add d                      an empty server that waits to be added
    > campaign a                 an election begins
    > tick a 3 / tick * 3        time passes, nothing is delivered
    > propose a x y              commands for the leader
    > read a 7 / lease a         a linearizable read with a token / a lease read now
    > change a promote d         a membership change: add, promote, demote, remove
    > transfer a b               leadership is handed over
    > begin a / written a        a plan is handed out / the oldest plan handed out is on disk
    > deliver a b                messages from a to b that have left arrive (`*` for any)
    > lose a b                   they do not
    > cut a bc / heal            from now on messages between a and b, a and c are lost / no longer
    > settle                     all of that, until nobody has anything to say
    > quietly settle             the same, printed as the final status only
    > crash a                    restarts from what was written
    > compact a 3                a makes a snapshot of index 3 and drops its log up to there
    > status                     one line per server
"""

from collections import deque
from pathlib import Path

from registry.raft.config import Change, ChangeKind
from registry.raft.errors import RaftError
from registry.raft.limits import Limits
from registry.raft.messages import (
    Append,
    AppendReply,
    Commit,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteReply,
    SnapshotMeta,
    SnapshotReply,
    Vote,
    VoteReply,
)
from registry.raft.ready import Ready

from .raft import Cluster, Member

STEPS_MAX = 200
LIMITS = Limits(append_bytes_max=150, chunk_bytes_max=8)  # a few entries, a few bytes


class Scenario:
    """One cluster, driven by the lines of a transcript."""

    def __init__(self) -> None:
        self._cluster: Cluster
        self._writing: dict[str, deque[Ready]] = {}
        self._post: list[Message] = []
        self._cut: set[frozenset[str]] = set()
        self._printed: list[str] = []

    def run(self, line: str) -> list[str]:
        """Carries out one command; what it printed."""
        verb, *words = line.split()
        self._printed = []
        try:
            getattr(self, f"_{verb}")(*words)
        except RaftError as error:
            self._print(f"refused: {error}")
        return self._printed or ["ok"]

    # Commands

    def _cluster_(self, voters: str, learners: str = "") -> None:
        self._cluster = Cluster(voters, learners, limits=LIMITS)
        self._writing = {name: deque() for name in self._cluster.members}

    def _add(self, name: str) -> None:
        self._cluster.add(name)
        self._writing[name] = deque()

    def _campaign(self, name: str) -> None:
        self._cluster[name].node.campaign()

    def _tick(self, name: str, count: str) -> None:
        for member in self._members(name):
            for _ in range(int(count)):
                member.node.tick()

    def _propose(self, name: str, *data: str) -> None:
        found = self._cluster[name].node.propose([word.encode() for word in data])
        self._print(f"{name} proposed {found.start}..{found.stop - 1}")

    def _read(self, name: str, token: str) -> None:
        self._cluster[name].node.read(int(token))

    def _lease(self, name: str) -> None:
        node = self._cluster[name].node
        self._print(f"{name} lease read at {node.lease_read(node.now)}")

    def _change(self, name: str, kind: str, target: str) -> None:
        index = self._cluster[name].node.propose_config(Change(ChangeKind[kind.upper()], target))
        self._print(f"{name} proposed {index}")

    def _transfer(self, name: str, to: str) -> None:
        self._print(f"{name} hands over to {self._cluster[name].node.transfer(to)}")

    def _begin(self, name: str) -> None:
        plan = self._cluster[name].node.ready()
        if plan is None:
            self._print(f"{name} has nothing to do")
            return
        self._writing[name].append(plan)
        self._show(name, plan)
        self._send(plan.messages_first)

    def _written(self, name: str) -> None:
        plan = self._writing[name].popleft()
        messages = self._cluster[name].carry_out(plan)
        self._send(messages[len(plan.messages_first) :])

    def _deliver(self, from_: str, to: str) -> None:
        for message in self._take(from_, to):
            self._print(show(message))
            self._cluster[message.to].node.step(message)

    def _lose(self, from_: str, to: str) -> None:
        for message in self._take(from_, to):
            self._print(f"lost: {show(message)}")

    def _cut_(self, name: str, others: str) -> None:
        self._cut |= {frozenset((name, other)) for other in others}

    def _heal(self) -> None:
        self._cut.clear()

    def _settle(self) -> None:
        for _ in range(STEPS_MAX):
            if not self._write_all() and not self._post and not self._cluster.tell_commits():
                return
            if self._post:
                self._deliver("*", "*")
        raise AssertionError("the cluster does not come to rest")

    def _quietly(self, *words: str) -> None:
        self.run(" ".join(words))
        self._printed = []
        self._status()

    def _crash(self, name: str) -> None:
        self._writing[name].clear()
        self._cluster[name].restart()

    def _compact(self, name: str, index: str) -> None:
        member = self._cluster[name]
        data = [entry.data.decode() for entry in member.applied if entry.index <= int(index)]
        term = member.storage.term(int(index))
        assert term is not None
        meta = SnapshotMeta(int(index), term, member.node.config_at(int(index)))
        member.storage.compact(meta, " ".join(data).encode())

    def _status(self) -> None:
        for name, member in self._cluster.members.items():
            found = member.node.status()
            members = "".join(f"{m.id}{'' if m.voter else '?'}" for m in found.config.members)
            self._print(
                f"{name} {found.role.name.lower()} t{found.term} leader={found.leader or '-'} "
                f"log=..{found.last_index} durable={found.durable_index} commit={found.commit} "
                f"members={members or '-'} applied={b' '.join(member.data).decode() or '-'}"
            )
            for peer in found.peers:
                self._print(f"  {peer.id} {peer.state} match={peer.match} next={peer.next}")

    # Below them

    def _members(self, name: str) -> list[Member]:
        return list(self._cluster.members.values()) if name == "*" else [self._cluster[name]]

    def _write_all(self) -> bool:
        busy = False
        for name, member in self._cluster.members.items():
            while plan := member.node.ready():
                self._show(name, plan)
                self._writing[name].append(plan)
                self._send(plan.messages_first)
            while self._writing[name]:
                busy = True
                self._written(name)
        return busy

    def _send(self, messages: tuple[Message, ...] | list[Message]) -> None:
        self._post += [
            message for message in messages if frozenset((message.from_, message.to)) not in self._cut
        ]

    def _take(self, from_: str, to: str) -> list[Message]:
        taken = [
            message
            for message in self._post
            if from_ in ("*", message.from_) and to in ("*", message.to) and message.to in self._writing
        ]
        self._post = [message for message in self._post if message not in taken]
        if not taken:
            self._print("nothing is on its way")
        return taken

    def _show(self, name: str, plan: Ready) -> None:
        if plan.soft:
            self._print(
                f"{name} is {plan.soft.role.name.lower()} t{plan.soft.term} of {plan.soft.leader or '-'}"
            )
        if plan.messages_first:
            self._print(f"{name} sends first: {_recipients(plan.messages_first)}")
        if plan.hard_state:
            hard = plan.hard_state
            self._print(f"{name} writes t{hard.term} vote={hard.vote or '-'} commit={hard.commit}")
        if plan.chunks:
            self._print(f"{name} writes chunks at {', '.join(str(chunk.offset) for chunk in plan.chunks)}")
        if plan.install:
            self._print(f"{name} installs snapshot {plan.install.index}/{plan.install.term}")
        if plan.entries:
            self._print(f"{name} writes {_entries(plan.entries)}")
        if plan.messages:
            self._print(f"{name} then sends: {_recipients(plan.messages)}")
        if plan.committed:
            self._print(f"{name} applies {_entries(plan.committed)}")
        for read in plan.reads:
            self._print(f"{name} may answer read {read.token} at {read.index}")
        for token in plan.reads_lost:
            self._print(f"{name} lost read {token}")
        if plan.config is not None:
            members = " ".join(f"{m.id}{'' if m.voter else '?'}" for m in plan.config.members)
            self._print(f"{name} is in a cluster of {members}")

    def _print(self, line: str) -> None:
        self._printed.append(line)


def play(text: str) -> str:
    """The transcript, with what is printed today."""
    scenario, out, skipping = Scenario(), list[str](), False
    for line in text.splitlines():
        if line.startswith("> "):
            verb, *rest = line[2:].split()
            out += [line, *scenario.run(" ".join([_NAMES.get(verb, verb), *rest]))]
            skipping = True
        elif not line or line.startswith("#"):
            skipping = False
            out.append(line)
        elif not skipping:
            raise ValueError(f"no command: {line!r}")
    return "\n".join(out) + "\n"


_NAMES = {"cluster": "cluster_", "cut": "cut_"}  # names that are taken by attributes


def check(path: Path, rewrite: bool) -> None:
    """Compares a transcript with what happens now, or writes it."""
    text = path.read_text()
    found = play(text)
    if rewrite:
        path.write_text(found)
        return
    assert found == text, f"{path.name}: understand the difference, then `pytest --rewrite`"


def show(message: Message) -> str:
    """One message in one line."""
    head = f"{message.from_}->{message.to} {type(message).__name__} t{message.term}"
    return f"{head} {_content(message)}".rstrip()


def _content(message: Message) -> str:
    match message:
        case Append():
            prev = f"prev={message.prev_index}/{message.prev_term}"
            return f"{prev} [{_entries(message.entries)}] commit={message.commit}"
        case AppendReply(rejected=True):
            return f"rejected={message.index} hint={message.hint_index}/{message.hint_term}"
        case AppendReply():
            return f"index={message.index}"
        case PreVote() | Vote():
            last = f"last={message.last_index}/{message.last_term}"
            return last + (" transfer" if isinstance(message, Vote) and message.transfer else "")
        case PreVoteReply() | VoteReply():
            return "granted" if message.granted else "refused"
        case Heartbeat():
            return f"round={message.round} commit={message.commit}/{message.commit_term}"
        case HeartbeatReply():
            return f"round={message.round}"
        case Commit():
            return f"commit={message.index}/{message.entry_term}"
        case InstallSnapshot():
            end = " done" if message.done else ""
            return f"snapshot={message.meta.index}/{message.meta.term} at={message.offset}{end}"
        case SnapshotReply():
            return f"snapshot={message.index} wants={message.offset}"
        case _:
            return ""


def _entries(entries: tuple[Entry, ...]) -> str:
    return ", ".join(f"{entry.index}/{entry.term} {_data(entry)}" for entry in entries)


def _data(entry: Entry) -> str:
    return entry.data.decode() if entry.kind is EntryKind.NORMAL else entry.kind.name.lower()


def _recipients(messages: tuple[Message, ...]) -> str:
    return ", ".join(f"{type(message).__name__}->{message.to}" for message in messages)

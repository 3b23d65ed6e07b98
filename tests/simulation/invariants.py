"""What must hold after every step, whatever happens (Figure 3 of the paper, and what clients were told).

    election safety        at most one leader per term
    log matching           an entry of one index and term is the same everywhere, and so is the one before it
    leader completeness    a leader holds every entry that was committed in an earlier term
    state-machine safety   no two servers apply different entries at one index, or get different answers
    acknowledged           what a client was told is committed, and stays so

Each check costs a few lookups at the event that could break it, so all of them run at all times.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Violation(Exception):
    """A promise of consensus was broken. `rule` names it."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class EntryLike(Protocol):
    @property
    def index(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Known:
    """An entry somebody has, by (index, term)."""

    data: bytes
    kind: Any
    term_before: int


class Invariants:
    def __init__(self) -> None:
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, tuple[int, bytes]] = {}  # index -> (term, data)
        self.committed_last = 0
        self._entries: dict[tuple[int, int], _Known] = {}
        self._commits: dict[int, int] = {}  # term in which it was committed -> greatest index
        self._answers: dict[int, Any] = {}
        self._states: dict[int, bytes] = {}
        self._acknowledged: list[tuple[int, int, bytes]] = []

    def leads(self, server: str, term: int) -> None:
        """A server became leader of `term`."""
        before = self.leaders.setdefault(term, server)
        if before != server:
            raise Violation("election safety", f"{before} and {server} both lead term {term}")

    def complete(self, server: str, term: int, term_at: Callable[[int], int | None]) -> None:
        """The leader of `term` has its log on disk. `term_at`: None for what its snapshot covers."""
        last = max((index for at, index in self._commits.items() if at < term), default=0)
        if last:
            # By log matching, who holds the last of them holds all before it.
            found = term_at(last)
            if found is not None and found != self.committed[last][0]:
                raise Violation(
                    "leader completeness",
                    f"{server} leads term {term}, but at index {last} it has term {found} "
                    f"and not the committed {self.committed[last][0]}",
                )

    def holds(self, server: str, entry: Any, term_before: int) -> None:
        """A server put an entry in its log, after one of `term_before`."""
        now = _Known(entry.data, entry.kind, term_before)
        known = self._entries.setdefault((entry.index, entry.term), now)
        if known != now:
            raise Violation(
                "log matching", f"{server} holds {now} at {entry.index}/{entry.term}, others {known}"
            )

    def truncates(self, server: str, from_index: int, commit: int) -> None:
        """A server is about to replace its log from an index on."""
        if from_index <= commit:
            raise Violation(
                "state-machine safety", f"{server} cuts its log at {from_index}, committed is {commit}"
            )

    def commits(self, server: str, entry: Any, term_now: int) -> None:
        """A server of term `term_now` takes an entry for committed."""
        known = self.committed.get(entry.index)
        if known is None:
            self.committed[entry.index] = (entry.term, entry.data)
            self.committed_last = max(self.committed_last, entry.index)
            self._commits[term_now] = max(self._commits.get(term_now, 0), entry.index)
        elif known != (entry.term, entry.data):
            raise Violation(
                "state-machine safety",
                f"{server} commits {(entry.term, entry.data)!r} at {entry.index}, another server {known!r}",
            )

    def applies(self, server: str, index: int, answer: Any) -> None:
        """A server's state machine answered the entry at `index`."""
        known = self._answers.setdefault(index, answer)
        if known != answer:
            raise Violation(
                "state-machine safety", f"{server} answers {answer!r} at {index}, another server {known!r}"
            )

    def state(self, server: str, index: int, digest: bytes) -> None:
        """A server's whole state after `index`."""
        if self._states.setdefault(index, digest) != digest:
            raise Violation("state-machine safety", f"{server} has another state at {index}")

    def acknowledges(self, index: int, term: int, data: bytes) -> None:
        """A client is told that its write is done."""
        self._acknowledged.append((index, term, data))
        if self.committed.get(index) != (term, data):
            raise Violation("acknowledged", f"the write {data!r} at {index} is not committed")

    def finally_holds(self, server: str, has: Callable[[int], tuple[int, bytes] | None]) -> None:
        """At the end: what was acknowledged is still in the log (None: in the snapshot)."""
        for index, term, data in self._acknowledged:
            found = has(index)
            if found is not None and found != (term, data):
                raise Violation("acknowledged", f"{server} lost {data!r}, acknowledged at {index}")

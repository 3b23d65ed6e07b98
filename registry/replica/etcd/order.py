"""Sans-IO. The order of the log, and what the outcome of an append means.

Commands are ordered by their index, which is contiguous, and never by etcd's revision. An append is a
transaction that compares the tail: of all writers one wins an index, and the others see whose it is. One
that a leader makes compares the leader's key too, so a deposed leader writes nothing.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from ...errors import LogCorrupt
from .errors import Gap, WentBack


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands that were appended together; `first` is the index of the first."""

    first: int
    writer: int
    commands: tuple[bytes, ...]

    @property
    def last(self) -> int:
        return self.first + len(self.commands) - 1


class Order:
    """Takes batches from wherever they come, and lets each command pass once, in order."""

    def __init__(self) -> None:
        self.last_index = 0
        self.resume = 1  # the first index of the next batch

    def passes(self, batch: Batch) -> Batch | None:
        """What is new of the batch; None when all is known. Raises Gap or LogCorrupt."""
        if batch.first < self.resume:
            return None
        if batch.first > self.resume:
            raise Gap(f"commands {self.resume} to {batch.first - 1} were missed")
        if batch.last <= self.last_index:
            raise LogCorrupt(f"etcd: the batch at index {batch.first} ends too early; restore a backup")
        known = self.last_index + 1 - batch.first
        self.last_index, self.resume = batch.last, batch.last + 1
        return Batch(batch.first + known, batch.writer, batch.commands[known:])

    def jump(self, last_index: int, resume: int) -> None:
        """A snapshot takes the place of all that came before; it may end within the batch at `resume`."""
        if last_index > self.last_index:
            self.last_index, self.resume = last_index, resume


class Boundaries:
    """Where batches begin and end that are taken but not applied whole."""

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int]] = deque()

    def note(self, batch: Batch, applied: int) -> None:
        """A batch was taken while all up to `applied` was applied."""
        self._batches.append((batch.first, batch.last))
        while self._batches[0][1] <= applied:
            self._batches.popleft()
            if not self._batches:
                return

    def resume_after(self, index: int) -> int:
        """The first index of the batch that holds the command after `index`."""
        return next((first for first, last in self._batches if first <= index < last), index + 1)


class Verdict(Enum):
    """What became of an append."""

    APPENDED = auto()
    TAKEN = auto()  # another writer has the index: try at the next one
    DEPOSED = auto()  # the index is free, but this server does not lead any more
    MISSING = auto()  # the index is free and nothing forbids it: try again


def judge(batch: Batch, *, succeeded: bool, tail: int, writer: int | None, fenced: bool) -> Verdict:
    """What a transaction's answer says.

    `tail` and `writer` are what was found: the last index, and who wrote the batch at `batch.first` (None:
    nobody, or it has been trimmed since). A transaction that seems to have failed may be a second attempt
    whose first one was carried out. Raises WentBack when the log is shorter than what was appended to it.
    """
    if succeeded or writer == batch.writer:
        return Verdict.APPENDED
    if tail >= batch.first:
        return Verdict.TAKEN
    if tail < batch.first - 1:
        raise went_back(f"its log ends with index {tail}, after {batch.first - 1}")
    return Verdict.DEPOSED if fenced else Verdict.MISSING


class History:
    """Watches that etcd only goes forward: the same cluster, and a revision that never falls."""

    def __init__(self) -> None:
        self._cluster_id = 0
        self.revision = 0

    def check(self, cluster_id: int, revision: int, asked_at: int) -> None:
        """Of a linearizable answer; `asked_at` is `self.revision` when it was asked for. Raises WentBack."""
        if self._cluster_id and cluster_id != self._cluster_id:
            raise went_back(f"another etcd answers (cluster {cluster_id:x}, not {self._cluster_id:x})")
        if revision < asked_at:
            raise went_back(f"its revision is {revision}, after {asked_at}")
        self._cluster_id = cluster_id
        self.revision = max(self.revision, revision)


def went_back(what: str) -> WentBack:
    return WentBack(
        f"etcd went back: {what}; it was replaced or restored from a backup. Start all servers again to "
        "accept what it holds; writes that were answered since are lost"
    )

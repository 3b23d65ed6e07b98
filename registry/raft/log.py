"""The log (§5.3): entries that are on disk, read through `Storage`, and behind them those that are not yet.

Four marks move through it: `commit` (§5.3), `durable` (what is on this disk), how far entries were handed
out to be written, and how far committed ones were handed out to be applied. A truncation (§5.3: a
conflict of terms) takes the marks back with it, also for writes that are still under way.
"""

from collections import deque
from collections.abc import Sequence

from weft.errors import InvariantBroken, invariant

from .config import Config
from .limits import ENTRY_OVERHEAD_BYTES
from .messages import Entry, EntryKind, SnapshotMeta
from .storage import Storage

_SCAN_BYTES = 4 * 1024 * 1024  # entries looked through at a time at the start


class Log:
    """Entry `first_index()` to `last_index`, with the membership that they make."""

    def __init__(self, storage: Storage, commit: int) -> None:
        """`commit` is the one of the hard state. Raises InvariantBroken when the log lacks it."""
        snapshot = storage.snapshot()
        self._storage = storage
        self.last_index = self.durable = self._handed = storage.last_index()
        self.commit = max(commit, snapshot.index)
        self.applied = snapshot.index  # handed out to be applied
        self._tail: list[Entry] = []  # from durable + 1 on, or from the snapshot being installed
        self._tail_from = self.last_index + 1
        self.installing: SnapshotMeta | None = None
        self._writes: deque[list[int]] = deque()  # [number, the last index durable once it is written]
        invariant(
            self.commit <= self.last_index,
            f"the log ends at {self.last_index}, but {self.commit} was committed: synced entries are gone",
        )
        self._configs = [(snapshot.index, snapshot.config)]
        self._scan(snapshot.index + 1)
        self._config_changed()

    # Reading

    def first_index(self) -> int:
        return self.installing.index + 1 if self.installing else self._storage.first_index()

    def term(self, index: int) -> int | None:
        """The term at `index`; None where the log has (or keeps) no entry."""
        if index >= self._tail_from:
            return self._tail[index - self._tail_from].term if index <= self.last_index else None
        if self.installing:
            return self.installing.term if index == self.installing.index else None
        return self._storage.term(index)

    @property
    def last_term(self) -> int:
        term = self.term(self.last_index)
        invariant(term is not None, f"the log has no term at its end, {self.last_index}")
        return term or 0

    def entries(self, low: int, high: int, bytes_max: int) -> list[Entry]:
        """Entries low <= index < high, at least one of them, otherwise no more than `bytes_max`."""
        high = min(high, low + bytes_max // ENTRY_OVERHEAD_BYTES + 1)
        start = self._tail_from
        if low >= start:
            return bounded(self._tail[low - start : high - start], bytes_max)
        found = self._storage.entries(low, min(high, start), bytes_max)
        if high > start and len(found) == start - low:
            found = found + self._tail[: high - start]
        return bounded(found, bytes_max)

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so is at least as up to date as this one (§5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def agreement(self, index: int, term: int, floor: int = 0) -> tuple[int, int]:
        """(The largest index up to `index` whose term is not above `term`, its term): where a log with
        (index, term) may agree with this one (§5.3). Up to `floor` they are known to."""
        high = min(index, self.last_index)
        low = min(max(self.first_index() - 1, floor), high)
        while low < high:  # terms never descend along the log
            middle = (low + high + 1) // 2
            if (self.term(middle) or 0) <= term:
                low = middle
            else:
                high = middle - 1
        return low, self.term(low) or 0

    # Growing

    def append(self, entries: Sequence[Entry]) -> None:
        """Adds entries at their index; what stood there or above is in conflict with them and goes."""
        if not entries:
            return
        first = entries[0].index
        invariant(
            self.commit < first <= self.last_index + 1,
            f"entries from {first} on a log to {self.last_index}, committed to {self.commit}",
        )
        if first <= self.last_index:
            self._truncate(first)
        self._tail += entries
        self.last_index += len(entries)
        configs = [(entry.index, _config(entry)) for entry in entries if entry.kind is EntryKind.CONFIG]
        if configs:
            self._configs += configs
            self._config_changed()

    def first_conflict(self, entries: Sequence[Entry]) -> int:
        """The position of the first entry that this log lacks or has with another term (figure 2,
        AppendEntries 3 and 4); len(entries) when it has them all."""
        if not entries or entries[0].index > self.last_index:  # the usual case
            return 0
        for position, entry in enumerate(entries):
            if self.term(entry.index) != entry.term:
                return position
        return len(entries)

    def commit_to(self, index: int) -> None:
        """The commit index never goes back, and never beyond the log."""
        invariant(index <= self.last_index, f"commit of {index} on a log to {self.last_index}")
        self.commit = max(self.commit, index)

    def learn_commit(self, index: int, term: int) -> None:
        """The entry of that index and term is committed. A log that has it has all before it as well (§5.3,
        log matching); any other learns nothing."""
        if self.commit < index <= self.last_index and self.term(index) == term:
            self.commit = index

    def restore(self, meta: SnapshotMeta) -> None:
        """A snapshot takes the place of the complete log (§7)."""
        invariant(meta.index > self.commit, f"snapshot of {meta.index}, committed to {self.commit}")
        self._tail, self._tail_from = [], meta.index + 1
        self.installing = meta
        # Until it is on disk the driver may still make a snapshot of what it applied before: keep those.
        self._configs = [(at, config) for at, config in self._configs if at <= self.commit]
        self._configs.append((meta.index, meta.config))
        self.last_index = self.commit = self.applied = self._handed = meta.index
        self._durable_up_to(0)
        self._config_changed()

    # Writing and applying

    @property
    def has_news(self) -> bool:
        """Whether there is something to write or to apply."""
        return self._handed < self.last_index or self.applied < min(self.commit, self.durable)

    def take_unwritten(self) -> list[Entry]:
        """Entries to write, each handed out once (again only when it came back after a truncation)."""
        entries = self._tail[self._handed + 1 - self._tail_from :]
        self._handed = self.last_index
        return entries

    def take_committed(self, bytes_max: int) -> list[Entry]:
        """The next entries to apply: committed, and on this disk, so that no state is ahead of its log."""
        low, high = self.applied + 1, min(self.commit, self.durable) + 1
        if low >= high:
            return []
        entries = self.entries(low, high, bytes_max)
        self.applied = entries[-1].index
        return entries

    def writing(self, number: int) -> None:
        """Everything handed out so far is durable once write `number` is."""
        self._writes.append([number, self._handed])

    def written(self, number: int) -> None:
        """Write `number` is on disk, and `storage` shows it."""
        invariant(bool(self._writes) and self._writes[0][0] == number, f"write {number} ended out of order")
        _, last = self._writes.popleft()
        if self.installing and last >= self.installing.index:
            self.installing = None
        if last > self.durable:
            self.durable = last
            del self._tail[: last + 1 - self._tail_from]
            self._tail_from = last + 1

    # Membership

    @property
    def config(self) -> Config:
        """In force: the newest of the log, committed or not (thesis 4.1)."""
        return self._configs[-1][1]

    @property
    def config_index(self) -> int:
        return self._configs[-1][0]

    def config_at(self, index: int) -> Config:
        return next(config for at, config in reversed(self._configs) if at <= index)

    def may_campaign(self, server: str) -> bool:
        """Voters may, and those whose removal is not yet committed: they may be the only ones with an entry
        that the others still need (thesis 4.2.2)."""
        if server in self.voters:
            return True
        return self.config_index > self.commit and server in self._configs[-2][1].voters

    def _config_changed(self) -> None:
        self.voters = self.config.voters
        base = self._storage.snapshot().index
        while len(self._configs) > 1 and self._configs[1][0] <= base:
            del self._configs[0]

    def _scan(self, low: int) -> None:
        while low <= self.last_index:
            found = self._storage.entries(low, self.last_index + 1, _SCAN_BYTES)
            invariant(bool(found), f"the storage has no entry {low} of {self.last_index}")
            self._configs += [
                (entry.index, _config(entry)) for entry in found if entry.kind is EntryKind.CONFIG
            ]
            low = found[-1].index + 1

    # Truncation

    def _truncate(self, first: int) -> None:
        """Drops entries from `first` on; `append` puts others there."""
        if first < self._tail_from:
            self._tail, self._tail_from = [], first
        else:
            del self._tail[first - self._tail_from :]
        self.last_index = first - 1
        self._handed = min(self._handed, first - 1)
        self._durable_up_to(first - 1)
        if self.config_index >= first:
            self._configs = [(at, config) for at, config in self._configs if at < first]
            self._config_changed()

    def _durable_up_to(self, index: int) -> None:
        """What a write under way puts above `index` will be overwritten by a later one: it never counts."""
        self.durable = min(self.durable, index)
        for write in self._writes:
            write[1] = min(write[1], index)


def size(entries: Sequence[Entry]) -> int:
    """What entries count in bounds of bytes."""
    return sum([len(entry.data) for entry in entries]) + len(entries) * ENTRY_OVERHEAD_BYTES


def bounded(entries: list[Entry], bytes_max: int) -> list[Entry]:
    """As many of them as fit, and the first in any case."""
    if size(entries) <= bytes_max:
        return entries
    left = bytes_max
    for count, entry in enumerate(entries):
        left -= len(entry.data) + ENTRY_OVERHEAD_BYTES
        if left < 0 and count:
            return entries[:count]
    return entries


def _config(entry: Entry) -> Config:
    try:
        return Config.decode(entry.data)
    except ValueError as error:
        raise InvariantBroken(f"log entry {entry.index} is no configuration: {error}") from error

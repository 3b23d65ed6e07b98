"""The log: against a simple model, and the corners by name."""

from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.raft.config import Config
from registry.raft.limits import ENTRY_OVERHEAD_BYTES
from registry.raft.log import Log, bounded, size
from registry.raft.memory import MemoryStorage
from registry.raft.messages import Entry, EntryKind, SnapshotMeta
from registry.raft.ready import Ready
from tests.support.raft import NOTHING, filled
from weft.errors import InvariantBroken


def entries(first: int, *terms: int) -> list[Entry]:
    return [Entry(term, index, EntryKind.NORMAL, b"x") for index, term in enumerate(terms, first)]


class Driver:
    """A log over a storage that is written later, in order."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.storage = storage
        self.log = Log(storage, storage.hard_state().commit)
        self.plans: deque[Ready] = deque()
        self.number = 0

    def begin(self, install: SnapshotMeta | None = None) -> None:
        self.number += 1
        new = tuple(self.log.take_unwritten())
        self.plans.append(replace(NOTHING, number=self.number, entries=new, install=install))
        self.log.writing(self.number)

    def finish(self) -> None:
        if self.plans:
            plan = self.plans.popleft()
            self.storage.write(plan)
            self.log.written(plan.number)

    def terms(self) -> list[int | None]:
        return [self.log.term(index) for index in range(1, self.log.last_index + 1)]


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 3), st.integers(1, 3)),  # back by n, that many entries
    st.tuples(st.just("begin"), st.just(0), st.just(0)),
    st.tuples(st.just("finish"), st.just(0), st.just(0)),
    st.tuples(st.just("commit"), st.integers(0, 9), st.just(0)),
)


@given(st.lists(STEPS, max_size=40))
def test_the_log_is_what_was_last_written_to_each_index(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is under way: terms and entries are those of the model, durable ones are on the disk, and
    committed ones come out once, in order."""
    driver = Driver(MemoryStorage())
    log, model, term, applied = driver.log, list[int](), 0, list[int]()
    for what, number, count in steps:
        if what == "append":
            keep = max(log.commit, len(model) - number)
            term += keep < len(model) or not model
            model = [*model[:keep], *[term] * count]
            log.append(entries(keep + 1, *[term] * count))
        elif what == "begin":
            driver.begin()
        elif what == "finish":
            driver.finish()
        else:
            log.commit_to(min(number, log.last_index))
        applied += [entry.index for entry in log.take_committed(1 << 20)]
        assert driver.terms() == model
        assert [entry.term for entry in log.entries(1, len(model) + 1, 1 << 20)] == model
        assert [driver.storage.term(index) for index in range(1, log.durable + 1)] == model[: log.durable]
        assert applied == list(range(1, len(applied) + 1))
        assert len(applied) <= min(log.commit, log.durable)
    while driver.plans:
        driver.finish()
    driver.begin()
    driver.finish()
    assert log.durable == len(model) == driver.storage.last_index()


@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=12), st.integers(0, 6))
def test_agreement_never_skips_a_place_where_two_logs_agree(
    rises: list[int], others: list[int], common: int
) -> None:
    """§5.3: the leader may go back to the hint at once, whatever the two logs hold."""

    def ascending(rises: list[int]) -> list[int]:
        return [1 + sum(rises[: at + 1]) for at in range(len(rises))]

    follower, leader = ascending(rises), ascending(others)
    shared = min(common, len(follower), len(leader))
    leader = sorted(
        [*follower[:shared], *[max(t, follower[shared - 1] if shared else 1) for t in leader[shared:]]]
    )
    agree = max(
        (at for at in range(1, min(len(follower), len(leader)) + 1) if follower[:at] == leader[:at]),
        default=0,
    )
    mine, theirs = Log(filled(follower), 0), Log(filled(leader), 0)
    prev = len(leader)
    hint, hint_term = mine.agreement(prev, theirs.last_term if leader else 0)
    assert agree <= hint <= prev
    back, _ = theirs.agreement(hint, hint_term)
    assert agree <= back <= hint


def test_a_write_that_a_truncation_overtook_does_not_count() -> None:
    """The same index and term may even come back later: durable is what the last write leaves there."""
    driver = Driver(filled([1]))
    log = driver.log
    log.append(entries(2, 1, 1))
    driver.begin()
    log.append(entries(2, 2))
    driver.begin()
    log.append(entries(2, 1, 1))  # term 3's leader has the old entries
    driver.begin()
    driver.finish()
    assert log.durable == 1
    driver.finish()
    assert log.durable == 1
    driver.finish()
    assert log.durable == 3


def test_nothing_committed_is_ever_truncated() -> None:
    log = Log(filled([1, 1]), 2)
    with pytest.raises(InvariantBroken, match="committed to 2"):
        log.append(entries(2, 2))


def test_a_gap_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="entries from 4 on a log to 2"):
        Log(filled([1, 1]), 0).append(entries(4, 1))


def test_a_log_that_lost_committed_entries_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="the log ends at 2, but 3 was committed"):
        Log(filled([1, 1]), 3)


def test_an_entry_that_is_no_configuration_is_refused() -> None:
    log = Log(filled([]), 0)
    with pytest.raises(InvariantBroken, match="log entry 1 is no configuration"):
        log.append([Entry(1, 1, EntryKind.CONFIG, b"?")])


def test_membership_follows_the_log_and_its_truncation() -> None:
    """Thesis 4.1: the newest configuration of the log is in force, and falls back when its entry goes."""
    log = Log(filled([1]), 0)
    log.append([Entry(1, 2, EntryKind.CONFIG, Config.of("abcd").encode())])
    assert (log.voters, log.config_index) == (set("abcd"), 2)
    assert log.config_at(1) == Config.of("abc")
    log.append(entries(2, 2))
    assert (log.voters, log.config_index) == (set("abc"), 0)


def test_membership_is_found_again_at_the_start() -> None:
    storage = filled([1, 1])
    config = Config.of("ab", "d")
    storage.write(replace(NOTHING, entries=(Entry(1, 3, EntryKind.CONFIG, config.encode()), *entries(4, 1))))
    log = Log(storage, 0)
    assert (log.config, log.config_index) == (config, 3)


def test_a_snapshot_replaces_the_log_before_it_is_on_disk() -> None:
    driver = Driver(filled([1, 1, 1]))
    log = driver.log
    meta = SnapshotMeta(7, 4, Config.of("xyz"))
    log.restore(meta)
    assert (log.last_index, log.commit, log.applied, log.durable, log.first_index()) == (7, 7, 7, 0, 8)
    assert (log.term(7), log.term(2), log.last_term, log.voters) == (4, None, 4, set("xyz"))
    log.append(entries(8, 4))
    log.commit_to(8)
    assert log.take_committed(1) == []
    driver.begin(install=meta)
    driver.finish()
    assert (log.durable, log.installing, driver.storage.snapshot()) == (8, None, meta)
    assert [entry.index for entry in log.take_committed(1)] == [8]


def test_what_was_applied_before_a_snapshot_arrived_keeps_its_membership() -> None:
    """The driver may be making a snapshot of it while the one of the leader is still to be written."""
    driver = Driver(filled([1, 1]))
    log = driver.log
    log.append(
        [Entry(1, index, EntryKind.CONFIG, Config.of(ids).encode()) for index, ids in ((3, "ab"), (4, "a"))]
    )
    log.commit_to(3)
    log.restore(SnapshotMeta(7, 4, Config.of("xyz")))
    assert [log.config_at(index) for index in (2, 3, 7)] == [
        Config.of("abc"),
        Config.of("ab"),
        Config.of("xyz"),
    ]
    assert (log.voters, log.config_index) == (set("xyz"), 7)


def test_reading_is_bounded_by_bytes_but_never_empty() -> None:
    driver = Driver(MemoryStorage())
    driver.log.append([Entry(1, index, EntryKind.NORMAL, bytes(100)) for index in range(1, 5)])
    driver.begin()
    driver.finish()
    driver.log.append([Entry(1, index, EntryKind.NORMAL, bytes(100)) for index in range(5, 9)])
    one = 100 + ENTRY_OVERHEAD_BYTES
    for count in range(1, 9):
        assert len(driver.log.entries(1, 9, one * count)) == count
        assert len(driver.log.entries(1, 9, one * count + one - 1)) == count
    assert len(driver.log.entries(1, 9, 0)) == 1
    assert [entry.index for entry in driver.log.entries(4, 7, 1 << 20)] == [4, 5, 6]
    assert size(driver.log.entries(1, 9, 1 << 20)) == 8 * one
    assert bounded([], 0) == []

"""The simulated clock, network and disk do what a real one may do, and nothing that it may not."""

import random
from collections import Counter
from functools import partial

from tests.simulation.clock import LocalClock, Scheduler
from tests.simulation.disk import Disk
from tests.simulation.network import Network, Weather, between


def test_events_run_by_time_and_then_in_the_order_asked_for() -> None:
    scheduler, seen = Scheduler(), []
    for name, delay_us in (("late", 9), ("first", 5), ("second", 5)):
        scheduler.after(delay_us, lambda it: seen.append((scheduler.now_us, it)), name)
    scheduler.run_until(7)
    assert seen == [(5, "first"), (5, "second")] and scheduler.now_us == 7
    scheduler.run_until(100)
    assert seen[-1] == (9, "late")


def test_a_clock_drifts_without_a_jump() -> None:
    scheduler = Scheduler()
    clock = LocalClock(scheduler, 100_000, start_us=50)
    scheduler.run_until(1_000)
    assert clock.now_us() == 1_150
    clock.set_rate(-100_000)
    assert clock.now_us() == 1_150
    scheduler.run_until(2_000)
    assert clock.now_us() == 2_050
    assert clock.true_delay_us(900) == 1_000


class Post:
    """Two endpoints and what arrived."""

    def __init__(self, weather: Weather) -> None:
        self.scheduler = Scheduler()
        self.network = Network(self.scheduler, random.Random("post"), weather)
        self.arrived: list[tuple[str, str, int]] = []
        for name in ("a", "b"):
            self.network.attach(name, partial(self._arrive, name))

    def _arrive(self, to: str, sender: str, number: int) -> None:
        self.arrived.append((sender, to, number))

    def numbers(self, count: int, *, from_: str = "a", to: str = "b") -> list[int]:
        for number in range(count):
            self.network.send(from_, to, number)
        self.scheduler.run_until(self.scheduler.now_us + 60_000_000)
        found = [number for sender, receiver, number in self.arrived if (sender, receiver) == (from_, to)]
        self.arrived.clear()
        return found


def test_fair_weather_loses_and_doubles_nothing() -> None:
    assert sorted(Post(Weather()).numbers(100)) == list(range(100))


def test_messages_are_dropped_doubled_and_overtaken() -> None:
    found = Post(Weather(drop=0.2, duplicate=0.2, straggle=0.2)).numbers(500)
    counts = Counter(found)
    assert 300 < len(counts) < 480
    assert max(counts.values()) == 2
    assert found != sorted(found)


def test_a_cut_is_one_way_and_loses_what_is_under_way() -> None:
    post = Post(Weather())
    post.network.send("a", "b", 0)
    post.network.cut(between(["a"], ["b"]))
    assert post.numbers(10) == []
    assert len(post.numbers(10, from_="b", to="a")) == 10
    post.network.mend([("a", "b")])
    assert len(post.numbers(10)) == 10


def test_a_link_that_two_partitions_cut_is_mended_by_the_second() -> None:
    post = Post(Weather())
    post.network.cut([("a", "b")])
    post.network.cut([("a", "b")])
    post.network.mend([("a", "b")])
    assert post.numbers(1) == []
    post.network.mend([("a", "b")])
    assert post.numbers(1) == [0]


def test_nobody_hears_what_is_sent_to_a_server_that_is_down() -> None:
    post = Post(Weather())
    post.network.detach("b")
    assert post.numbers(3) == []


def crashes(count: int = 200) -> list[Disk]:
    """A file of which 3 of 6 records are synced, after so many different crashes."""
    found = []
    for seed in range(count):
        disk = Disk()
        disk.create("log")
        disk.append("log", 1, 2, 3)
        disk.sync("log")
        disk.sync_names()
        disk.append("log", 4, 5, 6)
        disk.crash(random.Random(seed))
        found.append(disk)
    return found


def test_trap_19_a_crash_loses_or_tears_only_unsynced_records() -> None:
    lengths: Counter[tuple[int, bool]] = Counter()
    for disk in crashes():
        records = disk.files["log"].records
        assert [record.payload for record in records] == [1, 2, 3, 4, 5, 6][: len(records)]
        assert len(records) >= 3 and all(record.intact for record in records[:3])
        assert all(record.intact for record in records[:-1])  # at most the last one is torn
        lengths[len(records), records[-1].intact] += 1
    assert set(lengths) == {(3, True), *((length, torn) for length in (4, 5, 6) for torn in (True, False))}


def test_an_unsynced_name_may_be_undone_and_a_synced_one_is_not() -> None:
    outcomes = set()
    for seed in range(50):
        disk = Disk()
        disk.create("old")
        disk.create("kept")
        disk.sync_names()
        disk.rename("old", "new")
        disk.create("late")
        disk.remove("kept")
        disk.crash(random.Random(seed))
        names = set(disk.files)
        assert len(names & {"old", "new"}) <= 1
        outcomes.add(frozenset(names))
    seen = set().union(*outcomes)
    assert seen == {"old", "new", "late", "kept"}
    assert any("late" not in names for names in outcomes) and any("kept" not in names for names in outcomes)


def test_corruption_shows() -> None:
    disk = Disk()
    disk.create("log")
    disk.append("log", 1, 2)
    disk.sync("log")
    disk.corrupt("log", 0)
    assert [record.intact for record in disk.files["log"].records] == [False, True]

"""From what servers hear to what the leader knows: lost reports, servers that go, leaders that change.

The last test simulates all of it, by seed.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from registry.liveness.judge import Judge
from registry.liveness.limits import (
    AGENTS_PER_S,
    ANSWER_S,
    KEEPALIVE_S_MAX,
    KEEPALIVE_S_MIN,
    KEEPALIVES_PER_S_MAX,
    LEADER_GRACE_S,
    LOST_AFTER_S,
    REPORT_BYTES_MAX,
    STALE_S,
)
from registry.liveness.roster import Lease, Roster
from weft.pb.agent.v1.agent_pb2 import Hello
from weft.pb.server.v1.server_pb2 import ReportAgentsRequest

SEEDS = range(40)
TOLD = Hello(address="10.0.0.1")


def roster(server: str = "s1", run: bytes = b"1") -> Roster:
    return Roster(server, run)


def test_the_first_report_is_whole_and_the_next_says_what_is_new() -> None:
    mine = roster()
    mine.begin("a", TOLD, 0)
    first = mine.report(1)
    mine.begin("b", TOLD, 1)
    second = mine.report(2)
    assert (first.whole, [it.node for it in first.heard]) == (True, ["a"])
    assert (second.whole, [it.node for it in second.heard]) == (False, ["b"])
    assert second.sequence == first.sequence + 1
    assert not mine.report(3).heard


def test_an_end_is_told_with_the_silence_before_it() -> None:
    mine = roster()
    lease = mine.begin("a", TOLD, 10)
    mine.renew(lease, 11)
    mine.report(11)
    mine.end(lease)
    (ended,) = mine.report(13.5).ended
    assert (ended.node, ended.silent_ms) == ("a", 2500)


def test_who_comes_back_before_the_report_was_never_away() -> None:
    mine = roster()
    mine.report(0)
    mine.end(mine.begin("a", TOLD, 0))
    mine.begin("a", TOLD, 1)
    told = mine.report(2)
    assert ([it.node for it in told.heard], list(told.ended)) == (["a"], [])


def test_the_older_stream_of_an_agent_ends_nothing() -> None:
    mine = roster()
    first, second = mine.begin("a", TOLD, 0), mine.begin("a", TOLD, 1)
    assert (mine.renew(first, 2), mine.renew(second, 2)) == (False, True)
    mine.end(first)
    assert len(mine) == 1
    assert not mine.report(3).ended


def test_what_does_not_fit_one_message_follows_in_the_next() -> None:
    mine = roster()
    told = Hello(address="10.0.0.1", meta={"rack": "7" * 500})
    for number in range(3 * REPORT_BYTES_MAX // 1000):
        mine.begin(f"a{number}", told, 0)
    judge, reports = Judge(0, grace_s=0), 0
    while not reports or mine.has_more:
        report = mine.report(1)
        assert report.ByteSize() < 2 * REPORT_BYTES_MAX
        assert judge.take(report, 1)
        reports += 1
    assert reports > 1
    assert all(judge.told(f"a{number}") for number in range(len(mine)))


def test_with_more_agents_each_speaks_less_often() -> None:
    mine = roster()
    assert mine.keepalive_s == KEEPALIVE_S_MIN
    for number in range(2 * KEEPALIVES_PER_S_MAX):
        mine.begin(str(number), TOLD, 0)
    assert mine.keepalive_s == 2.0
    for number in range(20 * KEEPALIVES_PER_S_MAX):
        mine.begin(str(number), TOLD, 0)
    assert mine.keepalive_s == KEEPALIVE_S_MAX


def test_the_loss_of_a_server_is_noticed_in_time() -> None:
    """An agent has found another server before the leader calls it lost, with a second to connect."""
    assert KEEPALIVE_S_MAX + ANSWER_S + 1 < STALE_S + LOST_AFTER_S
    assert KEEPALIVE_S_MAX + ANSWER_S + 1 < LEADER_GRACE_S


def judged(*reports: ReportAgentsRequest) -> Judge:
    judge = Judge(0, grace_s=0)
    assert all(judge.take(report, 0) for report in reports)
    return judge


def test_a_report_out_of_order_is_asked_for_whole() -> None:
    mine = roster()
    mine.begin("a", TOLD, 0)
    judge = judged(mine.report(0))
    mine.begin("b", TOLD, 0)
    mine.report(1)  # lost
    assert not judge.take(mine.report(2), 2)
    assert judge.told("b") is None
    mine.report_whole()
    assert judge.take(mine.report(3), 3)
    assert judge.told("b") == TOLD


def test_a_server_that_has_started_anew_vouches_for_nobody() -> None:
    mine = roster()
    mine.begin("a", TOLD, 0)
    judge = judged(mine.report(0))
    again = roster(run=b"2")
    assert judge.take(again.report(1), 1)
    assert judge.told("a") is None
    late = ReportAgentsRequest(server_id="s1", run_id=b"1", sequence=2)
    assert not judge.take(late, 2)


def test_one_server_is_enough() -> None:
    one, other = roster("s1"), roster("s2")
    lease = one.begin("a", TOLD, 0)
    other.begin("a", TOLD, 0)
    judge = judged(one.report(0), other.report(0))
    one.end(lease)
    assert judge.take(one.report(1), 1)
    assert judge.unheard_s("a", 1) == 0


def test_silence_counts_from_the_last_word() -> None:
    mine = roster()
    lease = mine.begin("a", TOLD, 0)
    judge = judged(mine.report(0))
    mine.end(lease)
    assert judge.take(mine.report(3), 3)
    assert judge.unheard_s("a", 3) == 3


def test_a_server_that_is_not_heard_is_believed_for_a_while() -> None:
    mine = roster()
    mine.begin("a", TOLD, 0)
    judge = judged(mine.report(0))
    assert judge.forget_stale(STALE_S) == []
    assert judge.unheard_s("a", STALE_S) == 0
    assert judge.forget_stale(STALE_S + 0.1) == ["s1"]
    assert judge.unheard_s("a", STALE_S + 1.1 + 1 / AGENTS_PER_S) == pytest.approx(1.0)


def test_trap_23_a_new_leader_gives_the_whole_time_first() -> None:
    judge = Judge(100)
    assert judge.unheard_s("a", 100) < 1e-6
    assert judge.unheard_s("a", 100 + LEADER_GRACE_S) < 1e-6
    assert judge.unheard_s("a", 101 + LEADER_GRACE_S) == pytest.approx(1.0)


def test_trap_23_and_longer_where_many_have_to_move() -> None:
    judge = Judge(0)
    judge.expect(10_000, 1)  # before the other servers have reported
    judge.expect(3_000, 9)
    judge.expect(9, 11)  # counted once
    ends = LEADER_GRACE_S + 3_000 / AGENTS_PER_S
    assert judge.unheard_s("a", ends) < 1e-6
    assert judge.unheard_s("a", ends + 2) == pytest.approx(2.0)


def test_the_agents_of_a_lost_server_have_the_time_that_so_many_need() -> None:
    mine = roster()
    for number in range(500):
        mine.begin(f"a{number}", TOLD, 0)
    judge = judged(mine.report(0))
    judge.forget_stale(10)
    extra = 500 / AGENTS_PER_S
    assert judge.unheard_s("a1", 10 + extra) < 1e-6
    assert judge.unheard_s("a1", 12 + extra) == pytest.approx(2.0)


def test_a_member_that_has_only_just_joined_is_not_silent() -> None:
    judge = Judge(0)
    assert judge.unheard_s("new", 500) < 1e-6
    assert judge.unheard_s("new", 503) == pytest.approx(3.0)


def test_members_that_are_gone_are_forgotten() -> None:
    judge = Judge(0, grace_s=0)
    judge.unheard_s("a", 1)
    judge.unheard_s("b", 1)
    judge.keep_only({"a"})
    assert judge.unheard_s("a", 5) == 4
    assert judge.unheard_s("b", 5) < 1e-6


# Simulated: agents, servers that die or hang, reports that are lost, leaders that change


@dataclass
class World:
    """Steps of 0.1 s. Agents behave as `membership.keeper` does, in what counts here."""

    seed: int
    now: float = 0.0
    alive: set[str] = field(default_factory=lambda: {"s1", "s2", "s3"})
    hung: set[str] = field(default_factory=set)
    leader: str = "s1"

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.rosters = {name: roster(name) for name in sorted(self.alive)}
        self.at: dict[str, tuple[str, Lease]] = {}
        self.speaks_at: dict[str, float] = {}
        self.away_until: dict[str, float] = {}
        self.dead: set[str] = set()
        self.judge = Judge(0)
        self.agents = [f"a{number}" for number in range(30)]

    def works(self, server: str) -> bool:
        return server in self.alive and server not in self.hung

    def step(self) -> None:
        self.now += 0.1
        for name in self.agents:
            if name not in self.dead:
                self._live(name)
        if round(self.now * 10) % 5 == 0:
            self._report()

    def _live(self, name: str) -> None:
        held = self.at.get(name)
        if held is None:
            if self.now >= self.away_until.get(name, 0):
                self._connect(name)
            return
        server, lease = held
        if server not in self.alive:  # the connection breaks at once
            self._leave(name, 0.1 + self.chance.random() * 0.2)
        elif self.now >= self.speaks_at[name]:
            if server in self.hung:
                self._leave(name, ANSWER_S)  # as long as it waits for the answer
            else:
                self.rosters[server].renew(lease, self.now)
                self.speaks_at[name] = self.now + self.rosters[server].keepalive_s

    def _leave(self, name: str, pause_s: float) -> None:
        del self.at[name]
        self.away_until[name] = self.now + pause_s

    def _connect(self, name: str) -> None:
        server = self.chance.choice(sorted(self.rosters))
        if self.works(server):
            self.at[name] = (server, self.rosters[server].begin(name, TOLD, self.now))
            self.speaks_at[name] = self.now + self.rosters[server].keepalive_s
        else:
            self.away_until[name] = self.now + 0.2 * self.chance.random()

    def _report(self) -> None:
        for name in sorted(self.alive - self.hung):
            mine = self.rosters[name]
            for lease in tuple(mine._leases.values()):
                if self.now - lease.heard_at > mine.patience_s:
                    mine.end(lease)
            lost = name != self.leader and self.chance.random() < 0.1
            if not self.works(self.leader) or lost or not self.judge.take(mine.report(self.now), self.now):
                mine.report_whole()
        self.judge.forget_stale(self.now)

    def elect(self) -> None:
        self.leader = self.chance.choice(sorted(self.alive - self.hung))
        self.judge = Judge(self.now)
        for each in self.rosters.values():
            each.report_whole()

    def silent(self) -> set[str]:
        return {name for name in self.agents if self.judge.unheard_s(name, self.now) >= LOST_AFTER_S}

    def run(self, seconds: float, check: Callable[[], None]) -> None:
        end = self.now + seconds
        while self.now < end:
            self.step()
            check()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_loss_of_a_server_makes_a_live_agent_silent_and_a_dead_one_is_found(seed: int) -> None:
    world = World(seed)

    def nobody_else() -> None:
        assert world.silent() <= world.dead, f"seed {seed}, at {world.now:.1f} s"

    world.run(12, nobody_else)
    victim = world.chance.choice(sorted(world.alive))
    (world.alive.discard if world.chance.random() < 0.5 else world.hung.add)(victim)
    if victim == world.leader:
        world.run(1 + world.chance.random(), nobody_else)  # until there is another one
        world.elect()
    world.run(15, nobody_else)
    world.dead |= set(world.chance.sample(world.agents, 3))
    for name in world.dead:  # by kill -9: the connection ends
        if held := world.at.pop(name, None):
            world.rosters[held[0]].end(held[1])
    world.run(LOST_AFTER_S + LEADER_GRACE_S, nobody_else)
    assert world.silent() == world.dead, f"seed {seed}"

"""Which step follows: tables of what is seen, and a simulated world that promotes nothing unproven."""

import math
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.canary.decide import LOOKS, Act, Seen, decide, is_beyond_chance
from registry.config_entries.canary import PAUSED, RUNNING, CanaryStatus, ServiceCanary
from registry.measurements.tally import BUCKETS, Tally
from weft.histogram import BOUNDS_S

NOW = 1_800_000_000_000


def canary(step: int = 1, phase: str = RUNNING, **fields: Any) -> ServiceCanary:
    said: dict[str, Any] = {
        "kind": ServiceCanary.KIND,
        "name": "orders",
        "subset": "v2",
        "steps": (1.0, 50.0, 100.0),
        "interval_ms": 60_000,
        "max_p99_ms": 300,
    }
    status = CanaryStatus(phase=phase, step=step, since="", splitter_index=7)
    return ServiceCanary(**(said | fields), status=status)


def calls(good: int, failed: int = 0, seconds: float = 0.002, slow: int = 0) -> Tally:
    """`slow` of the good ones take 2 s."""
    buckets = [0] * BUCKETS
    buckets[bisect_left(BOUNDS_S, seconds)] += good + failed - slow
    buckets[bisect_left(BOUNDS_S, 2.0)] += slow
    return Tally(good + failed, failed, buckets, 0.0)


def seen(step: Tally | None = None, elapsed_s: float = 61.0, **changed: Any) -> Seen:
    step = step or Tally()
    whole = Seen(
        now_ms=NOW,
        since_ms=NOW - int(elapsed_s * 1000),
        splitter_index=7,
        has_instances=True,
        watched_s=elapsed_s,
        step=step,
        recent=Tally(),
    )
    return replace(whole, **changed)


def hold(why: str) -> tuple[Act, str]:
    return Act.HOLD, why


def back(why: str) -> tuple[Act, str]:
    return Act.ROLL_BACK, why


def end(why: str) -> tuple[Act, str]:
    return Act.END, why


ON, LAST = (Act.ADVANCE, "good: 1000 calls"), (Act.FINISH, "good: 1000 calls")
PATIENT = canary(patience_ms=150_000)
LATELY_BAD, LATELY_UNLUCKY = calls(180, 20), calls(95, 4)
TABLE: dict[str, tuple[ServiceCanary, Seen, tuple[Act, str]]] = {
    "enough good calls": (canary(), seen(calls(1000)), ON),
    "the last step": (canary(3), seen(calls(1000)), LAST),
    "just as many failed as may": (canary(), seen(calls(990, 10)), ON),
    "one more": (canary(), seen(calls(989, 11)), back("11 of 1000 calls failed (1.10%), allowed are 1 %")),
    "one more, before the end": (canary(), seen(calls(989, 11), 30), hold("good so far, 30s of 1m0s")),
    "beyond chance, before the end": (canary(), seen(calls(0, 10), 2), back("10 of 10 calls failed")),
    "nine may be chance": (canary(), seen(calls(0, 9), 2), hold("9 of 100 calls that are needed, 2s of")),
    "no failure is allowed": (canary(max_error_percent=0.0), seen(calls(99, 1), 2), back("1 of 100 calls")),
    "slow at the end": (canary(), seen(calls(1000, slow=11)), back("p99 is")),
    "surely slow": (canary(), seen(calls(10, slow=10), 2), back("10 of 10 calls took longer than 300ms")),
    "nobody asked how slow": (canary(max_p99_ms=0), seen(calls(1000, slow=500)), ON),
    "just quick enough": (canary(), seen(calls(1000, slow=10)), ON),
    "too few calls at the end": (canary(), seen(calls(99)), hold("99 of 100 calls that are needed, 1m1s")),
    "too few for too long": (canary(), seen(calls(99), 600), back("not proven good within 10m0s")),
    "nothing measured": (canary(), seen(Tally(), 599), hold("0 of 100 calls")),
    "nothing measured for too long": (canary(), seen(Tally(), 600), back("0 of 100 calls")),
    "patience of one's own": (PATIENT, seen(Tally(), 151), back("within 2m30s")),
    "patience is long enough to watch": (canary(patience_ms=1), seen(calls(99), 119), hold("99 of 100")),
    "a new leader": (canary(), seen(calls(5000), 300, watched_s=10), hold("good so far, 10s of 1m0s")),
    "a clock that is ahead": (canary(), seen(calls(5000), 10, watched_s=90), hold("10s of 1m0s")),
    "leaders that come and go": (canary(), seen(calls(500), 600, watched_s=5), back("not proven good")),
    "lately bad": (canary(), seen(calls(10**6), 30, recent=LATELY_BAD), back("in the last 30 s")),
    "lately unlucky": (canary(), seen(calls(10**5), 30, recent=LATELY_UNLUCKY), hold("good so far")),
    "edited": (canary(), seen(calls(1000), splitter_index=9), end("changed at index 9 by somebody else")),
    "deleted": (canary(), seen(calls(1000), splitter_index=0), end("deleted by somebody else")),
    "edited while paused": (canary(phase=PAUSED), seen(splitter_index=9), end("left as it is")),
    "paused": (canary(phase=PAUSED), seen(calls(0, 500), 10**6), hold("paused")),
    "the beginning": (canary(0), seen(), (Act.ADVANCE, "begins")),
    "nobody there": (canary(0), seen(has_instances=False), hold("v2 has no healthy instance")),
    "nobody comes": (canary(0), seen(None, 600, has_instances=False), back("v2 has no healthy instance")),
}


@pytest.mark.parametrize("what", TABLE)
def test_what_follows(what: str) -> None:
    it, saw, (act, said) = TABLE[what]
    decision = decide(it, saw)
    assert decision.act is act, decision
    assert said in decision.reason


@dataclass
class World:
    """Time that passes for one canary, and what its leader measures."""

    it: ServiceCanary
    now_ms: int = NOW
    since_ms: int = NOW
    watched_s: float = 0.0
    step: Tally = field(default_factory=Tally)
    acts: list[Act] = field(default_factory=list)

    def second(self, came: Tally, new_leader: bool) -> Act:
        self.now_ms += 1000
        self.watched_s += 1.0
        if new_leader:
            self.watched_s, self.step = 0.0, Tally()
        self.step.add(came)
        saw = Seen(self.now_ms, self.since_ms, 7, True, self.watched_s, self.step, came)
        act = decide(self.it, saw).act
        self.acts.append(act)
        if act is Act.ADVANCE:
            self.it = replace(self.it, status=replace(self.it.state, step=self.it.state.step + 1))
            self.since_ms, self.watched_s, self.step = self.now_ms, 0.0, Tally()
        return act


seconds = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=150
)


@settings(max_examples=200)
@given(seconds, st.integers(0, 2))
def test_no_step_is_taken_that_is_not_proven_good(
    came: list[tuple[int, int, int, bool]], fewer_leaders: int
) -> None:
    """Whatever comes, whoever leads: each advance has enough calls, all limits kept, and its time."""
    world = World(canary(0, steps=(10.0, 50.0, 100.0), interval_ms=5_000, max_error_percent=5.0))
    for good, failed, slow, elected in came:
        before = replace(world.it), world.since_ms
        tally = calls(good, failed, slow=min(slow, good))
        measured = Tally.of((*([] if elected and not fewer_leaders else [world.step]), tally))
        act = world.second(tally, elected and not fewer_leaders)
        if act in (Act.ADVANCE, Act.FINISH) and before[0].state.step:
            assert measured.ended >= 100
            assert measured.error_rate <= 0.05
            assert measured.quantile_s(0.99) <= 0.3
            assert world.now_ms - before[1] >= 5_000
        if act in (Act.FINISH, Act.ROLL_BACK, Act.END):
            break
    weights = [act for act in world.acts if act is Act.ADVANCE]
    assert len(weights) <= 3


@given(st.integers(1, 200), st.integers(0, 3))
def test_a_version_that_always_fails_is_taken_back_within_ten_calls(a_second: int, step: int) -> None:
    world = World(canary(min(step, 2) or 1))
    taken = 0
    while (act := world.second(calls(0, a_second), new_leader=False)) is Act.HOLD:
        taken += a_second
        assert taken < 10
    assert act is Act.ROLL_BACK


@given(st.integers(1, 500))
def test_a_good_version_gets_everything_in_as_many_intervals_as_it_has_steps(a_second: int) -> None:
    world = World(canary(0, interval_ms=10_000, min_requests=1))
    for _ in range(4 * 11):
        if world.second(calls(a_second), new_leader=False) is Act.FINISH:
            break
    assert world.acts[-1] is Act.FINISH
    assert world.acts.count(Act.ADVANCE) == 3
    assert len(world.acts) == 1 + 3 * 10


@given(st.integers(0, 30))
def test_without_traffic_it_ends_where_it_began(elections: int) -> None:
    """Also when leaders come and go, each of which knows nothing."""
    world = World(canary(1))
    for second in range(601):
        act = world.second(Tally(), new_leader=bool(elections) and second % elections == 0)
        if act is Act.ROLL_BACK:
            break
        assert act is Act.HOLD
    assert world.acts[-1] is Act.ROLL_BACK
    assert len(world.acts) == 600


@given(st.integers(1, 10**6), st.floats(0.0001, 0.5))
def test_chance_is_bounded_for_few_calls_as_for_many(calls: int, share: float) -> None:
    """The exact tail of the smallest number that counts, where that can be added up."""
    expected = calls * share
    bad = next(it for it in range(int(expected), int(expected) + 10**5) if is_beyond_chance(it, calls, share))
    if expected < 500:
        term, below = math.exp(-expected), 0.0
        for number in range(bad):
            below += term
            term *= expected / (number + 1)
        assert 1 - below <= 1 / LOOKS + 1e-9

"""Counters of workers in their supervisor: the sum of all, whatever becomes of one."""

import json

from sidecar.events import TCP_BYTES
from sidecar.exposition import Exposition
from sidecar.gains import Gained, Gains
from sidecar.telemetry import Direction, Series, Telemetry


def worked(telemetry: Telemetry, requests: int, active: int = 0) -> None:
    """So many requests more, and some that are under way."""
    series = telemetry.series(Direction.OUTBOUND, "web", "orders", "default", "orders.x")
    series.requests += requests
    series.active += active
    series.ended[40] += requests - active
    series.buckets[3] += requests - active
    series.sum_s += 0.25 * requests
    if requests:
        series.refuse("denied")
    telemetry.connections(Direction.INBOUND, "mesh").opened += 2
    telemetry.connections(Direction.INBOUND, "mesh").refuse("too_many")
    pool = telemetry.pool("orders", "orders.x")
    pool.instances, pool.retries = 3, pool.retries + 1
    pool.pending += active
    pool.overflow("pending")
    telemetry.count(TCP_BYTES, "outbound", "web", "db", "sent").value += 100


def told(gains: Gains) -> dict[str, object]:
    """Over the wire and back."""
    found: dict[str, object] = json.loads(json.dumps(gains.take()))
    return found


def page(telemetry: Telemetry) -> list[str]:
    """Without what is of this process."""
    lines = Exposition(telemetry).render().decode().splitlines()
    return sorted(it for it in lines if it.startswith("weft_") and "_created" not in it)


def test_the_sum_of_two_workers_is_what_one_would_have_counted() -> None:
    whole, supervisor = Telemetry(), Telemetry()
    workers = [(it, Gains(it), Gained(supervisor)) for it in (Telemetry(), Telemetry())]
    for round_ in range(3):
        for telemetry, gains, gained in workers:
            worked(telemetry, 5 + round_, 1)
            worked(whole, 5 + round_, 1)
            gained.add(told(gains))
    expected = page(whole)
    assert page(supervisor) == expected
    assert any("weft_pending_requests" in line and line.endswith(" 6.0") for line in expected)


def slots(series: Series) -> dict[str, object]:
    return {slot: getattr(series, slot) for slot in Series.__slots__}


def test_every_field_of_a_series_is_told_and_told_once() -> None:
    telemetry, supervisor = Telemetry(), Telemetry()
    gains, gained = Gains(telemetry), Gained(supervisor)
    series = telemetry.series(Direction.OUTBOUND, "web", "orders", "default", "orders.x")
    untouched = slots(Series(series.call))
    for round_ in range(1, 3):
        series.requests += 8 * round_
        series.active += 1
        series.ended[40] += 7 * round_
        series.buckets[3] += 6 * round_
        series.sum_s += 0.25 * round_
        series.injected += 5 * round_
        series.refuse("denied")
        gained.add(told(gains))
        (found,) = supervisor.all_series.values()
        assert slots(found) == slots(series)
    left = [slot for slot, value in slots(series).items() if slot != "call" and value == untouched[slot]]
    assert left == [], "this test leaves out a field"


def test_a_call_made_to_fail_counts_though_nothing_else_moved() -> None:
    telemetry, supervisor = Telemetry(), Telemetry()
    gains, gained = Gains(telemetry), Gained(supervisor)
    series = telemetry.series(Direction.OUTBOUND, "web", "orders", "default", "orders.x")
    for _ in range(2):
        series.injected += 1
        gained.add(told(gains))
    assert [it.injected for it in supervisor.all_series.values()] == [2]


def test_what_has_not_moved_is_not_told() -> None:
    telemetry = Telemetry()
    gains = Gains(telemetry)
    worked(telemetry, 5)
    assert len(gains.take()["series"]) == 1
    again = gains.take()
    assert (again["series"], again["counts"]) == ([], [])
    worked(telemetry, 1)
    assert gains.take()["series"][0][1] == 1


def test_counts_of_a_worker_that_died_stay_and_what_was_open_goes() -> None:
    supervisor = Telemetry()
    one, gained = Telemetry(), Gained(supervisor)
    worked(one, 5, active=2)
    gained.add(told(Gains(one)))
    gained.forget()
    (series,) = supervisor.all_series.values()
    (connections,) = supervisor.all_connections.values()
    (pool,) = supervisor.all_pools.values()
    assert (series.requests, series.active, sum(series.ended)) == (5, 0, 3)
    assert (connections.opened, connections.closed) == (2, 2)
    assert (pool.retries, pool.pending) == (1, 0)
    two = Telemetry()  # in its place
    worked(two, 4, active=1)
    gained.add(told(Gains(two)))
    assert (series.requests, series.active) == (9, 1)


def test_a_pool_that_is_configured_no_longer_is_on_no_page() -> None:
    supervisor, one = Telemetry(), Telemetry()
    gains, gained = Gains(one), Gained(supervisor)
    worked(one, 1)
    gained.add(told(gains))
    one.forget_pool(one.pool("orders", "orders.x"))
    gained.add(told(gains))
    assert supervisor.all_pools == {}
    assert not [key for key in gains._before if getattr(key, "target", "") == "orders.x"]

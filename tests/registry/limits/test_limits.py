"""Rates of requests, places, sources: without a socket."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.limits.errors import OverRate, TooManyCalls, TooManyWatches
from registry.limits.guard import Limits
from registry.limits.places import Places
from registry.limits.refusals import TELL_EVERY_S, Limit, Refusals
from registry.limits.requests import Kind, RequestLimits
from registry.limits.settings import BURST_S, LimitSettings, Mode, RequestRates
from registry.limits.source import host_of, source_of


def exceeded(limits: RequestLimits, kind: Kind, source: str, times: int, now: float = 0.0) -> list[Limit]:
    found = [limits.exceeded(kind, source, now) for _ in range(times)]
    return [it for it in found if it]


def test_reads_and_writes_are_counted_apart_for_all_and_for_each_source() -> None:
    rates = RequestRates(Mode.ENFORCING, read=3, write=1, source_read=2)
    limits = RequestLimits(rates)
    assert exceeded(limits, Kind.READ, "a", 2 * BURST_S + 1) == [Limit.SOURCE_READ_RATE]
    assert exceeded(limits, Kind.READ, "b", BURST_S) == []
    assert exceeded(limits, Kind.READ, "b", 1) == [Limit.READ_RATE]
    assert exceeded(limits, Kind.WRITE, "a", BURST_S + 2) == [Limit.WRITE_RATE] * 2
    assert exceeded(limits, Kind.READ, "b", 3, now=1.0) == []


def test_a_source_over_its_own_rate_takes_nothing_from_others() -> None:
    limits = RequestLimits(RequestRates(Mode.ENFORCING, read=2, source_read=1))
    exceeded(limits, Kind.READ, "a", 10_000)
    assert exceeded(limits, Kind.READ, "b", BURST_S) == []


@pytest.mark.parametrize("mode", Mode)
def test_modes(mode: Mode) -> None:
    limits = Limits(LimitSettings(rates=RequestRates(mode, read=0.1)), lambda: 0.0)
    limits.request(Kind.READ, "a")
    if mode is Mode.ENFORCING:
        with pytest.raises(OverRate):
            limits.request(Kind.READ, "a")
    else:
        limits.request(Kind.READ, "a")
    assert limits.counts()[Limit.READ_RATE] == (0 if mode is Mode.DISABLED else 1)


def test_watches_and_calls_have_places() -> None:
    limits = Limits(LimitSettings(watches_per_token=1, watches_per_source=2), lambda: 0.0)
    with limits.watch("t", "a"):
        with pytest.raises(TooManyWatches, match="of-token"), limits.watch("t", "b"):
            pass
        with limits.watch("", "a"), pytest.raises(TooManyWatches, match="of-source"), limits.watch("u", "a"):
            pass
    with limits.watch("t", "a"):
        pass
    assert limits.watches.total == 0
    assert limits.counts()[Limit.WATCHES_OF_TOKEN] == 1


def test_calls_of_one_source_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.limits.settings.GRPC_CALLS_PER_SOURCE_MAX", 1)
    limits = Limits(LimitSettings(), lambda: 0.0)
    with limits.call("a"), limits.call("b"), pytest.raises(TooManyCalls), limits.call("a"):
        pass
    assert limits.calls.total == 0


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=200))
def test_places_are_those_that_were_given(steps: list[tuple[bool, str, str]]) -> None:
    places = Places(8, Limit.WATCHES).each(3, Limit.WATCHES_OF_TOKEN).each(4, Limit.WATCHES_OF_SOURCE)
    held: list[tuple[str, str]] = []
    for enters, token, source in steps:
        if enters:
            limit = places.enter(token, source)
            full = len(held) >= 8
            tokens = sum(it[0] == token for it in held) >= 3
            sources = sum(it[1] == source for it in held) >= 4
            assert (limit is not None) == (full or tokens or sources)
            if limit is None:
                held.append((token, source))
        elif held:
            places.leave(*held.pop())
        assert places.total == len(held)


def test_a_line_now_and_then() -> None:
    refusals = Refusals()
    told = [refusals.count(Limit.WATCHES, now) for now in (0.0, 1.0, TELL_EVERY_S - 0.1, TELL_EVERY_S, 10.5)]
    assert told == [True, False, False, True, False]
    assert refusals.count(Limit.GRPC_CALLS, 1.0)
    assert refusals.counts[Limit.WATCHES] == 5


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3::1", "20010db800010002"),
        ("2001:db8:1:2:ffff::9", "20010db800010002"),
        ("fe80::1%eth0", "fe80000000000000"),
        ("", ""),
        ("unix:@x", ""),
    ],
)
def test_sources(address: str, source: str) -> None:
    assert source_of(address) == source


def test_hosts() -> None:
    assert (host_of("10.0.0.1:9"), host_of("[::1]:9"), host_of("")) == ("10.0.0.1", "::1", "")


def test_every_limit_is_in_the_table_of_the_docs() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "limits.md").read_text()
    for limit in Limit:
        assert f"`{limit.value}`" in page, limit

"""Trap 25: requests for certificates are rate-limited."""

from registry.identity import rate
from registry.identity.rate import RateLimit


def test_trap_25_a_burst_is_allowed_and_then_the_rate() -> None:
    limit = RateLimit(per_s=2, burst=3)
    assert [limit.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert not limit.take("a", 0.4)
    assert limit.take("a", 0.5)
    assert not limit.take("a", 0.5)


def test_trap_25_each_instance_has_its_own_share() -> None:
    limit = RateLimit(per_s=1, burst=1)
    assert limit.take("a", 0.0)
    assert not limit.take("a", 0.0)
    assert limit.take("b", 0.0)


def test_a_rest_fills_no_more_than_the_burst() -> None:
    limit = RateLimit(per_s=1, burst=2)
    limit.take("a", 0.0)
    assert [limit.take("a", 1000.0) for _ in range(3)] == [True, True, False]


def test_the_number_of_buckets_is_bounded_and_empty_ones_are_kept(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(rate, "BUCKETS_MAX", 10)
    limit = RateLimit(per_s=1, burst=2)
    for n in range(9):
        limit.take(f"old-{n}", 0.0)
    limit.take("busy", 100.0)
    limit.take("busy", 100.0)
    for n in range(5):
        assert limit.take(f"new-{n}", 100.0)
    assert len(limit._buckets) <= 10
    assert not limit.take("busy", 100.0), "an exhausted bucket must not be forgotten"

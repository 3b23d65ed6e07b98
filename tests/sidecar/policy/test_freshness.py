"""When a set of keys is asked for again."""

from sidecar.policy.freshness import MISSED_PAUSE_S, PAUSE_S_MIN, STALE_S_MAX, Freshness


def test_it_is_due_at_once_and_then_before_the_cache_ends() -> None:
    it = Freshness()
    assert it.due < 0 and not it.is_stale(1e9)
    for draw in (0.0, 0.5, 0.999):
        it.succeeded(100.0, 300.0, draw)
        assert 100 + 270 <= it.due <= 100 + 300


def test_no_configuration_makes_it_ask_all_the_time() -> None:
    it = Freshness()
    it.succeeded(100.0, 0.001, 0.5)
    assert it.due == 100.0 + PAUSE_S_MIN
    it.failed(100.0, 0, 0.001, 0.0)
    assert it.due == 100.0 + PAUSE_S_MIN


def test_failures_are_retried_soon_and_then_at_a_distance() -> None:
    it = Freshness()
    waits = []
    for _ in range(6):
        it.failed(0.0, 2, 300.0, 0.0)
        waits.append(it.due)
    assert waits == [0.1, 0.2, 10.0, 10.0, 10.0, 10.0]
    it.succeeded(0.0, 300.0, 0.0)
    assert it.failures == 0


def test_an_unknown_key_hurries_it_once_in_a_while() -> None:
    it = Freshness()
    it.succeeded(100.0, 300.0, 0.0)
    it.missed()
    assert it.due == 100.0 + MISSED_PAUSE_S
    it.failed(110.0, 0, 300.0, 0.0)
    it.missed()
    assert it.due == 110.0 + MISSED_PAUSE_S


def test_keys_are_believed_for_a_while_without_their_provider() -> None:
    it = Freshness()
    it.succeeded(100.0, 300.0, 0.0)
    it.failed(50_000.0, 0, 300.0, 0.0)
    assert not it.is_stale(100.0 + STALE_S_MAX)
    assert it.is_stale(100.1 + STALE_S_MAX)

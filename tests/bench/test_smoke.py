"""The whole bench, tiny: both pairs start, answer, and are compared."""

import os
from pathlib import Path

import pytest

from bench import idle, run


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


@pytest.mark.long
def test_weft_and_envoy_side_by_side() -> None:
    pytest.importorskip("envoy", reason="needs the bench extra")
    before, told = children(), list[str]()
    found = run.compare(["W1", "W3", "W7"], ["weft", "envoy"], 1, 0.2, told.append)
    assert len(told) == 3 * 3
    for name in ("W1", "W3", "W7"):
        for side in ("weft", "envoy"):
            figures = found[name][side]
            assert {"cpu_us_per_request", "p50_ms", "p99_ms", "rps", "rss_mb"} <= set(figures)
            assert all(hop["cpu_us_per_request"] > 0 and hop["rss_mb"] > 1 for hop in figures["hops"])
        assert found[name]["ratio"]["cpu_us_per_request"] > 0
    assert children() == before


@pytest.mark.long
def test_idle_connections_are_held_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("envoy", reason="needs the bench extra")
    monkeypatch.setattr(idle, "CONNECTIONS", 20)
    before, told = children(), list[str]()
    found = idle.compare(run.PAIRS, 1, told.append)
    assert len(told) == 2
    assert all(found[side]["holding_mb"] > found[side]["rss_mb"] > 1 for side in run.PAIRS)
    assert "| Weft/Envoy |" in idle.markdown(found, "measured so")
    assert children() == before

"""The bench of leases, tiny: it starts servers, and what it finds is what its page says."""

import asyncio
import os
from pathlib import Path

import pytest

from bench import leases

FOUND = {
    "agents": 10_000,
    "join": {"per_s": 100, "cpu_ms_each": 5.0},
    "connect": {"per_s": 200, "cpu_ms_each": 2.5},
    "living": {"cpu_percent": [9.0, 8.0, 7.0], "keepalives_per_s": 3000, "cpu_us_per_keepalive": 80},
    "memory": {"idle_mb": [90, 91, 92], "joined_mb": [100, 101, 102], "held_mb": [300, 301, 302]},
    "killed": {"agents": 100, "critical_after_s": 5.1, "others": 0},
    "server_lost": {"agents_moved": 3300, "within_s": 2.0, "made_critical": 0},
}


def test_the_page_says_what_was_found() -> None:
    page = leases.markdown(FOUND, "measured so")
    assert "leader 9.0 %, others 8.0 and 7.0 % of a core; 80 µs a word" in page
    assert "| 300 and 301 and 302 MB | 92 MB before" in page
    assert "| 0 nodes became critical |" in page
    assert page.endswith("measured so")


@pytest.mark.long
def test_agents_join_live_die_and_move() -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())

    before, told = children(), list[str]()
    found = asyncio.run(leases.measure(2 * leases.KILLED, 1.0, told.append))
    assert found["killed"]["others"] == 0
    assert found["server_lost"]["made_critical"] == 0
    assert found["living"]["keepalives_per_s"] > 0
    assert children() == before

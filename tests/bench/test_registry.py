"""The registry's part of the bench, tiny: both clusters start and answer, and the figures fit the tables."""

import json
import subprocess
import sys
from typing import Any

import pytest

from bench import registry, registry_report
from tests.bench.test_smoke import children
from tests.support import peers

Measured = dict[str, Any]
ABOUT = dict.fromkeys(("date", "cpu", "cores", "kernel", "python", "etcd", "rounds", "command"), "x")


@pytest.fixture(scope="module")
def scale() -> Measured:
    done = subprocess.run(
        [sys.executable, "-m", "bench.registry_scale", "400", "40", "10"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Measured = json.loads(done.stdout)
    return found


def test_only_the_readers_of_a_service_are_woken(scale: Measured) -> None:
    assert scale["woken_per_registration"] == 1.0
    assert scale["wake_up_p50_ms"] <= scale["wake_up_p99_ms"]


def test_memory_and_times_are_measured(scale: Measured) -> None:
    assert scale["snapshot_mb"] > 0
    assert scale["restore_command_s"] <= scale["all_readers_answered_s"]
    assert set(scale["longest_stall_ms"]) == set(registry_report._PHASES)


def _sample(per_s: float) -> Measured:
    return {"per_s": per_s, "p50_ms": 2.0, "p99_ms": 4.0, "cpu_us": 100.0, "count": 10}


def test_sides_are_compared_by_medians_and_by_round(scale: Measured) -> None:
    samples = {"weft": [_sample(it) for it in (10, 30, 20)], "etcd": [_sample(it) for it in (10, 10, 40)]}
    found = {
        "write_1": registry._compared(samples),
        "read_index_64": registry._compared({"weft": [_sample(7)]}),
    }
    assert found["write_1"]["ratio"]["per_s"] == 2.0
    assert found["write_1"]["ratio"]["per_s_per_round"] == [1.0, 3.0, 0.5]
    page = registry_report.markdown({**found, "scale": scale}, ABOUT)
    assert "2.00× (rounds 0.50–3.00)" in page
    assert "400 instances of 40 services, 40 blocking queries parked" in page


@pytest.mark.long
def test_weft_and_etcd_side_by_side() -> None:
    peers.require("etcd")
    before, told = children(), list[str]()
    found = registry.consensus(1, 0.2, told.append)
    assert set(found) == set(registry.CASES)
    assert all(side["per_s"] > 0 for case in found.values() for side in case.values())
    assert children() == before

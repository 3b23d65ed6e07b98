"""Medians, ratios, and a record that later parts extend."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import bystanders, procfs, report, results
from bench.errors import BenchError
from bench.measure import Hop, Sample
from bench.workloads import Load, percentile


def samples(*cpu_us: float, hops: int = 2) -> list[Sample]:
    load = Load(requests=1000, seconds=0.5, p50_ms=2.0, p99_ms=4.0)
    return [Sample(load, (Hop(us / 2, 50.0),) * hops) for us in cpu_us]


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.50) == 51.0
    assert percentile(values, 0.99) == 100.0
    assert percentile([7.0], 0.99) == 7.0


def test_a_pair_counts_as_the_sum_of_both() -> None:
    found = results.figures(samples(30.0, 10.0, 20.0))
    assert found["cpu_us_per_request"] == 20.0
    assert found["rss_mb"] == 100.0
    assert found["rps"] == 2000
    assert found["hops"] == [{"cpu_us_per_request": 10.0, "rss_mb": 50.0}] * 2


def test_a_side_without_proxies_has_no_cpu() -> None:
    assert set(results.figures(samples(0.0, hops=0))) == {"p50_ms", "p99_ms", "rps", "others_cpu_share"}


def test_ratios_are_weft_over_envoy() -> None:
    found = results.compared({"weft": samples(10.0, 12.0), "envoy": samples(40.0, 40.0)})
    assert found["ratio"]["cpu_us_per_request"] == pytest.approx(0.275)
    assert found["ratio"]["cpu_per_round"] == [0.25, 0.3]


def test_one_side_has_no_ratio() -> None:
    assert "ratio" not in results.compared({"envoy": samples(40.0)})


def test_a_run_replaces_only_what_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    results.save(
        {"registry": {"kv": {"x": 1}}, "sidecar": {"W1": {"weft": {}, "old": {}}, "W2": {"k": 2}}}, path
    )
    results.save(results.merge(results.load(path), {"sidecar": {"W1": {"weft": {"rps": 1}}}}), path)
    assert json.loads(path.read_text()) == {
        "registry": {"kv": {"x": 1}},
        "sidecar": {"W1": {"weft": {"rps": 1}}, "W2": {"k": 2}},
    }


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "latest.json"
    path.write_text(content)
    with pytest.raises(BenchError, match="delete it"):
        results.load(path)


def test_the_page_is_changed_only_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n<!-- bench:sidecar -->\nold\n<!-- /bench:sidecar -->\nafter\n")
    report.update_page("sidecar", "new", page)
    report.update_page("sidecar", "newer", page)
    assert page.read_text() == "before\n<!-- bench:sidecar -->\nnewer\n<!-- /bench:sidecar -->\nafter\n"


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("nothing here\n")
    with pytest.raises(BenchError, match="restore"):
        report.update_page("sidecar", "new", page)
    assert page.read_text() == "nothing here\n"


def test_the_table_has_a_row_per_side_and_the_ratios() -> None:
    found = results.compared({"weft": samples(10.0), "envoy": samples(40.0), "direct": samples(0.0, hops=0)})
    text = report.markdown({"W1": found}, {})
    assert "| W1 10×10 | Weft pair | 10.0 | 5.0 + 5.0 | 2.00 | 4.00 | 2,000 | 50 + 50 | 0% |" in text
    assert "| Envoy pair | 40.0 |" in text
    assert "| no proxy |  |  | 2.00 |" in text
    assert "| Weft/Envoy | 0.25× | rounds 0.25–0.25 |" in text


def test_rss_is_in_megabytes_of_a_million_bytes() -> None:
    assert procfs.parse_rss_mb("Name:\tx\nVmRSS:\t   50000 kB\n") == pytest.approx(51.2)
    assert procfs.parse_rss_mb("Name:\tx\n") == 0.0


def test_busy_time_is_all_but_idle_and_waiting() -> None:
    stat = "cpu  100 20 300 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"
    assert bystanders.parse_busy_s(stat) == pytest.approx(
        (100 + 20 + 300 + 6 + 7 + 8) / os.sysconf("SC_CLK_TCK")
    )


def test_bystanders_are_seen_and_own_processes_are_not() -> None:
    seen = bystanders.Bystanders([])
    own = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        told = bystanders.Bystanders([own.pid])
        deadline = time.monotonic() + 30
        while procfs.cpu_s(own.pid) < 0.5 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert told.share() < seen.share() <= 1.0
    finally:
        own.kill()
        own.wait()

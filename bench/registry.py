"""The registry's part of the bench: three servers beside three of etcd, and one with 100,000 instances."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from . import procfs, registry_servers
from .errors import LoadFailed
from .processes import Child

Json = dict[str, Any]
Progress = Callable[[str], None]

INSTANCES, READERS, REGISTRATIONS = 100_000, 10_000, 500
_SCALE_TIMEOUT_S = 1200.0

# Case -> clients, and what is called on each side.
CASES: dict[str, tuple[int, dict[str, str]]] = {
    "write_1": (1, {"weft": "write", "etcd": "write"}),
    "write_64": (64, {"weft": "write", "etcd": "write"}),
    "write_64_batched": (64, {"weft": "batched_write", "etcd": "batched_write"}),
    "read_1": (1, {"weft": "read", "etcd": "read"}),
    "read_64": (64, {"weft": "read", "etcd": "read"}),
    "read_index_64": (64, {"weft": "read_index"}),
    "stale_read_64": (64, {"weft": "stale_read", "etcd": "stale_read"}),
}


def consensus(rounds: int, seconds: float, progress: Progress) -> Json:
    """Case -> side -> figures, and ratios Weft/etcd. The sides take turns. Raises BenchError."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        servers: dict[str, list[Child]] = {}
        command = [sys.executable, "-m", "bench.registry_load"]
        load = stack.enter_context(Child("load", command, directory, talks=True))
        for side, start in (("weft", registry_servers.weft), ("etcd", registry_servers.etcd)):
            home = directory / side
            home.mkdir()
            servers[side], told = start(stack, home)
            load.ask(json.dumps({"connect": told}))
        return {case: _compared(_rounds(case, load, servers, rounds, seconds, progress)) for case in CASES}


def _rounds(
    case: str, load: Child, servers: dict[str, list[Child]], rounds: int, seconds: float, progress: Progress
) -> dict[str, list[Json]]:
    clients, calls = CASES[case]
    samples: dict[str, list[Json]] = {side: [] for side in calls}
    for number in range(rounds):
        for side in list(calls) if number % 2 == 0 else reversed(calls):
            before = [procfs.cpu_s(server.pid) for server in servers[side]]
            wish = {"side": side, "call": calls[side], "clients": clients, "seconds": seconds}
            sample = load.ask(json.dumps(wish))
            spent = sum(procfs.cpu_s(it.pid) for it in servers[side]) - sum(before)
            sample["cpu_us"] = spent / sample["count"] * 1e6
            samples[side].append(sample)
            progress(f"{case} round {number + 1}/{rounds} {side}: {sample['per_s']:,.0f}/s")
    return samples


_FIGURES = {"per_s": 0, "p50_ms": 3, "p99_ms": 3, "cpu_us": 1}


def _compared(samples: dict[str, list[Json]]) -> Json:
    found: Json = {
        side: {key: round(median(it[key] for it in runs), digits) for key, digits in _FIGURES.items()}
        for side, runs in samples.items()
    }
    if "etcd" not in samples:
        return found
    pairs = zip(samples["weft"], samples["etcd"], strict=True)
    found["ratio"] = {key: round(found["weft"][key] / found["etcd"][key], 3) for key in _FIGURES}
    found["ratio"]["per_s_per_round"] = [round(ours["per_s"] / theirs["per_s"], 3) for ours, theirs in pairs]
    return found


def scale(progress: Progress) -> Json:
    """One server with many instances, in a process of its own. Raises LoadFailed."""
    progress(f"scale: {INSTANCES:,} instances, {READERS:,} readers")
    sizes = map(str, (INSTANCES, READERS, REGISTRATIONS))
    done = subprocess.run(
        [sys.executable, "-m", "bench.registry_scale", *sizes],
        capture_output=True,
        text=True,
        timeout=_SCALE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise LoadFailed(f"bench.registry_scale failed: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))

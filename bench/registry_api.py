"""The registry's API in the bench: requests, parked queries, and how soon a change is with its sidecars."""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from . import procfs, registry_servers
from .processes import Child

Json = dict[str, Any]
Progress = Callable[[str], None]

PARKED, CHANGES_PER_S = 10_000, 100
SIDECARS = 1_000
SMALL_CHANGES, LARGE_CHANGES = 200, 20
POLICY_CHANGES = 200
_DESCRIPTORS = 16_384
_PARK_ROUND_S = 10.0

# Case -> what is called, by how many, and whether of all servers.
CASES: dict[str, Json] = {
    "health_read_1": {"call": "health_read", "clients": 1},
    "health_read_64": {"call": "health_read", "clients": 64},
    "kv_read_64": {"call": "kv_read", "clients": 64},
    "kv_write_1": {"call": "kv_write", "clients": 1},
    "kv_write_64": {"call": "kv_write", "clients": 64},
}
CLUSTER_CASES: dict[str, Json] = {
    **CASES,
    "stale_health_read_3x64": {"call": "stale_health_read", "clients": 192, "everywhere": True},
}


def measure(rounds: int, seconds: float, progress: Progress) -> Json:
    """All parts. Raises BenchError."""
    return {
        "one": one(rounds, seconds, progress),
        "three": three(rounds, seconds, progress),
    }


def one(rounds: int, seconds: float, progress: Progress) -> Json:
    """One durable server: requests, parked queries, subscriptions."""
    with ExitStack() as stack:
        load = _load(stack)
        server, told = registry_servers.dev(stack, _directory(stack))
        load.ask(json.dumps({"connect": told}))
        load.ask(json.dumps({"fill": {}}))
        found = _requests(CASES, load, [server], rounds, seconds, progress)
        found["parked"] = _parked(load, server, rounds, progress)
        found["subscribed"] = _subscribed(load, server, progress)
        return found


def three(rounds: int, seconds: float, progress: Progress) -> Json:
    """Three durable servers; clients of the leader, and readers that take any answer of all three."""
    with ExitStack() as stack:
        load = _load(stack)
        servers, told = registry_servers.weft(stack, _directory(stack))
        told["http"] = registry_servers.leader_first(told)
        load.ask(json.dumps({"connect": told}))
        load.ask(json.dumps({"fill": {}}))
        found = _requests(CLUSTER_CASES, load, servers, rounds, seconds, progress)
        sample = load.ask(json.dumps({"policy": {"changes": POLICY_CHANGES}}))
        found["policy"] = {key: round(value, 1) for key, value in sample.items()}
        progress(f"a changed policy: p99 {sample['p99_ms']:.1f} ms")
        return found


def _directory(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))


def _load(stack: ExitStack) -> Child:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    command = [sys.executable, "-m", "bench.registry_clients"]
    return stack.enter_context(Child("clients", command, _directory(stack), talks=True))


def _requests(
    cases: dict[str, Json],
    load: Child,
    servers: list[Child],
    rounds: int,
    seconds: float,
    progress: Progress,
) -> Json:
    found = {}
    for case, wish in cases.items():
        samples = []
        for number in range(rounds):
            before = _cpu_s(servers)
            sample = load.ask(json.dumps({"run": {**wish, "seconds": seconds}}))
            sample["cpu_us"] = (_cpu_s(servers) - before) / sample["count"] * 1e6
            samples.append(sample)
            progress(f"{case} of {len(servers)}, round {number + 1}/{rounds}: {sample['per_s']:,.0f}/s")
        found[case] = medians(samples, {"per_s": 0, "p50_ms": 2, "p99_ms": 2, "cpu_us": 0})
    return found


def _parked(load: Child, server: Child, rounds: int, progress: Progress) -> Json:
    rss_mb = procfs.rss_mb(server.pid)
    load.ask(json.dumps({"park": {"queries": PARKED}}))
    grown_mb = procfs.rss_mb(server.pid) - rss_mb
    samples = []
    for number in range(rounds):
        before, began = procfs.cpu_s(server.pid), time.monotonic()
        sample = load.ask(json.dumps({"change": {"per_s": CHANGES_PER_S, "seconds": _PARK_ROUND_S}}))
        spent, took = procfs.cpu_s(server.pid) - before, time.monotonic() - began
        sample["cpu_percent"] = spent / took * 100
        samples.append(sample)
        progress(f"parked, round {number + 1}/{rounds}: p99 {sample['p99_ms']:.1f} ms")
    load.ask(json.dumps({"unpark": {}}))
    digits = {"changes_per_s": 0, "woken": 0, "p50_ms": 2, "p99_ms": 2, "cpu_percent": 0}
    return {"queries": PARKED, "kb_per_query": round(grown_mb * 1e3 / PARKED, 1), **medians(samples, digits)}


def _subscribed(load: Child, server: Child, progress: Progress) -> Json:
    load.ask(json.dumps({"subscribe": {"sidecars": SIDECARS}}))
    found: Json = {"sidecars": SIDECARS}
    for name, changes, everybody in (("ten", SMALL_CHANGES, False), ("all", LARGE_CHANGES, True)):
        before = procfs.cpu_s(server.pid)
        sample = load.ask(json.dumps({"touch": {"changes": changes, "everybody": everybody}}))
        sample["cpu_ms_per_change"] = (procfs.cpu_s(server.pid) - before) / changes * 1e3
        found[name] = {key: round(value, 2) for key, value in sample.items()}
        progress(f"a change for {name}: p99 {sample['p99_ms']:.1f} ms")
    return found


def _cpu_s(servers: list[Child]) -> float:
    return sum(procfs.cpu_s(server.pid) for server in servers)


def medians(samples: list[Json], digits: dict[str, int]) -> Json:
    return {key: round(median(it[key] for it in samples), places) for key, places in digits.items()}

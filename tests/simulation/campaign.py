"""Many seeds over all cores; what failed, and the command that replays it."""

import itertools
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .cluster import Cluster
from .invariants import Violation
from .mutants import CONTROL, MUTANTS, planted
from .options import draw_options, draw_theme

PROGRESS_S = 5.0
CONTROL_RUNS = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a seed ended. `rule` is "" when all held."""

    seed: int
    mutant: str
    rule: str = ""
    detail: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    trace: tuple[str, ...] = ()

    @property
    def replay(self) -> str:
        mutant = f" --mutant {self.mutant}" if self.mutant else ""
        return f"python -m tests.simulation --seed {self.seed}{mutant}"


def run_seed(seed: int, mutant: str = "", *, trace: bool = False) -> Outcome:
    """One seed from nothing to its verdict; the same each time."""
    cluster = Cluster(draw_options(seed), trace=trace)
    rule = detail = ""
    try:
        with planted(mutant):
            cluster.run()
    except Violation as violation:
        rule, detail = violation.rule, str(violation)
    except Exception as error:  # the core's own invariants, and bugs of any kind: each is a find
        rule, detail = type(error).__name__, traceback.format_exc(-6)
    return Outcome(seed, mutant, rule, detail, cluster.counts, tuple(cluster.trace or ()))


def _run_job(job: tuple[int, str]) -> Outcome:
    return run_seed(*job)


def run_jobs(jobs: Iterable[tuple[int, str]], processes: int = 0) -> Iterator[Outcome]:
    """Outcomes of (seed, mutant) as they come, from one process per core."""
    processes = processes or len(os.sched_getaffinity(0))
    if processes == 1:
        yield from map(_run_job, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_run_job, jobs, chunksize=1)


def run_seeds(seeds: range, processes: int = 0) -> int:
    """Runs them all, prints progress and each failure; answers how many failed."""
    began = shown = time.monotonic()
    counts: Counter[str] = Counter()
    failed = done = 0
    for outcome in run_jobs(((seed, "") for seed in seeds), processes):
        done += 1
        counts += outcome.counts
        if outcome.rule:
            failed += 1
            print(f"seed {outcome.seed}: {outcome.detail}\n  replay: {outcome.replay}", flush=True)
        if time.monotonic() - shown > PROGRESS_S:
            shown = time.monotonic()
            _progress(f"{done}/{len(seeds)} seeds, {failed} failed, {done / (shown - began):.1f} seeds/s")
    seconds = time.monotonic() - began
    print(f"{done} seeds in {seconds:.1f} s: {failed} failed")
    print("  " + ", ".join(f"{name} {counts[name]}" for name in sorted(counts)))
    return failed


def hunt(mutant: str, first: int, runs: int, processes: int = 0) -> Outcome | None:
    """A seed that kills the mutant, among so many from `first` on that have its theme."""
    theme = MUTANTS[mutant].theme
    seeds = (seed for seed in itertools.count(first) if not theme or draw_theme(seed) == theme)
    for outcome in run_jobs(((seed, mutant) for seed in itertools.islice(seeds, runs)), processes):
        if outcome.rule:
            return outcome
    return None


def run_mutants(names: Iterable[str], first: int, runs: int, processes: int = 0) -> int:
    """Hunts each; prints the seed that killed it; answers how many survived."""
    survived = 0
    for name in names:
        began = time.monotonic()
        tries = min(runs, CONTROL_RUNS) if name == CONTROL else runs
        killer = hunt(name, first, tries, processes)
        took = f"{time.monotonic() - began:.1f} s"
        if name == CONTROL:
            survived += killer is not None
            verdict = "FAILED " + killer.replay if killer else f"survived {tries} seeds, as it must"
            print(f"control: {verdict}, {took}", flush=True)
        elif killer is None:
            survived += 1
            print(f"SURVIVED {name}: {tries} seeds, {took}", flush=True)
        else:
            print(f"killed {name}: seed {killer.seed} ({killer.rule}), {took}; {killer.replay}", flush=True)
    return survived


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

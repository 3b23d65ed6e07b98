"""Simulates clusters from seeds: `python -m tests.simulation --seed N`, `--seeds N` or `--mutants`.

Everything of a run, chance included, comes from its seed: a failing one is replayed by its number.
"""

import argparse
import sys

from .campaign import run_mutants, run_seed, run_seeds
from .mutants import MUTANTS
from .options import draw_options


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run this one, and print what happened")
    what.add_argument("--seeds", type=int, help="run so many, from --first on")
    what.add_argument("--mutants", action="store_true", help="plant each known bug and hunt it")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="plant this bug")
    parser.add_argument("--hunt", type=int, default=1000, help="with --mutants: seeds to try on each")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 is one per core")
    parser.add_argument("--quiet", action="store_true", help="with --seed: only the verdict")
    chosen = parser.parse_args()
    if chosen.seeds is not None:
        return min(1, run_seeds(range(chosen.first, chosen.first + chosen.seeds), chosen.jobs))
    if chosen.mutants:
        names = [chosen.mutant] if chosen.mutant else list(MUTANTS)
        return min(1, run_mutants(names, chosen.first, chosen.hunt, chosen.jobs))
    return _one(chosen.seed, chosen.mutant, quiet=chosen.quiet)


def _one(seed: int, mutant: str, *, quiet: bool) -> int:
    outcome = run_seed(seed, mutant, trace=not quiet)
    for line in outcome.trace:
        print(line)
    print(f"seed {seed}: {draw_options(seed)}")
    print(outcome.detail or "all held")
    return 1 if outcome.rule else 0


if __name__ == "__main__":
    sys.exit(main())

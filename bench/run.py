"""One run: starts the sides, measures the workloads, ends every process."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from . import envoy, mesh, results
from .measure import Bench, Sample, Side
from .pair import Start
from .processes import start_backend
from .workloads import WORKLOADS

PAIRS: dict[str, Start] = {"weft": mesh.start, "envoy": envoy.start}


def compare(
    workloads: Sequence[str],
    pairs: Sequence[str],
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> dict[str, results.Json]:
    """Workload -> side -> figures; beside the `pairs`, the side "direct" has no proxy.

    `seconds` is how long one side runs in one round, about. Raises BenchError.
    """
    found: dict[str, results.Json] = {}
    for http1 in (False, True):
        chosen = [name for name in workloads if WORKLOADS[name].http1 is http1]
        if chosen:
            measured = _measure(chosen, pairs, http1, rounds, seconds, progress)
            found |= {name: results.compared(samples) for name, samples in measured.items()}
    return found


def _measure(
    workloads: Sequence[str],
    pairs: Sequence[str],
    http1: bool,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> dict[str, dict[str, list[Sample]]]:
    """Workload -> side -> samples. All of `workloads` are of gRPC, or with `http1` all of HTTP/1.1."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        backend, port = start_backend(stack, directory, http1=http1)
        bench = Bench(backend, directory, seconds)
        sides: dict[str, Side] = {}
        for name in pairs:
            home = directory / name
            home.mkdir()
            sides[name] = Side.of(name, PAIRS[name](stack, home, port, http1))
            bench.wait_for_answer(sides[name], http1=http1)
        sides["direct"] = Side("direct", port, ())
        return {name: bench.rounds(WORKLOADS[name], sides, rounds, progress) for name in workloads}

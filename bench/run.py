"""One run: starts the sides, measures the workloads, ends every process."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from . import envoy, mesh, results
from .measure import Bench, Side
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
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        backend, port = start_backend(stack, directory)
        bench = Bench(backend, directory, seconds)
        sides: dict[str, Side] = {}
        for name in pairs:
            home = directory / name
            home.mkdir()
            sides[name] = Side.of(name, PAIRS[name](stack, home, port))
            bench.wait_for_answer(sides[name])
        sides["direct"] = Side("direct", port, ())
        return {
            name: results.compared(bench.rounds(WORKLOADS[name], sides, rounds, progress))
            for name in workloads
        }

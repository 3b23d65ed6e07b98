"""W5: what a thousand connections that nobody uses cost in memory.

Each is of HTTP/2 over mutual TLS, straight to the second proxy, and has made one call.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from . import procfs
from .measure import Bench, Side
from .pair import Pair, Start
from .processes import Child, start_backend

Json = dict[str, Any]

CONNECTIONS = 1000
_SIDES = {"weft": "Weft's second proxy", "envoy": "Envoy's second proxy"}
_COLUMNS = ("", "RSS MB", f"with {CONNECTIONS:,} idle connections", "kB each")


def compare(pairs: Mapping[str, Start], rounds: int, progress: Callable[[str], None]) -> Json:
    """Side -> medians over the rounds, each with new processes; and the ratio. Raises BenchError."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
    for number in range(rounds):
        for name, start in pairs.items():
            before, after = _measure(name, start)
            seen[name].append((before, after))
            progress(f"W5 round {number + 1}/{rounds} {name:>6}: {before:.1f} MB, then {after:.1f} MB")
    found: Json = {name: _figures(samples) for name, samples in seen.items()}
    if set(_SIDES) <= set(found):
        found["ratio"] = round(found["weft"]["holding_mb"] / found["envoy"]["holding_mb"], 3)
    return found


def _figures(samples: Sequence[tuple[float, float]]) -> Json:
    before, after = (median(column) for column in zip(*samples, strict=True))
    return {
        "rss_mb": round(before, 1),
        "holding_mb": round(after, 1),
        "kb_each": round(median((now - then) * 1000 / CONNECTIONS for then, now in samples), 1),
    }


def _measure(name: str, start: Start) -> tuple[float, float]:
    """RSS of the second proxy in MB after one call, and with all the connections."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        backend, port = start_backend(stack, directory)
        pair = start(stack, directory, port, False)
        Bench(backend, directory, 1.0).wait_for_answer(Side.of(name, pair))
        before = procfs.rss_mb(pair.second.pid)
        stack.enter_context(_callers(pair, directory)).hear()
        return before, procfs.rss_mb(pair.second.pid)


def _callers(pair: Pair, directory: Path) -> Child:
    command = [sys.executable, "-m", "bench.idle_callers", "--connections", str(CONNECTIONS)]
    command += ["--port", str(pair.peer_port)]
    command += ["--chain", str(pair.caller.chain), "--key", str(pair.caller.key)]
    return Child("callers", command, directory, talks=True)


def markdown(found: Json, measured: str) -> str:
    """The table, and a line that says how it was measured."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    for side, title in _SIDES.items():
        it = found[side]
        lines.append(f"| {title} | {it['rss_mb']} | {it['holding_mb']} | {it['kb_each']} |")
    return "\n".join([*lines, f"| Weft/Envoy | | {found['ratio']:.2f}× | |", "", measured])

"""Whether a mirror slows the call that it copies: the same connections, in turns with copies and without.

`bench.open_loop` calls at a fixed rate below half of what the machine can do: latency is the path's and not a
queue's. Many short windows of the two kinds take turns, so that what else the machine does meets both; the
shares of chance are shown by resampling whole pairs of windows.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

from . import mesh, open_loop
from .errors import LoadFailed
from .measure import Bench, Side
from .processes import Child, start_backend

Json = dict[str, Any]

CONNECTIONS, RATE = 16, 800  # and requests a second on all of them
WINDOW_S = 0.2
_SHARES = {"p50": 0.50, "p99": 0.99}
_RESAMPLED = 1000
_Windows = list[list[float]]  # latencies in ms, a list for each window
_TIMEOUT_S = 60.0  # beside the windows
_LATE_S = 2.0


def measure(pairs: int, progress: Callable[[str], None]) -> Json:
    """p50 and p99 without and with copies, over `pairs` windows of each. Raises BenchError."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        backend, port = start_backend(stack, directory)
        (directory / "shadow").mkdir()
        shadow, shadow_port = start_backend(stack, directory / "shadow")
        mesh.elsewhere(shadow)
        pair = mesh.start_with_shadow(stack, directory, port, shadow_port)
        Bench(backend, directory, 1.0).wait_for_answer(Side.of("weft", pair))
        pair.first.wait_until(lambda: _copied(shadow, pair.port), "requests are copied")
        plain, mirrored = _counted(pairs, pair.port, shadow)
    found = compared(plain, mirrored)
    progress(f"mirrors: {found}")
    return found


def _copied(shadow: Child, port: int) -> bool:
    before = shadow.ask()["requests"]
    in_turns(port, 1, 0.01)
    return bool(shadow.ask()["requests"] > before)


def _counted(pairs: int, port: int, shadow: Child) -> tuple[_Windows, _Windows]:
    """Only what was marked may be copied, and hardly less: copies under way have bounds."""
    before = int(shadow.ask()["requests"])
    plain, mirrored = in_turns(port, pairs, WINDOW_S)
    marked = CONNECTIONS * open_loop.WARM_CALLS + sum(map(len, mirrored))
    copies = _copies(shadow, before, marked)
    if not marked * 0.99 <= copies <= marked:
        raise LoadFailed(f"{copies} requests were copied, {marked} were to be")
    return plain, mirrored


def _copies(shadow: Child, before: int, awaited: int) -> int:
    """How many have come: the last ones may still be on their way when their calls are over."""
    end = time.monotonic() + _LATE_S
    while (copies := int(shadow.ask()["requests"]) - before) < awaited and time.monotonic() < end:
        time.sleep(0.01)
    return copies


def in_turns(port: int, pairs: int, window_s: float) -> tuple[_Windows, _Windows]:
    """The windows without and with the mark. Raises LoadFailed unless all calls succeeded."""
    command = [sys.executable, "-m", "bench.open_loop", "--port", str(port), "--pairs", str(pairs)]
    command += ["--connections", str(CONNECTIONS), "--rate", str(RATE), "--window-s", str(window_s)]
    limit_s = _TIMEOUT_S + 4 * pairs * window_s
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{2 * pairs} windows were not over within {limit_s:.0f} s") from None
    if done.returncode:
        raise LoadFailed(f"a request failed: {done.stderr.strip().splitlines()[-1:]}")
    found = json.loads(done.stdout)
    return found["plain"], found["mirrored"]


class _Pool:
    """All latencies of one kind in order, and of which window each is: drawing windows anew sorts nothing."""

    def __init__(self, windows: _Windows) -> None:
        pairs = sorted((latency, number) for number, window in enumerate(windows) for latency in window)
        self._latencies = [latency for latency, _ in pairs]
        self._numbers = [number for _, number in pairs]

    def percentiles(self, times: Counter[int]) -> list[float]:
        """Of _SHARES, each window counted as often as `times` says (nearest rank)."""
        sums = list(accumulate(map(times.__getitem__, self._numbers)))
        return [self._latencies[bisect_left(sums, share * sums[-1])] for share in _SHARES.values()]


def compared(plain: _Windows, mirrored: _Windows) -> Json:
    """What was found, and in which 95 % of the ratios lie if the pairs are drawn anew (bootstrap)."""
    found: Json = {"windows": len(plain), "window_s": WINDOW_S, "requests": sum(map(len, plain))}
    pools, numbers, rng = (_Pool(plain), _Pool(mirrored)), range(len(plain)), random.Random(1)
    measured = [pool.percentiles(Counter(numbers)) for pool in pools]
    drawn = [Counter(rng.choices(numbers, k=len(numbers))) for _ in range(_RESAMPLED)]
    ratios = [_ratios(*(pool.percentiles(times) for pool in pools)) for times in drawn]
    for at, name in enumerate(_SHARES):
        spread = sorted(ratio[at] for ratio in ratios)
        low, high = spread[int(0.025 * _RESAMPLED)], spread[int(0.975 * _RESAMPLED)]
        found[name] = {
            "plain_ms": round(measured[0][at], 3),
            "mirrored_ms": round(measured[1][at], 3),
            "ratio": round(measured[1][at] / measured[0][at], 3),
            "ratio_95": [round(low, 3), round(high, 3)],
        }
    return found


def _ratios(plain: list[float], mirrored: list[float]) -> list[float]:
    return [copied / alone for alone, copied in zip(plain, mirrored, strict=True)]


def markdown(found: Json, measured: str) -> str:
    """The table, and a line that says how it was measured."""
    lines = ["| | no mirror, ms | each request copied, ms | ratio | 95 % |", "|---|---|---|---|---|"]
    for name in ("p50", "p99"):
        it = found[name]
        low, high = it["ratio_95"]
        row = (name, it["plain_ms"], it["mirrored_ms"], f"{it['ratio']:.3f}×", f"{low:.3f}–{high:.3f}")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(
        [
            *lines,
            "",
            f"{found['requests']:,} requests of each kind in windows of {found['window_s']} s. {measured}",
        ]
    )

"""Whether a mirror slows the call that it copies: the same processes, in turns with copies and without.

h2load sends at a fixed rate far below what the machine can do: latency is the path's and not a queue's.
Windows of the two kinds take turns; the shares of chance are shown by resampling whole pairs of windows.
"""

import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import frames, h2load, mesh
from .errors import LoadFailed
from .measure import Bench, Side
from .processes import Child, start_backend
from .workloads import MESSAGE_BYTES, METHOD_PATH, percentile

Json = dict[str, Any]

CONNECTIONS, RATE = 4, 100  # and requests a second on each
_WINDOW_S = 1.0
_RESAMPLED = 1000
_Windows = list[list[float]]  # latencies in ms, a list for each window
_TIMEOUT_S = 60.0
_LATE_S = 2.0


def measure(pairs: int, progress: Callable[[str], None]) -> Json:
    """p50 and p99 without and with copies, over `pairs` windows of each. Raises BenchError."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-")))
        backend, port = start_backend(stack, directory)
        (directory / "shadow").mkdir()
        shadow, shadow_port = start_backend(stack, directory / "shadow")
        pair = mesh.start_with_shadow(stack, directory, port, shadow_port)
        Bench(backend, directory, 1.0).wait_for_answer(Side.of("weft", pair))
        pair.first.wait_until(lambda: _copied(shadow, pair.port, directory), "requests are copied")
        plain, mirrored = _in_turns(pairs, pair.port, directory, shadow)
    found = _compared(plain, mirrored)
    progress(f"mirrors: {found}")
    return found


def _copied(shadow: Child, port: int, directory: Path) -> bool:
    before = shadow.ask()["requests"]
    _window(port, directory, "yes", 20)
    return bool(shadow.ask()["requests"] > before)


def _in_turns(pairs: int, port: int, directory: Path, shadow: Child) -> tuple[_Windows, _Windows]:
    plain: _Windows = []
    mirrored: _Windows = []
    kinds = [("no", plain), ("yes", mirrored)]
    count = int(CONNECTIONS * RATE * _WINDOW_S)
    for number in range(pairs):
        for said, windows in kinds if number % 2 == 0 else reversed(kinds):
            before = shadow.ask()["requests"]
            windows.append(_window(port, directory, said, count))
            copies = _copies(shadow, before, count if said == "yes" else 0)
            if said == "no" and copies:
                raise LoadFailed(f"{copies} requests were copied that were not to be")
            if said == "yes" and copies < count * 0.99:
                raise LoadFailed(f"{copies} of {count} requests were copied")
    return plain, mirrored


def _copies(shadow: Child, before: int, awaited: int) -> int:
    """How many have come: the last ones may still be on their way when their calls are over."""
    end = time.monotonic() + _LATE_S
    while (copies := int(shadow.ask()["requests"]) - before) < awaited and time.monotonic() < end:
        time.sleep(0.01)
    return copies


def _window(port: int, directory: Path, mirror: str, count: int) -> list[float]:
    """Latencies in ms. Raises LoadFailed unless all succeeded."""
    body, log = directory / "request.bin", directory / "h2load.tsv"
    body.write_bytes(frames.grpc_message(b"q" * MESSAGE_BYTES))
    log.unlink(missing_ok=True)
    command = [
        *("h2load", "-n", str(count), "-c", str(CONNECTIONS), "-m", "1", "--rps", str(RATE)),
        *("-d", str(body), "--log-file", str(log), "-H", "te: trailers", "-H", f"x-mirror: {mirror}"),
        *("-H", "content-type: application/grpc", f"http://127.0.0.1:{port}{METHOD_PATH}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    h2load.parse_seconds(done.stdout, count)
    return h2load.parse_log(log.read_text())


def _compared(plain: _Windows, mirrored: _Windows) -> Json:
    found: Json = {"windows": len(plain), "requests": sum(map(len, plain))}
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        low, high = _interval(plain, mirrored, share)
        found[name] = {
            "plain_ms": round(_pooled(plain, share), 3),
            "mirrored_ms": round(_pooled(mirrored, share), 3),
            "ratio": round(_pooled(mirrored, share) / _pooled(plain, share), 3),
            "ratio_95": [round(low, 3), round(high, 3)],
        }
    return found


def _pooled(windows: Sequence[list[float]], share: float) -> float:
    return percentile(sorted(latency for window in windows for latency in window), share)


def _interval(plain: _Windows, mirrored: _Windows, share: float) -> tuple[float, float]:
    """In which 95 % of the ratios lie if the pairs of windows are drawn anew (bootstrap)."""
    rng, ratios = random.Random(1), list[float]()
    for _ in range(_RESAMPLED):
        drawn = rng.choices(range(len(plain)), k=len(plain))
        ratios.append(
            _pooled([mirrored[it] for it in drawn], share) / _pooled([plain[it] for it in drawn], share)
        )
    ratios.sort()
    return percentile(ratios, 0.025), percentile(ratios, 0.975)


def markdown(found: Json, measured: str) -> str:
    """The table, and a line that says how it was measured."""
    lines = ["| | no mirror, ms | each request copied, ms | ratio | 95 % |", "|---|---|---|---|---|"]
    for name in ("p50", "p99"):
        it = found[name]
        low, high = it["ratio_95"]
        row = (name, it["plain_ms"], it["mirrored_ms"], f"{it['ratio']:.3f}×", f"{low:.3f}–{high:.3f}")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(
        [*lines, "", f"{found['requests']:,} requests of each kind in windows of 1 s. {measured}"]
    )

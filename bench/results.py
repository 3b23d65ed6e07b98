"""What a run found out, and where it is kept.

bench/results/latest.json is one object. Its keys are parts of the bench ("sidecar": {"W1": {...}}); a run
replaces only what it measured, so that parts can be run one by one. `about` says, under the same keys,
when and how each was measured.
"""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from . import procfs
from .errors import BenchError
from .measure import Sample

Json = dict[str, Any]

LATEST = Path(__file__).parent / "results" / "latest.json"
_RATIOS = ("cpu_us_per_request", "p50_ms", "p99_ms", "rps", "rss_mb")


def figures(samples: list[Sample]) -> Json:
    """Medians over the rounds. Proxies count together, and each hop alone."""
    seen: Json = {
        "p50_ms": _rounded(median(s.load.p50_ms for s in samples)),
        "p99_ms": _rounded(median(s.load.p99_ms for s in samples)),
        "rps": round(median(s.load.rps for s in samples)),
        "others_cpu_share": _rounded(median(s.others for s in samples)),
    }
    hops = list(zip(*(s.hops for s in samples), strict=True))
    if not hops:
        return seen
    return {
        "cpu_us_per_request": _rounded(median(s.cpu_us_per_request for s in samples)),
        **seen,
        "rss_mb": _rounded(median(s.rss_mb for s in samples)),
        "hops": [
            {
                "cpu_us_per_request": _rounded(median(h.cpu_us_per_request for h in hop)),
                "rss_mb": _rounded(median(h.rss_mb for h in hop)),
            }
            for hop in hops
        ],
    }


def compared(samples: Mapping[str, list[Sample]]) -> Json:
    """The figures of each side, and the ratios weft/envoy where both were measured."""
    found = {name: figures(rounds) for name, rounds in samples.items()}
    if "weft" in found and "envoy" in found:
        weft, envoy = found["weft"], found["envoy"]
        by_round = [
            w.cpu_us_per_request / e.cpu_us_per_request
            for w, e in zip(samples["weft"], samples["envoy"], strict=True)
        ]
        found["ratio"] = {key: _rounded(weft[key] / envoy[key]) for key in _RATIOS} | {
            "cpu_per_round": [_rounded(ratio) for ratio in by_round]
        }
    return found


def about(command: str, generator: str, rounds: int, envoy: str) -> Json:
    """When, where and how a workload was measured."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": procfs.cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "envoy": envoy,
        "load": generator,
        "rounds": rounds,
        "command": command,
    }


def merge(kept: Json, new: Json) -> Json:
    """`new` over `kept`, key by key down to a workload, which is replaced whole."""
    return _merged(kept, new, depth=2)


def _merged(kept: Json, new: Json, depth: int) -> Json:
    if not depth:
        return new
    return kept | {key: _merged(kept.get(key, {}), value, depth - 1) for key, value in new.items()}


def load(path: Path = LATEST) -> Json:
    """What was kept; empty at first. Raises BenchError if the file is not what we wrote."""
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text())
    except ValueError as error:
        raise BenchError(f"{path} is not JSON ({error}); delete it and measure again") from None
    if not isinstance(kept, dict):
        raise BenchError(f"{path} is not a JSON object; delete it and measure again")
    return kept


def save(found: Json, path: Path = LATEST) -> None:
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(found, indent=2) + "\n")
    fresh.replace(path)


def _rounded(value: float) -> float:
    return round(value, 3)

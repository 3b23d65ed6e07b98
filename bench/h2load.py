"""Load from nghttp2's h2load, and what it says about it."""

import re
import shutil
import subprocess
from pathlib import Path

from . import frames
from .errors import LoadFailed
from .workloads import Load, Workload, path, percentile

_FINISHED = re.compile(r"^finished in ([0-9.]+)(us|ms|s)\b", re.MULTILINE)
_REQUESTS = re.compile(r"^requests: (\d+) total, .*?(\d+) succeeded", re.MULTILINE)
_GRPC = ("-H", "te: trailers", "-H", "content-type: application/grpc", "-H", "user-agent: weft-bench")
_HTTP1 = ("--h1", "-H", "content-type: application/json", "-H", "user-agent: weft-bench")
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def program() -> str | None:
    return shutil.which("h2load")


def version() -> str:
    """As in "h2load nghttp2/1.52.0"."""
    return subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def run(workload: Workload, port: int, requests: int, directory: Path, timeout_s: float) -> Load:
    """One run. Raises LoadFailed unless every request got a 200."""
    body, log = directory / "request.bin", directory / "h2load.tsv"
    message = b"q" * workload.message_bytes
    body.write_bytes(message if workload.http1 else frames.grpc_message(message))
    log.unlink(missing_ok=True)
    command = [
        "h2load",
        *("-n", str(requests), "-c", str(workload.connections), "-m", str(workload.streams)),
        *("-d", str(body), "--log-file", str(log)),
        *(_HTTP1 if workload.http1 else _GRPC),
        f"http://127.0.0.1:{port}{path(workload.http1)}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"h2load did not finish {requests} requests within {timeout_s:.0f} s") from None
    seconds = parse_seconds(done.stdout, requests)
    latencies = parse_log(log.read_text())
    return Load(requests, seconds, percentile(latencies, 0.50), percentile(latencies, 0.99))


def parse_seconds(output: str, requests: int) -> float:
    """How long the run took. Raises LoadFailed unless all `requests` succeeded."""
    finished, counts = _FINISHED.search(output), _REQUESTS.search(output)
    if not finished or not counts:
        raise LoadFailed(f"h2load printed no summary: {output.strip()[-200:]!r}")
    if int(counts[2]) != requests:
        raise LoadFailed(f"{counts[2]} of {requests} requests succeeded in h2load's run")
    return float(finished[1]) * _UNITS_S[finished[2]]


def parse_log(text: str) -> list[float]:
    """Latencies in ms, ascending, from lines of `start µs, status, duration µs`.

    Raises LoadFailed if a status is not 200.
    """
    latencies = []
    for line in text.splitlines():
        _start, status, duration_us = line.split("\t")[:3]
        if status != "200":
            raise LoadFailed(f"h2load logged a response with status {status}")
        latencies.append(int(duration_us) / 1e3)
    return sorted(latencies)

"""Which generator drives a workload, and how it is run."""

import json
import subprocess
import sys
from pathlib import Path

from . import h2load
from .errors import LoadFailed
from .workloads import MESSAGE_BYTES, Load, Workload


def generator_name(workload: Workload) -> str:
    """h2load where it is installed; our own where not, and where requests must differ."""
    return h2load.version() if h2load.program() and not workload.varying else "bench.generator"


def run(workload: Workload, port: int, requests: int, directory: Path, timeout_s: float = 120.0) -> Load:
    """A fixed number of requests against 127.0.0.1:port. Raises LoadFailed if one of them fails."""
    if (workload.message_bytes != MESSAGE_BYTES or workload.http1) and not h2load.program():
        raise LoadFailed("large messages and HTTP/1.1 need h2load (Debian: apt install nghttp2-client)")
    if h2load.program() and not workload.varying:
        return h2load.run(workload, port, requests, directory, timeout_s)
    return run_own(workload, port, requests, timeout_s)


def check(workload: Workload, port: int, requests: int, directory: Path, timeout_s: float = 120.0) -> None:
    """As `run`; of gRPC each grpc-status is looked at too, which h2load does not."""
    if workload.http1:
        run(workload, port, requests, directory, timeout_s)
    else:
        run_own(workload, port, requests, timeout_s)


def run_own(workload: Workload, port: int, requests: int, timeout_s: float = 120.0) -> Load:
    """As `run`, always with our own generator, which also checks each grpc-status."""
    command = [sys.executable, "-m", "bench.generator", "--port", str(port), "--requests", str(requests)]
    command += ["--connections", str(workload.connections), "--streams", str(workload.streams)]
    command += ["--varying"] if workload.varying else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{requests} requests did not finish within {timeout_s:.0f} s") from None
    if done.returncode:
        raise LoadFailed(f"a request failed: {done.stderr.strip().splitlines()[-1:]}")
    return Load(**json.loads(done.stdout))

"""What the operating system charged to a process (Linux, /proc)."""

from pathlib import Path

from .errors import NotReady

_NS_PER_S = 1e9
_KB_PER_MB = 1000  # VmRSS is in KiB; figures here are in MB of 10^6 bytes
_BYTES_PER_KIB = 1024


def cpu_s(pid: int) -> float:
    """User and system CPU time of all threads, in seconds, as the scheduler accounts it (nanoseconds).

    /proc/<pid>/stat has the same sum in ticks of 10 ms, too coarse for short runs.
    Raises NotReady if the process is gone.
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / _NS_PER_S
    except OSError:
        raise NotReady(f"process {pid} ended during the measurement; see its log") from None


def rss_mb(pid: int) -> float:
    """Resident set size in MB. Raises NotReady if the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        raise NotReady(f"process {pid} ended during the measurement; see its log") from None
    return parse_rss_mb(status)


def parse_rss_mb(status: str) -> float:
    """VmRSS of a /proc/<pid>/status; 0 where it has none (a zombie)."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _BYTES_PER_KIB / (_KB_PER_MB * 1000)
    return 0.0


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown CPU"

"""How much of the machine went to processes that are no part of the benchmark.

CPU per request hardly suffers from them; latency and throughput do, on both sides alike only by luck. So
each run says how busy the others were, and a reader can tell a quiet machine from a loaded one.
"""

import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from . import procfs

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # of /proc/stat's "cpu" line: user nice system irq softirq steal


class Bystanders:
    """Measures from its creation on. `pids` are the benchmark's own long-lived processes."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._began = time.monotonic()
        self._busy_s = parse_busy_s(Path("/proc/stat").read_text())
        self._own_s = self._own()

    def share(self) -> float:
        """CPU time of all others, stolen time included, as a share (0..1) of what the machine could give."""
        busy_s = parse_busy_s(Path("/proc/stat").read_text()) - self._busy_s
        could_s = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return min(max(busy_s - (self._own() - self._own_s), 0.0) / could_s, 1.0)

    def _own(self) -> float:
        """These processes, this one, and the load generators that have ended since."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = [*self._pids, os.getpid()]
        return sum(procfs.cpu_s(pid) for pid in own) + ended.ru_utime + ended.ru_stime


def parse_busy_s(stat: str) -> float:
    """Seconds of all cores that were not idle, from /proc/stat."""
    ticks = stat.split("\n", 1)[0].split()[1:]
    return sum(int(ticks[field]) for field in _BUSY_FIELDS) / _TICKS_PER_S

"""What can go wrong in a benchmark.

WeftError
├── UsageError          a flag (weft.errors)
└── BenchError
    ├── PeerMissing     a program that a side needs is not installed
    ├── NotReady        a process did not come up, or ended too early
    └── LoadFailed      requests failed: figures would be worthless
"""

from weft.errors import WeftError


class BenchError(WeftError):
    """Expected. The benchmark cannot run here."""


class PeerMissing(BenchError):
    """Expected. A program that one side needs is not installed."""


class NotReady(BenchError):
    """Expected. A process of the benchmark did not become ready, or ended early."""


class LoadFailed(BenchError):
    """Expected. Requests failed, or did not all reach the backend."""

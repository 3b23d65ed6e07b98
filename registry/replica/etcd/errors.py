"""Errors of the log in etcd, under registry.errors.

RegistryError
├── NotReady
│   ├── EtcdUnreachable   expected: no endpoint answers
│   ├── EtcdRefuses       expected: credentials, rights or version
│   ├── HistoryCompacted  expected: what was asked for is no longer there, list anew
│   └── Gap               expected: commands before a batch were missed, list anew
└── WentBack              expected: etcd has lost what it had confirmed (DataDirProblem)
"""

from weft.errors import DataDirProblem

from ...errors import NotReady, RegistryError


class EtcdUnreachable(NotReady):
    """Expected. No endpoint answers, or etcd has no leader. What was asked may or may not be done."""


class EtcdRefuses(NotReady):
    """Expected. etcd does not let this server in, or is too old; the message says the mend."""


class HistoryCompacted(NotReady):
    """Expected. The revision asked for is compacted; never leaves the engine."""


class Gap(NotReady):
    """Expected. Batches are missing before this one; never leaves the engine."""


class WentBack(RegistryError, DataDirProblem):
    """Expected. etcd was restored from a backup or replaced: this server's state is ahead of it."""

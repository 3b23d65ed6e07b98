"""What can be wrong with an audit log.

AuditError
├── AuditUnavailable   expected: lines cannot be written; writes are refused meanwhile
└── AuditFileUnusable  expected: the file cannot be opened (EnvironmentProblem)
"""

from weft.errors import EnvironmentProblem, WeftError


class AuditError(WeftError):
    """Root of what is wrong with an audit log."""


class AuditUnavailable(AuditError):
    """Expected. The audit log takes no lines now, and was told to let nothing happen without one."""


class AuditFileUnusable(AuditError, EnvironmentProblem):
    """Expected. The audit log cannot be opened or read where it should be."""

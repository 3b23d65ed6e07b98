"""What is refused about identity.

IdentityError
├── Unauthenticated   expected: no credential, or not one in force
├── SignTooOften      expected: certificate requests over the rate
└── KeyMismatch       expected: the CA key is not the one of the catalog's root (DataDirProblem)
"""

from weft.errors import DataDirProblem, UsageError, WeftError


class IdentityError(WeftError):
    """Root of what is refused about identity."""


class Unauthenticated(IdentityError, UsageError):
    """Expected. The message never says which half was wrong."""


class SignTooOften(IdentityError):
    """Expected. Signing costs CPU and rows in the catalog, so its rate is bounded."""


class KeyMismatch(IdentityError, DataDirProblem):
    """Expected. The key file and the catalog come from different clusters."""

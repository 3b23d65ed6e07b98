"""What is refused about identity.

IdentityError
├── Unauthenticated   expected: no credential, or not one in force
├── TokenUnknown      expected: a token that is not known
├── KeysUnreachable   expected: the keys of an auth method cannot be fetched
├── SignTooOften      expected: certificate requests over the rate
├── ServerCertificateUnusable  expected: the server's own certificate, key or root (ConfigError)
└── KeyMismatch       expected: the CA key is not the one of the catalog's root (DataDirProblem)
"""

from weft.errors import ConfigError, DataDirProblem, UsageError, WeftError


class IdentityError(WeftError):
    """Root of what is refused about identity."""


class Unauthenticated(IdentityError, UsageError):
    """Expected. The message never says which half was wrong."""


class TokenUnknown(IdentityError, UsageError):
    """Expected. The text is Consul's, which clients compare."""


class KeysUnreachable(IdentityError):
    """Expected. A provider does not answer, or not with keys; a login has to wait. Details are in the log."""

    def __init__(self) -> None:
        super().__init__(
            "the keys of the auth method cannot be fetched now: see this server's log, then retry"
        )


class SignTooOften(IdentityError):
    """Expected. Signing costs CPU and rows in the catalog, so its rate is bounded."""


class KeyMismatch(IdentityError, DataDirProblem):
    """Expected. The key file and the catalog come from different clusters."""


class ServerCertificateUnusable(IdentityError, ConfigError):
    """Expected. The server's certificate, key and root do not belong together, or are over."""

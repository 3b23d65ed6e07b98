"""What the certificate authority refuses.

WeftError
├── UsageError
│   ├── CsrRefused        expected: the signing request is unacceptable
│   └── IssueRefused      expected: what was asked cannot be issued (lifetime, serial, name)
├── EnvironmentProblem
│   └── KeyUnusable       expected: the authority's own key cannot be read or is not one
└── (weft.svid.UntrustedPeer belongs to whoever verifies)
"""

from weft.errors import EnvironmentProblem, UsageError


class CsrRefused(UsageError):
    """Expected. The request is malformed, not signed by its own key, or its key is too weak."""


class IssueRefused(UsageError):
    """Expected. The certificate asked for would be wrong: its lifetime, serial number or names."""


class KeyUnusable(EnvironmentProblem):
    """Expected. The authority's private key is missing, foreign or damaged."""

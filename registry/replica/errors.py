"""Errors between servers, under registry.errors.

RegistryError
├── PeerRefused   expected: the other server is not one to talk to
└── NotAMember    expected: this server belongs to no cluster yet, or to another one
"""

from ..errors import NotReady, RegistryError


class PeerRefused(RegistryError):
    """Expected. Wrong certificate, cluster or server id; the message says which, and the mend."""


class NotAMember(NotReady):
    """Expected. Bootstrap the cluster or join one first."""

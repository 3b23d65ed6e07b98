"""What can go wrong for who runs a cluster, under registry.errors.

RegistryError
├── ArchiveInvalid     expected: not a snapshot archive, or a damaged one
├── CannotForm         expected: the servers that were found do not make one cluster
├── Removed            expected: this server is no member of its cluster any more
└── EngineHasNoMembers expected: this consensus engine keeps its own members
"""

from weft.errors import ConfigError, EnvironmentProblem, UsageError

from ..errors import RegistryError


class ArchiveInvalid(RegistryError, UsageError):
    """Expected. Nothing was restored; the message says what does not check."""


class CannotForm(RegistryError, ConfigError):
    """Expected. Flags of the servers contradict each other; the message names the servers."""


class Removed(RegistryError, EnvironmentProblem):
    """Expected. The server has to stop: the others go on without it."""


class EngineHasNoMembers(RegistryError, UsageError):
    """Expected. Members are administered with the engine's own tools."""

"""Every error Weft raises on purpose.

    WeftError
    ├── UsageError          expected: the caller's input is wrong; exit 2
    │   └── ConfigError     a flag, file or environment variable
    ├── EnvironmentProblem  expected: this machine is in the way; exit 1
    │   ├── PortTaken
    │   └── DataDirProblem
    ├── Unavailable         expected: a peer is not there (yet); exit 1
    └── InvariantBroken     unexpected: a bug in Weft; exit 70

Each room adds its own branch in its `errors.py`. A message is one line for a person: what is wrong,
then how to mend it. Foreign errors (OSError, ssl.SSLError, grpc.RpcError) are translated where they
arise and do not travel further.
"""


class WeftError(Exception):
    """Root of the tree. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(WeftError):
    """Expected. The input is wrong; the message names the field and the mend."""

    exit_code = 2


class ConfigError(UsageError):
    """Expected. A flag, a configuration file or an environment variable is wrong."""


class EnvironmentProblem(WeftError):
    """Expected. The input is fine, but this machine does not allow it."""


class PortTaken(EnvironmentProblem):
    """Expected. Another process listens on the address."""


class DataDirProblem(EnvironmentProblem):
    """Expected. The data directory cannot be used; nothing in it was changed."""


class Unavailable(WeftError):
    """Expected. A peer did not answer; trying again later is right."""


class InvariantBroken(WeftError):
    """Unexpected. A bug in Weft: something that cannot happen did."""

    exit_code = 70


def invariant(condition: bool, message: str) -> None:
    """Raises InvariantBroken unless `condition` holds. Unlike assert, `python -O` keeps it."""
    if not condition:
        raise InvariantBroken(message)

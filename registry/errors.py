"""Errors of the registry, under weft.errors.

RegistryError
├── CommandRefused        expected: the same answer on every server
│   ├── InvalidCommand    a field is wrong
│   ├── NotFound          what the command is about is not there
│   ├── Conflict          it has changed since the caller read it
│   ├── ImpossibleChain   config entries would contradict each other
│   ├── InvalidSession    there is no such session
│   ├── TransactionRefused operations of it failed, so none is done
│   ├── SessionRefused    its node or a check is missing or not well
│   └── CredentialRefused the credential is withdrawn or another one
├── NotReady              expected: no leader, or the log is closed (Unavailable)
├── NoServers             expected: an agent reaches none of its servers (Unavailable)
├── DiskFull              expected: writes are refused until there is space
├── OutcomeUnknown        expected: the write may or may not be in the log
├── LogCorrupt            expected: synced bytes of the log are damaged (DataDirProblem)
└── UnknownCommand        unexpected: a newer server's command; this server halts
"""

from enum import IntEnum

from weft.errors import (
    DataDirProblem,
    EnvironmentProblem,
    InvariantBroken,
    Unavailable,
    UsageError,
    WeftError,
)


class RegistryError(WeftError):
    """Root of the registry's errors."""


class CommandRefused(RegistryError, UsageError):
    """Expected. A known command with content that cannot be carried out."""


class InvalidCommand(CommandRefused):
    """Expected. A field of a command is wrong; the message names it and the mend."""


class NotFound(CommandRefused):
    """Expected. The node, service, check, intention or credential does not exist."""


class Conflict(CommandRefused):
    """Expected. A compare-and-set lost: read again and decide anew."""


class ImpossibleChain(CommandRefused):
    """Expected. With this change, the config entries of a service would contradict each other."""


class InvalidSession(CommandRefused):
    """Expected. A lock is asked for by a session that does not exist (any more)."""


class SessionRefused(CommandRefused):
    """Expected. The node or a check that a session depends on is missing, or critical."""


class TransactionRefused(CommandRefused):
    """Expected. Operations failed, so none is done; the text is JSON (registry.catalog.txn)."""


class CredentialRefused(CommandRefused):
    """Expected. The credential is not (or no longer) the one of that instance."""


class NotReady(RegistryError, Unavailable):
    """Expected. This server cannot take writes now."""


class NoServers(RegistryError, Unavailable):
    """Expected. None of the servers that this agent knows answers; retry later. The text is Consul's."""


class DiskFull(RegistryError, EnvironmentProblem):
    """Expected. No space for the log. Reads go on; writes are refused until space is made."""


class OutcomeUnknown(RegistryError, Unavailable):
    """Expected. The server failed while writing. Retry with the same request id."""


class LogCorrupt(RegistryError, DataDirProblem):
    """Expected. Bytes that were once synced do not read back."""


class UnknownCommand(RegistryError, InvariantBroken):
    """Unexpected. The log holds a command that this version does not know; it must not skip it."""


class Code(IntEnum):
    """Outcome of an applied command, as snapshots store it."""

    OK = 0
    INVALID = 1
    NOT_FOUND = 2
    CONFLICT = 3
    CREDENTIAL = 4
    CHAIN = 5
    SESSION = 6
    SESSION_REFUSED = 7
    TRANSACTION = 8


REFUSALS: dict[Code, type[CommandRefused]] = {
    Code.INVALID: InvalidCommand,
    Code.NOT_FOUND: NotFound,
    Code.CONFLICT: Conflict,
    Code.CREDENTIAL: CredentialRefused,
    Code.CHAIN: ImpossibleChain,
    Code.SESSION: InvalidSession,
    Code.SESSION_REFUSED: SessionRefused,
    Code.TRANSACTION: TransactionRefused,
}

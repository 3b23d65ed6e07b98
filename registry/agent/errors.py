"""What the agent refuses.

AgentError              expected
├── InvalidDefinition   the body of a registration
├── Undecodable         the body is not what JSON and the field list allow
├── UnknownService      no such service on this node
├── UnknownCheck        no such check on this node
├── NotTtl              a status was reported for a check that the agent runs itself
├── NoPortLeft          every automatic sidecar port is taken
└── ForbiddenAddress    a check points where checks must not go
"""

from weft.errors import UsageError, WeftError


class AgentError(WeftError):
    """Root of the agent's errors."""


class InvalidDefinition(AgentError, UsageError):
    """Expected. A definition is well-formed and wrong; the message names the field and the mend."""


class Undecodable(AgentError, UsageError):
    """Expected. Not JSON, a wrong type, or a field that does not exist."""


class UnknownService(AgentError):
    """Expected. No service by that id on this node."""


class UnknownCheck(AgentError):
    """Expected. No check by that id on this node."""


class NotTtl(AgentError):
    """Expected. Only TTL checks take their status from a caller."""


class NoPortLeft(AgentError):
    """Expected. All ports for sidecars are taken on this node."""


class ForbiddenAddress(AgentError):
    """Expected. A check would connect to an address that checks must not reach."""

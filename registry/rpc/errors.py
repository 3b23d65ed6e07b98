"""What is refused on streams of agents.

WeftError
├── LeaseEnded   expected: the agent was silent for too long
└── Superseded   expected: the agent has come by another connection
"""

from weft.errors import Unavailable, UsageError


class LeaseEnded(Unavailable):
    """Expected. The agent said nothing for longer than its lease; it may come again."""


class Superseded(UsageError):
    """Expected. Another stream of the same agent has taken the place of this one."""

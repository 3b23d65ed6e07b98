"""What a config entry can be refused for.

InvalidCommand
└── InvalidEntry        a field is wrong; the message begins with its path
    └── UnreadableEntry not the shape of the kind: a wrong type, a field that does not exist
"""

from ..errors import InvalidCommand


class InvalidEntry(InvalidCommand):
    """Expected. A field says what cannot be; the message is its path and the mend."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path[:300]}: {reason}" if path else reason)


class UnreadableEntry(InvalidEntry):
    """Expected. A field of a type that it does not have, or one that the kind does not have."""

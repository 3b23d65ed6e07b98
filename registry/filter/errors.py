"""What a filter expression can be refused for."""

from weft.errors import UsageError

from ..errors import RegistryError


class InvalidFilter(RegistryError, UsageError):
    """Expected. The expression does not parse, or asks for what the rows do not have."""

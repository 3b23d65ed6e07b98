"""What may be wrong with measurements that come in."""

from weft.errors import UsageError


class InvalidMeasurement(UsageError):
    """Expected. A message of measurements holds what a sidecar, or a server, never sends."""

"""Sans-IO. What is refused because it is too much.

LimitError        expected: there would be place for it later
├── OverRate        requests a second, of all or of one source
├── TooManyWatches  parked blocking queries, of all, one token or one source
├── TooManyCalls    gRPC calls under way, of all or of one source
└── TooSlow         a request that takes too long to arrive
"""

from weft.errors import WeftError


class LimitError(WeftError):
    """Root of what is refused because it is too much."""


class OverRate(LimitError):
    """Expected. More requests a second than allowed."""


class TooManyWatches(LimitError):
    """Expected. More parked blocking queries than allowed."""


class TooManyCalls(LimitError):
    """Expected. More gRPC calls under way than allowed."""


class TooSlow(LimitError):
    """Expected. The rest of a request did not come in time."""

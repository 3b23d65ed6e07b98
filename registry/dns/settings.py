"""Sans-IO. What an operator decides about the DNS face."""

from dataclasses import dataclass, field
from typing import NamedTuple

from .answer import Choices


class Recursor(NamedTuple):
    """A resolver that is asked about names in no domain of ours."""

    host: str  # an IP address
    port: int


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """`port` 0 takes a free one. Questions bring no token: all are asked with `token`; "" is anonymous."""

    port: int
    choices: Choices = field(default_factory=Choices)
    recursors: tuple[Recursor, ...] = ()
    token: str = field(default="", repr=False)


NO_DNS = DnsSettings(0)
"""What is told to agents by a server that does not answer DNS itself."""

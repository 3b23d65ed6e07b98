"""The row of a virtual address."""

from dataclasses import dataclass
from ipaddress import IPv4Address

FIRST = int(IPv4Address("240.0.0.0"))
"""Consul's range for virtual addresses: class E, which no network routes (RFC 1112, 4)."""

NUMBER_MAX = 1_000_000
"""Addresses at the same time. Services beyond them have none: what has been used and is free is kept too."""

VIRTUAL_TAG = "consul-virtual"
"""Under what name Consul's clients find it among the tagged addresses of a mesh endpoint."""


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """A service's, for as long as it is in the mesh. Key: service. `number` counts from 1, 240.0.0.1."""

    service: str
    number: int

    @property
    def address(self) -> str:
        return str(IPv4Address(FIRST + self.number))

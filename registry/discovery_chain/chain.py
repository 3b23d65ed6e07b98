"""A compiled chain: a graph whose leaves are targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..config_entries.matching import HashPolicy
from ..config_entries.routing import ServiceResolver, ServiceRoute, ServiceSplit

CONNECT_TIMEOUT_MS = 5_000  # Consul's default
ALL = 10_000  # weights are hundredths of a percent
EntryKey = tuple[str, str]  # kind and name


class Leg(NamedTuple):
    """A set of instances: of a service, of a subset of it ("" is all), in a datacenter."""

    service: str
    subset: str
    datacenter: str

    @property
    def id(self) -> str:
        """Consul's. A dot within a service's name is escaped, since it separates."""
        subset = f"{self.subset}." if self.subset else ""
        return f"{subset}{dotted(self.service)}.default.default.{self.datacenter}"


def dotted(service: str) -> str:
    return service.replace(".", "%2E")


class Choice(NamedTuple):
    """One route of a router; no `route` is the catch-all that every router ends with."""

    route: ServiceRoute | None
    next: str
    mirrors: tuple[str, ...] = ()  # target ids, in the order of the route's Mirrors


@dataclass(frozen=True, slots=True)
class RouterNode:
    name: str
    choices: tuple[Choice, ...]


class Share(NamedTuple):
    """One side of a splitter."""

    split: ServiceSplit
    next: str


@dataclass(frozen=True, slots=True)
class SplitterNode:
    name: str
    shares: tuple[Share, ...]
    sticky: tuple[HashPolicy, ...]


@dataclass(frozen=True, slots=True)
class ResolverNode:
    """Ends at a target, or where that has no instance at the first of `failover` that has one."""

    leg: Leg
    failover: tuple[str, ...]  # target ids
    entry: ServiceResolver | None  # None: nobody wrote one

    @property
    def connect_timeout_ms(self) -> int:
        return (self.entry and self.entry.connect_timeout_ms) or CONNECT_TIMEOUT_MS


Node = RouterNode | SplitterNode | ResolverNode


@dataclass(frozen=True, slots=True)
class Target:
    """What instances belong to it follows from the resolver of its service."""

    leg: Leg
    entry: ServiceResolver | None

    @property
    def connect_timeout_ms(self) -> int:
        return (self.entry and self.entry.connect_timeout_ms) or CONNECT_TIMEOUT_MS


@dataclass(frozen=True, slots=True)
class Chain:
    """`protocol` "" is declared nowhere. `reads` are the entries that it depends on, there or not."""

    service: str
    datacenter: str
    protocol: str
    start: str
    nodes: Mapping[str, Node]
    targets: Mapping[str, Target]
    reads: frozenset[EntryKey]

    @property
    def is_default(self) -> bool:
        """Whether calls simply go to all instances of the service."""
        node = self.nodes[self.start]
        plain = Leg(self.service, "", self.datacenter)
        return isinstance(node, ResolverNode) and node.entry is None and node.leg == plain

    @property
    def services(self) -> frozenset[str]:
        """Whose instances it may end at."""
        return frozenset(target.leg.service for target in self.targets.values())

"""Who calls whom, of the tallies of a window."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .tally import Edge, Tally


@dataclass(slots=True)
class Link:
    """Calls from one service to another. `targets` are the sets of instances that they went to, by id; empty
    where only the called side counts, as for callers without a sidecar."""

    source: str
    destination: str
    calls: Tally = field(default_factory=Tally)
    targets: dict[str, Tally] = field(default_factory=dict)


def links(edges: Mapping[Edge, Tally]) -> tuple[Link, ...]:
    """Each pair of services once, by name: as the caller counts, else as the called side does."""
    found: dict[tuple[str, str], Link] = {}
    for edge, tally in edges.items():
        if not edge.inbound:
            link = _link(found, edge)
            link.calls.add(tally)
            link.targets.setdefault(edge.target, Tally()).add(tally)
    reached = {(link.source, service) for link in found.values() for service in _reached(link)}
    for edge, tally in edges.items():
        if edge.inbound and (edge.source, edge.destination) not in reached:
            _link(found, edge).calls.add(tally)
    return tuple(found[pair] for pair in sorted(found))


def _link(found: dict[tuple[str, str], Link], edge: Edge) -> Link:
    pair = edge.source, edge.destination
    return found.setdefault(pair, Link(*pair))


def _reached(link: Link) -> Iterable[str]:
    """Services that the calls may have ended at: routes lead elsewhere than to the one that was named."""
    yield link.destination
    for target in link.targets:
        yield service_and_subset(target)[0]


def service_and_subset(target: str) -> tuple[str, str]:
    """What a target id names, which ends in namespace, partition and datacenter. The subset may be "", and a
    dot within the service's name is escaped."""
    subset, _, service = target.rsplit(".", 3)[0].rpartition(".")
    return service.replace("%2E", "."), subset

"""Whether a change of config entries leaves every chain possible."""

from collections.abc import Iterable, Iterator

from ..config_entries.entry import Entry
from ..config_entries.routing import ServiceResolver, ServiceRouter, ServiceSplitter
from ..config_entries.service_defaults import ProxyDefaults, ServiceDefaults
from .compile import Lookup, compile_chain

ROUTING = (ServiceRouter.KIND, ServiceSplitter.KIND, ServiceResolver.KIND)
KINDS = (*ROUTING, ServiceDefaults.KIND, ProxyDefaults.KIND)
"""Kinds whose change can make a chain impossible."""


def check_chains(kind: str, name: str, datacenter: str, lookup: Lookup, routing: Iterable[Entry]) -> None:
    """Raises ImpossibleChain when, with `lookup` and `routing` as they are after the change of one entry, a
    chain that it has part in contradicts itself."""
    if kind not in KINDS:
        return
    entries = list(routing)
    services = (
        {entry.name for entry in entries} if kind == ProxyDefaults.KIND else _upstream_of(name, entries)
    )
    for service in sorted(services):
        compile_chain(service, datacenter, lookup)


def _upstream_of(name: str, entries: list[Entry]) -> set[str]:
    """The service and all whose chains can lead to it."""
    callers: dict[str, set[str]] = {}
    for entry in entries:
        for other in _names(entry):
            callers.setdefault(other, set()).add(entry.name)
    found, waiting = {name}, [name]
    while waiting:
        for other in callers.get(waiting.pop(), ()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _names(entry: Entry) -> Iterator[str]:
    """Services that an entry names, "" for its own."""
    if isinstance(entry, ServiceRouter):
        for to in (route.destination for route in entry.routes if route.destination):
            yield to.service
            yield from (mirror.service for mirror in to.mirrors)
    elif isinstance(entry, ServiceSplitter):
        yield from (split.service for split in entry.splits)
    elif isinstance(entry, ServiceResolver):
        if entry.redirect:
            yield entry.redirect.service
        for failover in entry.failover.values():
            yield from (leg[0] for leg in failover.legs(entry.name, ""))

"""From config entries to a chain."""

from collections.abc import Callable
from typing import TypeVar, cast

from ..config_entries.entry import Entry
from ..config_entries.routing import Redirect, ServiceResolver, ServiceRouter, ServiceSplitter
from ..config_entries.service_defaults import ProxyDefaults, ServiceDefaults
from ..errors import ImpossibleChain
from .chain import (
    Chain,
    Choice,
    EntryKey,
    Leg,
    Node,
    ResolverNode,
    RouterNode,
    Share,
    SplitterNode,
    Target,
    dotted,
)

Lookup = Callable[[str, str], Entry | None]
"""Kind and name -> the entry."""

E = TypeVar("E", bound=Entry)
TCP = "tcp"
DEPTH_MAX = 32  # splitters within each other, or redirects in a row; making a chain recurses


def compile_chain(service: str, datacenter: str, lookup: Lookup, *, protocol: str = "") -> Chain:
    """The chain of calls to a service. `protocol` is what the caller says, whatever the entries declare.

    Raises ImpossibleChain with Consul's texts where the entries contradict each other.
    """
    return _Compiler(service, datacenter, lookup, protocol).chain()


def declared_protocol(service: str, lookup: Lookup) -> str:
    """What service-defaults say, else proxy-defaults; "" where neither does."""
    own = lookup(ServiceDefaults.KIND, service)
    if isinstance(own, ServiceDefaults) and own.protocol:
        return own.protocol
    shared = lookup(ProxyDefaults.KIND, ProxyDefaults.ONLY_NAME)
    return shared.said_protocol if isinstance(shared, ProxyDefaults) else ""


class _Compiler:
    """One run. Nodes are made once each; what is being made is on `_path`, so a circle is seen."""

    def __init__(self, service: str, datacenter: str, lookup: Lookup, protocol: str) -> None:
        self._service = service
        self._datacenter = datacenter
        self._lookup = lookup
        self._said = protocol
        self._nodes: dict[str, Node] = {}
        self._targets: dict[str, Target] = {}
        self._reads: set[EntryKey] = set()
        self._path: list[str] = []
        self._protocols: dict[str, str] = {}
        self._is_advanced = False

    def chain(self) -> Chain:
        self._note_protocol(self._service)
        start = self._start()
        protocol = self._said or self._agreed_protocol()
        if self._is_advanced and protocol == TCP:
            raise ImpossibleChain(
                f'discovery chain "{self._service}" uses a protocol "tcp" that does not permit advanced '
                "routing or splitting behavior"
            )
        return Chain(
            self._service,
            self._datacenter,
            protocol,
            start,
            self._nodes,
            self._targets,
            frozenset(self._reads),
        )

    def _start(self) -> str:
        if self._said == TCP:
            return self._resolver(Leg(self._service, "", self._datacenter))
        router = self._find(ServiceRouter, self._service)
        return self._router(router) if router else self._splitter(self._service)

    def _find(self, kind: type[E], name: str) -> E | None:
        self._reads.add((kind.KIND, name))
        return cast(E | None, self._lookup(kind.KIND, name))

    # Protocols

    def _note_protocol(self, service: str) -> None:
        if service not in self._protocols:
            self._reads |= {(ServiceDefaults.KIND, service), (ProxyDefaults.KIND, ProxyDefaults.ONLY_NAME)}
            self._protocols[service] = declared_protocol(service, self._lookup)

    def _agreed_protocol(self) -> str:
        """What those that declare one agree on."""
        declared = [(service, protocol) for service, protocol in self._protocols.items() if protocol]
        if not declared:
            return ""
        first = declared[0][1]
        for service, protocol in declared:
            if protocol != first:
                raise ImpossibleChain(
                    f'discovery chain "{self._service}" uses inconsistent protocols; service "{service}" has '
                    f'"{protocol}" which is not "{first}"'
                )
        return first

    # Nodes

    def _router(self, entry: ServiceRouter) -> str:
        self._is_advanced = True
        made = f"router:{dotted(entry.name)}.default.default"
        choices = []
        for route in entry.routes:
            to = route.destination
            service, subset = (to.service or entry.name, to.subset) if to else (entry.name, "")
            following = self._splitter(service, subset)
            mirrors = [
                self._target(Leg(it.service or entry.name, it.subset, self._datacenter))
                for it in (to.mirrors if to else ())
            ]
            choices.append(Choice(route, following, tuple(mirrors)))
        choices.append(Choice(None, self._splitter(entry.name)))
        self._nodes[made] = RouterNode(f"{dotted(entry.name)}.default.default", tuple(choices))
        return made

    def _splitter(self, service: str, subset: str = "") -> str:
        """A named subset is a decision already: it is not split again."""
        entry = None if subset else self._find(ServiceSplitter, service)
        if entry is None:
            return self._resolver(Leg(service, subset, self._datacenter))
        self._is_advanced = True
        made = f"splitter:{dotted(service)}.default.default"
        if made in self._nodes:
            return made
        self._enter(made)
        shares = tuple(Share(it, self._share(entry.name, it.service, it.subset)) for it in entry.splits)
        self._leave()
        self._note_protocol(service)
        self._nodes[made] = SplitterNode(f"{dotted(service)}.default.default", shares, entry.sticky)
        return made

    def _share(self, owner: str, service: str, subset: str) -> str:
        """A share that stays with the splitter's own service goes to its resolver: no circle."""
        if not service or service == owner:
            return self._resolver(Leg(owner, subset, self._datacenter))
        return self._splitter(service, subset)

    def _target(self, leg: Leg) -> str:
        """Its id, once redirects and default subsets have been followed."""
        leg, entry = self._resolved(leg)
        self._targets[leg.id] = Target(leg, entry)
        return leg.id

    def _enter(self, node: str) -> None:
        if len(self._path) >= DEPTH_MAX:
            raise ImpossibleChain(f'discovery chain "{self._service}" nests over {DEPTH_MAX} splitters')
        if node in self._path:
            circle = " -> ".join([*self._path[self._path.index(node) :], node])
            raise ImpossibleChain(f"detected circular reference: [{circle}]")
        self._path.append(node)

    def _leave(self) -> None:
        self._path.pop()

    def _resolver(self, leg: Leg) -> str:
        leg, entry = self._resolved(leg)
        made = f"resolver:{leg.id}"
        if made not in self._nodes:
            self._targets[leg.id] = Target(leg, entry)
            self._nodes[made] = ResolverNode(leg, self._failover(leg, entry), entry)
        return made

    def _resolved(self, leg: Leg) -> tuple[Leg, ServiceResolver | None]:
        """Where redirects and default subsets lead."""
        seen = [leg]
        while True:
            self._note_protocol(leg.service)
            entry = self._find(ServiceResolver, leg.service)
            following = _redirected(leg, entry.redirect) if entry and entry.redirect else leg
            if following == leg and entry and entry.default_subset and not leg.subset:
                following = leg._replace(subset=entry.default_subset)
            if following == leg:
                break
            if following in seen:
                circle = " -> ".join(it.id for it in (*seen[seen.index(following) :], following))
                raise ImpossibleChain(f"detected circular resolver redirect: [{circle}]")
            if len(seen) > DEPTH_MAX:
                raise ImpossibleChain(f'discovery chain "{self._service}" has over {DEPTH_MAX} redirects')
            seen.append(following)
            leg = following
        if leg.subset and not (entry and leg.subset in entry.subsets):
            raise ImpossibleChain(f'service "{leg.service}" does not have a subset named "{leg.subset}"')
        return leg, entry

    def _failover(self, leg: Leg, entry: ServiceResolver | None) -> tuple[str, ...]:
        found = (entry.failover.get(leg.subset) or entry.failover.get("*")) if entry else None
        legs = found.legs(leg.service, leg.datacenter) if found else []
        ids = []
        for service, subset, datacenter in legs:
            kept = leg.subset if service == leg.service and not subset else subset
            ids.append(self._target(Leg(service, kept, datacenter)))
        return tuple(dict.fromkeys(it for it in ids if it != leg.id))


def _redirected(leg: Leg, to: Redirect) -> Leg:
    """A redirect that names no service keeps it, and the subset. One to where the call is leads nowhere."""
    is_elsewhere = bool(to.service) and to.service != leg.service
    subset = to.subset or ("" if is_elsewhere else leg.subset)
    return Leg(to.service or leg.service, subset, to.datacenter or leg.datacenter)

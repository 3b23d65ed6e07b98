"""Sans-IO. The answer to one question, from one state of the catalog, for one caller.

Instances that pass, and those that warn, are told of, in random order. What the caller may not read is left
out as health/service leaves it out: an instance is told to who may read its service and its node. A name
without anything left does not exist (NXDOMAIN); one that has something, but not of the type asked for, gets
an empty answer (NODATA). Either comes with the domain's SOA (RFC 2308).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import dns.name
from dns.rcode import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Rcode
from dns.rdatatype import AAAA, ANY, NS, SOA, SRV, TXT, A, RdataType

from ..acl.access import Access
from ..acl.caller import Caller
from ..catalog.feature_level import SERVER_SERVICE
from ..catalog.model import CRITICAL, PASSING, Node, ServiceEntry
from ..catalog.state import State
from . import records
from .directory import Directory
from .limits import ANSWERS_MAX
from .names import DOMAINS, Kind, Target, fold, hex_address, read_name, reverse_address
from .records import Place, Record

NAME_SERVERS_MAX = 3  # as Consul


@dataclass(frozen=True, slots=True)
class Choices:
    """What an operator decides about answers. Durations in seconds."""

    only_passing: bool = False  # leaves out instances that warn
    node_ttl_s: int = 0
    service_ttl_s: int = 0


class Question(NamedTuple):
    name: dns.name.Name
    kind: RdataType


@dataclass(slots=True)
class Reply:
    """An answer before it is made to fit. `alias` is a foreign name that the answer ends in, if it does.
    `is_ours` is False where the name is in no domain of ours: then a recursor may know."""

    rcode: Rcode = NOERROR
    answer: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    alias: dns.name.Name | None = None
    is_ours: bool = True


class Asking(NamedTuple):
    """All that an answer depends on, besides the choices. `now_s` is seconds since the Unix epoch; `draw`
    gives random numbers from 0 to 1."""

    state: State
    caller: Caller
    question: Question
    now_s: float
    draw: Callable[[], float]


class Catalog:
    """Answers from the catalog of one cluster."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._directory = Directory()

    def answer(self, asking: Asking) -> Reply:
        target = read_name(asking.question.name)
        if target.kind is Kind.FOREIGN:
            return Reply(REFUSED, is_ours=False)
        if target.kind is Kind.REVERSE:
            return self._reverse(asking)
        cluster = asking.state.cluster
        if cluster is None:
            return Reply(SERVFAIL)  # nobody knows yet what this cluster is called
        here = target.datacenter in (b"", fold(cluster.datacenter))
        found = self._find(asking, target) if here else None
        if found is None:
            return Reply(NXDOMAIN, authority=[records.soa(target.domain, int(asking.now_s))])
        if not found.answer and not found.authority:
            found.authority.append(records.soa(target.domain, int(asking.now_s)))
        return found

    def _find(self, asking: Asking, target: Target) -> Reply | None:
        """None: there is no such name."""
        match target.kind:
            case Kind.APEX:
                return self._apex(asking, target)
            case Kind.NAME_SERVER:
                return self._name_server(asking)
            case Kind.EMPTY:
                return Reply()
            case Kind.SERVICE:
                name = self._directory.service(asking.state, target.label, asking.now_s)
                rows = asking.state.service_nodes(name).rows
                return self._instances(asking, target, self._told(asking, rows, target.tag))
            case Kind.CONNECT:
                name = self._directory.connect(asking.state, target.label, asking.now_s)
                rows = asking.state.connect_nodes(name).rows
                return self._instances(asking, target, self._told(asking, rows))
            case Kind.NODE:
                return self._node(asking, target)
            case Kind.ADDRESS:
                return self._address(asking, target)
        return None

    # Services

    def _told(self, asking: Asking, rows: Iterable[ServiceEntry], tag: bytes = b"") -> list[ServiceEntry]:
        """Instances to tell of, in random order."""
        may = asking.caller.may
        told = [
            (asking.draw(), row)
            for row in rows
            if self._is_healthy(row)
            and (not tag or any(fold(it) == tag for it in row.service.tags))
            and may.allows("node", row.node.name, Access.READ)
            and may.allows("service", row.service.name, Access.READ)
        ]
        told.sort(key=lambda pair: pair[0])
        return [row for _, row in told[:ANSWERS_MAX]]

    def _is_healthy(self, row: ServiceEntry) -> bool:
        return row.status == PASSING if self._choices.only_passing else row.status != CRITICAL

    def _instances(self, asking: Asking, target: Target, rows: Sequence[ServiceEntry]) -> Reply | None:
        if not rows:
            return None
        if asking.question.kind == SRV:
            return self._srv(asking, target, rows)
        return self._addresses(asking, map(records.place_of, rows), self._choices.service_ttl_s)

    def _srv(self, asking: Asking, target: Target, rows: Sequence[ServiceEntry]) -> Reply:
        reply, ttl_s = Reply(), self._choices.service_ttl_s
        glued: set[dns.name.Name] = set()
        for row in rows:
            host = _srv_host(row, target)
            if host is None:
                continue  # its address is no name that DNS can say
            reply.answer.append(Record(asking.question.name, ttl_s, records.srv_data(row, host)))
            if host not in glued and (data := records.address_data(records.place_of(row).address)):
                glued.add(host)
                reply.additional.append(Record(host, ttl_s, data))
        return reply

    def _addresses(self, asking: Asking, places: Iterable[Place], ttl_s: int) -> Reply:
        """A and AAAA of these places. Where they have but names, an alias of one of them: a name has one
        alias at most, and nothing besides (RFC 1034, 3.6.2)."""
        reply, (name, kind) = Reply(), asking.question
        seen: set[str] = set()
        alias: dns.name.Name | None = None
        for place in places:
            text = place.for_type(kind)
            if text in seen:
                continue
            seen.add(text)
            data = records.address_data(text)
            if data is None:
                alias = alias or records.host_name(text)
            elif records.matches(data, kind):
                reply.answer.append(Record(name, ttl_s, data))
        if alias and not reply.answer and kind in (A, AAAA, ANY):
            reply.answer.append(Record(name, ttl_s, records.cname_data(alias)))
            reply.alias = alias
        return reply

    # Nodes and addresses

    def _node(self, asking: Asking, target: Target) -> Reply | None:
        node = self._directory.node(asking.state, target.label, asking.now_s)
        if node is None or not _readable(asking.caller, node.name):
            return None
        name, kind = asking.question
        ttl_s = self._choices.node_ttl_s
        reply = self._addresses(asking, [records.node_place(node)], ttl_s)
        texts = [Record(name, ttl_s, data) for data in records.meta_data(node.meta)]
        if kind in (TXT, ANY) and not reply.alias:
            reply.answer += texts
        elif kind in (A, AAAA):
            reply.additional += texts
        return reply

    def _address(self, asking: Asking, target: Target) -> Reply | None:
        text = hex_address(target.label)
        if not text:
            return None
        return self._addresses(asking, [Place(text)], self._choices.node_ttl_s)

    def _reverse(self, asking: Asking) -> Reply:
        """Names of the nodes at an address, else of the services."""
        cluster, address = asking.state.cluster, reverse_address(asking.question.name)
        if cluster is None or not address:
            return Reply(is_ours=False)  # a part of an address: names end in it
        nodes = self._directory.nodes_at(asking.state, address, asking.now_s)
        names = [(name.encode().split(b"."), b"node") for name in nodes if _readable(asking.caller, name)]
        if not names:
            services = self._directory.services_at(asking.state, address, asking.now_s)
            names = [
                ([name.encode()], b"service")
                for name, on in services.items()
                if asking.caller.may.allows("service", name, Access.READ)
                and any(_readable(asking.caller, node) for node in on)
            ]
        reply = Reply()
        for labels, kind in names[:ANSWERS_MAX]:
            host = records.absolute((*labels, kind, cluster.datacenter.encode()), DOMAINS[0])
            if host:
                data = records.ptr_data(host)
                if records.matches(data, asking.question.kind):
                    reply.answer.append(Record(asking.question.name, self._choices.node_ttl_s, data))
        return reply if names else Reply(NXDOMAIN, is_ours=False)

    # The domain itself

    def _apex(self, asking: Asking, target: Target) -> Reply:
        reply, kind = Reply(), asking.question.kind
        if kind in (SOA, ANY):
            start = records.soa(target.domain, int(asking.now_s))
            reply.answer.append(start._replace(name=asking.question.name))
        if kind in (SOA, NS, ANY):
            section = reply.authority if kind == SOA else reply.answer
            for node in self._name_servers(asking):
                host = _host_of(node, target)
                if host is None:
                    continue
                section.append(Record(target.domain, self._choices.node_ttl_s, records.ns_data(host)))
                if data := records.address_data(node.address):
                    reply.additional.append(Record(host, self._choices.node_ttl_s, data))
        return reply

    def _name_server(self, asking: Asking) -> Reply | None:
        """`ns`, the host that the SOA names: any of the servers."""
        places = [records.node_place(node) for node in self._name_servers(asking)]
        return self._addresses(asking, places, self._choices.node_ttl_s) if places else None

    def _name_servers(self, asking: Asking) -> list[Node]:
        """Nodes of healthy servers of this cluster."""
        rows = self._told(asking, asking.state.service_nodes(SERVER_SERVICE).rows)
        return [row.node for row in rows[:NAME_SERVERS_MAX]]


def _readable(caller: Caller, node: str) -> bool:
    return caller.may.allows("node", node, Access.READ)


def _srv_host(row: ServiceEntry, target: Target) -> dns.name.Name | None:
    """The host that an SRV record names: the node, or what stands for the instance's own address."""
    address = row.service.address
    if not address:
        return _host_of(row.node, target)
    if data := records.address_data(address):
        return _hex_host(data.to_digestable(), row.service.datacenter, target)
    return records.host_name(address)


def _host_of(node: Node, target: Target) -> dns.name.Name | None:
    """`NODE.node.DC.DOMAIN`, or what stands for its address where its name is too long for DNS."""
    place = (b"node", node.datacenter.encode())
    if host := records.absolute((*node.name.encode().split(b"."), *place), target.domain):
        return host
    data = records.address_data(node.address)
    return _hex_host(data.to_digestable(), node.datacenter, target) if data else None


def _hex_host(packed: bytes, datacenter: str, target: Target) -> dns.name.Name | None:
    """`HEX.addr.DC.DOMAIN`, which says the address itself."""
    return records.absolute((packed.hex().encode(), b"addr", datacenter.encode()), target.domain)

"""Sans-IO. The answer to one question, from one state of the catalog, for one caller.

Instances that pass, and those that warn, are told of, in random order. What the caller may not read is left
out as health/service leaves it out: an instance is told to who may read its service and its node. A name
without anything left does not exist (NXDOMAIN); one that has something, but not of the type asked for, gets
an empty answer (NODATA). Either comes with the domain's SOA (RFC 2308).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import dns.name
from dns.rcode import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Rcode
from dns.rdatatype import AAAA, ANY, CNAME, NS, PTR, SOA, SRV, TXT, A, RdataType

from weft.durations import InvalidDuration, parse_duration_s

from ..acl.access import Access
from ..acl.caller import Caller
from ..catalog import nearness, queries, query_rows
from ..catalog.feature_level import SERVER_SERVICE
from ..catalog.model import PASSING, Node
from ..catalog.state import State
from . import records
from .directory import Directory
from .instances import Instance, Instances, host_of, of_entries
from .names import DOMAINS, Kind, Target, fold, hex_address, read_name, reverse_address
from .records import ASKED, Place, Record

T = TypeVar("T")
NAME_SERVERS_MAX = 3  # as Consul
TTL_MAX_S = 2**31 - 1  # RFC 2181, 8


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
    gives random numbers in [0, 1); more answers than `answers_max` would not fit."""

    state: State
    caller: Caller
    question: Question
    now_s: float
    draw: Callable[[], float]
    answers_max: int
    owner: Callable[[str], Caller | None]  # of a prepared query, by the accessor id of its token
    in_order: bool = False  # the rows have an order that is to be kept

    def some(self, rows: Iterable[T]) -> list[T]:
        """As many as may fit, in random order (the first steps of Fisher and Yates's shuffle)."""
        left = list(rows)
        count = min(self.answers_max, len(left))
        if self.in_order:
            return left[:count]
        for at in range(count):
            other = at + int(self.draw() * (len(left) - at))
            left[at], left[other] = left[other], left[at]
        return left[:count]


class Catalog:
    """Answers from the catalog of one cluster."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._directory = Directory()
        self._instances = Instances()

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
            found = Reply(NXDOMAIN)
        if not found.answer and not found.authority:
            found.authority.append(records.soa_record(target.domain, int(asking.now_s)))
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
                return self._service(asking, target, self._told(asking, name))
            case Kind.CONNECT:
                name = self._directory.connect(asking.state, target.label, asking.now_s)
                return self._service(asking, target, self._told(asking, name, in_mesh=True))
            case Kind.VIRTUAL:
                return self._virtual(asking, target)
            case Kind.QUERY:
                return self._query(asking, target)
            case Kind.NODE:
                return self._node(asking, target)
            case Kind.ADDRESS:
                return self._address(asking, target)
        return None

    # Services

    def _told(self, asking: Asking, name: str, *, in_mesh: bool = False) -> list[Instance]:
        rows = self._instances.readable(asking.state, name, asking.caller.may, in_mesh=in_mesh)
        return [row for row in rows if row.is_passing] if self._choices.only_passing else rows

    def _service(self, asking: Asking, target: Target, rows: Sequence[Instance]) -> Reply | None:
        if target.tag:
            rows = [row for row in rows if target.tag in row.tags]
        return self._instances_reply(asking, target, rows, self._choices.service_ttl_s)

    def _virtual(self, asking: Asking, target: Target) -> Reply | None:
        """The one address that stands for a service of the mesh, whatever becomes of its instances."""
        name = self._directory.addressed(asking.state, target.label, asking.now_s)
        address = asking.state.virtual_address(name)
        if not address or not asking.caller.may.allows("service", name, Access.READ):
            return None
        return self._addresses(asking, [records.place(address)], self._choices.service_ttl_s)

    def _query(self, asking: Asking, target: Target) -> Reply | None:
        """What a prepared query finds, under the rights of the token that it was given."""
        found = queries.find(asking.state, target.label.decode(errors="replace"))
        if found is None:
            return None
        caller = asking.owner(found.query.owner) if found.query.owner else asking.caller
        if caller is None:
            return None
        wish = found.document["Service"]
        may = caller.may
        entries = [
            row
            for row in query_rows.instances(asking.state, wish)
            if may.allows("node", row.node.name, Access.READ)
            and may.allows("service", row.service.name, Access.READ)
        ]
        if self._choices.only_passing:
            entries = [row for row in entries if row.status == PASSING]
        if near := wish["Near"]:
            entries = nearness.nearest_first(asking.state, entries, near, asking.draw)
            asking = asking._replace(in_order=True)
        ttl_s = _ttl_s(found.document["DNS"]["TTL"], self._choices.service_ttl_s)
        return self._instances_reply(asking, target, of_entries(entries), ttl_s)

    def _instances_reply(
        self, asking: Asking, target: Target, rows: Sequence[Instance], ttl_s: int
    ) -> Reply | None:
        if not rows:
            return None
        if asking.question.kind == SRV:
            return self._srv(asking, target, rows, ttl_s)
        return self._addresses(asking, [row.place for row in rows], ttl_s)

    def _srv(self, asking: Asking, target: Target, rows: Sequence[Instance], ttl_s: int) -> Reply:
        reply = Reply()
        domain = records.wire_of(target.domain)
        glued: set[bytes] = set()
        for row in asking.some(rows):
            if row.host is None:
                continue  # its address is no name that DNS can say
            host = row.host.under(domain)
            reply.answer.append(records.srv_record(ASKED, ttl_s, row.srv, host))
            if host not in glued and row.place.plain:
                glued.add(host)
                reply.additional.append(records.address_record(host, ttl_s, row.place.plain))
        return reply

    def _addresses(self, asking: Asking, places: Sequence[Place], ttl_s: int) -> Reply:
        """A and AAAA of these places. Where they have but names, an alias of one of them: a name has one
        alias at most, and nothing besides (RFC 1034, 3.6.2)."""
        kind = asking.question.kind
        if kind not in (A, AAAA, ANY):
            return Reply()
        found = dict.fromkeys(place.address(kind) for place in places)
        found.pop(b"", None)
        if found:
            return Reply(answer=[records.address_record(ASKED, ttl_s, it) for it in asking.some(found)])
        aliases = [place.alias for place in places if place.alias]
        if not aliases:
            return Reply()
        alias = asking.some(aliases)[0]
        name, _ = dns.name.from_wire(alias, 0)
        return Reply(answer=[records.name_record(ASKED, CNAME, ttl_s, alias)], alias=name)

    # Nodes and addresses

    def _node(self, asking: Asking, target: Target) -> Reply | None:
        node = self._directory.node(asking.state, target.label, asking.now_s)
        if node is None or not _readable(asking.caller, node.name):
            return None
        kind, ttl_s = asking.question.kind, self._choices.node_ttl_s
        reply = self._addresses(asking, [records.node_place(node)], ttl_s)
        if kind in (TXT, ANY) and not reply.alias:
            reply.answer += records.meta_records(ttl_s, node.meta)
        elif kind in (A, AAAA):
            reply.additional += records.meta_records(ttl_s, node.meta)
        return reply

    def _address(self, asking: Asking, target: Target) -> Reply | None:
        text = hex_address(target.label)
        return self._addresses(asking, [records.place(text)], self._choices.node_ttl_s) if text else None

    def _reverse(self, asking: Asking) -> Reply:
        """Names of the nodes at an address, else of the services."""
        cluster, address = asking.state.cluster, reverse_address(asking.question.name)
        if cluster is None or not address:
            return Reply(is_ours=False)  # a part of an address: names end in it
        place = cluster.datacenter.encode()
        names = [(*name.encode().split(b"."), b"node") for name in self._nodes_at(asking, address)]
        if not names:
            names = [(name.encode(), b"service") for name in self._services_at(asking, address)]
        if not names:
            return Reply(NXDOMAIN, is_ours=False)
        hosts = (
            records.absolute((*labels, place), records.wire_of(DOMAINS[0])) for labels in asking.some(names)
        )
        if asking.question.kind not in (PTR, ANY):
            return Reply()
        ttl_s = self._choices.node_ttl_s
        return Reply(answer=[records.name_record(ASKED, PTR, ttl_s, host) for host in hosts if host])

    def _nodes_at(self, asking: Asking, address: str) -> list[str]:
        found = self._directory.nodes_at(asking.state, address, asking.now_s)
        return [name for name in found if _readable(asking.caller, name)]

    def _services_at(self, asking: Asking, address: str) -> list[str]:
        found = self._directory.services_at(asking.state, address, asking.now_s)
        return [
            name
            for name, on in found.items()
            if asking.caller.may.allows("service", name, Access.READ)
            and any(_readable(asking.caller, node) for node in on)
        ]

    # The domain itself

    def _apex(self, asking: Asking, target: Target) -> Reply:
        reply, kind = Reply(), asking.question.kind
        if kind in (SOA, ANY):
            reply.answer.append(records.soa_record(target.domain, int(asking.now_s), ASKED))
        if kind in (SOA, NS, ANY):
            section = reply.authority if kind == SOA else reply.answer
            self._add_name_servers(asking, target, section, reply.additional)
        return reply

    def _add_name_servers(
        self, asking: Asking, target: Target, section: list[Record], additional: list[Record]
    ) -> None:
        domain, ttl_s = records.wire_of(target.domain), self._choices.node_ttl_s
        for node in self._name_servers(asking):
            if host := host_of(node):
                name, address = host.under(domain), records.packed(node.address)
                section.append(records.name_record(ASKED, NS, ttl_s, name))
                if address:
                    additional.append(records.address_record(name, ttl_s, address))

    def _name_server(self, asking: Asking) -> Reply | None:
        """`ns`, the host that the SOA names: any of the servers."""
        places = [records.node_place(node) for node in self._name_servers(asking)]
        return self._addresses(asking, places, self._choices.node_ttl_s) if places else None

    def _name_servers(self, asking: Asking) -> list[Node]:
        """Nodes of healthy servers of this cluster."""
        rows = asking.some(self._told(asking, SERVER_SERVICE))[:NAME_SERVERS_MAX]
        return [node for row in rows if (node := asking.state.nodes.get((row.node,)))]


def _ttl_s(text: str, otherwise_s: int) -> int:
    """Of a prepared query; what does not read as a duration is as if it were not there."""
    try:
        return int(min(max(parse_duration_s(text), 0), TTL_MAX_S)) if text else otherwise_s
    except InvalidDuration:
        return otherwise_s


def _readable(caller: Caller, node: str) -> bool:
    return caller.may.allows("node", node, Access.READ)

"""The matrix of DNS: every kind of name, every type of record, every kind of caller.

Made from the enumerations, so that a new kind of name without a rule fails. What a caller may not read is
answered byte for byte as if it were not there.
"""

import dns.message
import dns.rcode
import pytest
from dns.rdatatype import RdataType

from registry.acl.authorizer import Authorizer
from registry.acl.caller import EVERYBODY, Caller
from registry.acl.rules import parse_rules
from registry.catalog import addresses, commands
from registry.catalog.state import State
from registry.dns.answer import Choices
from registry.dns.desk import Denial, Desk
from registry.dns.message import Transport
from registry.dns.names import Kind
from registry.identity.errors import TokenUnknown
from tests.support.catalog import CLUSTER, World, proxy, service, stamp
from tests.support.dns import nobody, prepared

NAMES: dict[Kind, tuple[str, ...]] = {
    Kind.APEX: ("consul", "weft"),
    Kind.EMPTY: ("service.consul", "node.dc1.consul"),
    Kind.NAME_SERVER: ("ns.consul",),
    Kind.SERVICE: ("web.service.consul", "v1.web.service.dc1.consul", "_web._tcp.service.consul"),
    Kind.CONNECT: ("web.connect.consul",),
    Kind.QUERY: ("q.query.consul",),
    Kind.NODE: ("n1.node.consul",),
    Kind.ADDRESS: ("0a010002.addr.dc1.consul",),
    Kind.REVERSE: ("1.0.0.10.in-addr.arpa", "2.0.1.10.in-addr.arpa"),
    Kind.VIRTUAL: ("web.virtual.consul", "web.virtual.dc1.dc.weft"),
    Kind.NOTHING: ("web.ingress.consul", "web.nothing.consul"),
    Kind.FOREIGN: ("example.org",),
}
TELLS = set(Kind) - {Kind.EMPTY, Kind.ADDRESS, Kind.NOTHING, Kind.FOREIGN}
"""Kinds whose answers hold something of the catalog."""

NOW_S = 1e6
DENY = """
service_prefix "" { policy = "deny" }
node_prefix "" { policy = "deny" }
"""
READ = """
service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
"""


def caller(rules: str) -> Caller:
    return Caller(Authorizer([parse_rules(rules)], default_allow=False), "accessor")


DENIED = {
    "no token": caller(""),
    "deny": caller(DENY),
    "of another service": caller('service "db" { policy = "write" }'),
    "of no node": caller('service_prefix "" { policy = "read" }'),
    "write of something else": caller('key_prefix "" { policy = "write" } operator = "write" acl = "write"'),
}
ALLOWED = {
    "read": caller(READ),
    "write": caller(READ.replace("read", "write")),
    "management": EVERYBODY,
}


def filled() -> State:
    world = World.set_up()
    world.register(service("web-1", "web", tags=("v1",)), service("web-2", "web", address="10.1.0.2"))
    world.register(proxy("web-1", "web"), service("consul", "consul"))
    world.do(prepared("q", {"Service": "web"}))
    world.do(addresses.give_addresses(stamp()))
    return world.state


def empty() -> State:
    """A cluster with a name, and nothing in it."""
    world = World()
    world.do(commands.init_cluster(stamp(), CLUSTER))
    return world.state


FULL, EMPTY = filled(), empty()


def ask(state: State, who: Caller | None, name: str, kind: RdataType) -> bytes | Denial:
    def found(_: State) -> Caller:
        if who is None:
            raise TokenUnknown("ACL not found")
        return who

    desk = Desk(Choices(), lambda: state, found, nobody, lambda: NOW_S, lambda: 0.0, recursion=False)
    answer = desk.take(dns.message.make_query(name, kind, id=1).to_wire(), Transport.TCP)
    assert isinstance(answer, bytes | Denial)
    return answer


CASES = [(kind, name, asked) for kind in Kind for name in NAMES.get(kind, ()) for asked in RdataType]


def test_every_kind_of_name_has_its_row() -> None:
    assert set(NAMES) == set(Kind)


def test_trap_01_who_may_not_read_is_told_what_an_empty_catalog_tells() -> None:
    for kind, name, asked in CASES:
        nothing = ask(EMPTY, EVERYBODY, name, asked)
        for who, may in DENIED.items():
            if (kind, who) == (Kind.VIRTUAL, "of no node"):
                continue  # the address is the service's, and of no node
            assert ask(FULL, may, name, asked) == nothing, f"{kind.name} {name} {asked.name}: {who}"


def test_who_may_read_is_told_what_everybody_is_told_without_a_list() -> None:
    for kind, name, asked in CASES:
        everything = ask(FULL, EVERYBODY, name, asked)
        for who, may in ALLOWED.items():
            assert ask(FULL, may, name, asked) == everything, f"{kind.name} {name} {asked.name}: {who}"


@pytest.mark.parametrize("kind", Kind, ids=lambda it: it.name)
def test_the_kinds_that_tell_of_the_catalog_are_known(kind: Kind) -> None:
    """Or the two tests above would hold for a name that nothing is said of."""
    tells = any(
        ask(FULL, EVERYBODY, name, asked) != ask(EMPTY, EVERYBODY, name, asked)
        for name in NAMES[kind]
        for asked in RdataType
    )
    assert tells == (kind in TELLS)


def test_a_token_that_is_unknown_or_has_ended_is_refused_whatever_it_asks() -> None:
    for kind, name, asked in CASES:
        found = ask(FULL, None, name, asked)
        if isinstance(found, bytes):  # no question at all: not one of its kind is asked of the catalog
            assert dns.message.from_wire(found).rcode() != dns.rcode.NOERROR, (kind, name, asked)
            continue
        assert dns.message.from_wire(found.answer).rcode() == dns.rcode.REFUSED
        assert (found.question.name.to_text(True), found.reason) == (name, "ACL not found")

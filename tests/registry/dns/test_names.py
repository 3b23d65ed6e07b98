"""What each form of a name asks for."""

import dns.name
import dns.reversename
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.dns.names import Kind, Target, hex_address, read_name, reverse_address

CASES = {
    "consul.": (Kind.APEX,),
    "weft.": (Kind.APEX,),
    "ns.consul.": (Kind.NAME_SERVER,),
    "web.service.consul.": (Kind.SERVICE, b"web"),
    "WEB.Service.CONSUL.": (Kind.SERVICE, b"web"),
    "web.service.weft.": (Kind.SERVICE, b"web"),
    "v1.web.service.consul.": (Kind.SERVICE, b"web", b"v1"),
    "v1.2.web.service.consul.": (Kind.SERVICE, b"web", b"v1.2"),
    "web.service.dc1.consul.": (Kind.SERVICE, b"web", b"", b"dc1"),
    "web.service.dc1.dc.consul.": (Kind.SERVICE, b"web", b"", b"dc1"),
    "web.service.default.ns.default.ap.dc1.dc.consul.": (Kind.SERVICE, b"web", b"", b"dc1"),
    "service.service.consul.": (Kind.SERVICE, b"service"),
    "_web._tcp.service.consul.": (Kind.SERVICE, b"web"),
    "_web._v1.service.consul.": (Kind.SERVICE, b"web", b"v1"),
    "_web._v1.consul.": (Kind.SERVICE, b"web", b"v1"),
    "_web._tcp.dc1.consul.": (Kind.SERVICE, b"web", b"", b"dc1"),
    "web.connect.consul.": (Kind.CONNECT, b"web"),
    "n1.node.consul.": (Kind.NODE, b"n1"),
    "a.b.node.dc1.consul.": (Kind.NODE, b"a.b", b"", b"dc1"),
    "0a000001.addr.dc1.consul.": (Kind.ADDRESS, b"0a000001", b"", b"dc1"),
    "service.consul.": (Kind.EMPTY,),
    "service.dc1.consul.": (Kind.EMPTY, b"", b"", b"dc1"),
    "dc1.consul.": (Kind.EMPTY, b"", b"", b"dc1"),
    "dc.consul.": (Kind.EMPTY,),
    "web.service.other.peer.consul.": (Kind.NOTHING,),
    "web.service.team.ns.consul.": (Kind.NOTHING,),
    "web.service.dc1.dc.dc2.dc.consul.": (Kind.NOTHING,),
    "web.service.a.b.c.consul.": (Kind.NOTHING,),
    "x.web.connect.consul.": (Kind.NOTHING,),
    "web.virtual.consul.": (Kind.VIRTUAL, b"web"),
    "web.virtual.dc1.dc.consul.": (Kind.VIRTUAL, b"web", b"", b"dc1"),
    "http.web.virtual.consul.": (Kind.NOTHING,),
    "near.query.consul.": (Kind.QUERY, b"near"),
    "a.b.query.dc1.consul.": (Kind.QUERY, b"a.b", b"", b"dc1"),
    "query.consul.": (Kind.EMPTY,),
    "web.ingress.consul.": (Kind.NOTHING,),
    "a.b.consul.": (Kind.NOTHING,),
    "example.com.": (Kind.FOREIGN,),
    "notconsul.": (Kind.FOREIGN,),
    ".": (Kind.FOREIGN,),
    "1.0.0.10.in-addr.arpa.": (Kind.REVERSE,),
    "in-addr.arpa.": (Kind.FOREIGN,),
}


@pytest.mark.parametrize("name", CASES)
def test_names_are_read(name: str) -> None:
    found = read_name(dns.name.from_text(name))
    kind, *rest = CASES[name]
    assert (found.kind, found.label, found.tag, found.datacenter) == (kind, *rest, b"", b"", b"")[:4]


_labels = st.lists(st.binary(min_size=1, max_size=12), max_size=12)
_words = st.lists(
    st.sampled_from([b"web", b"service", b"node", b"connect", b"addr", b"dc", b"ns", b"_a", b"_tcp", b"x"]),
    max_size=10,
)


@given(st.one_of(_labels, _words), st.sampled_from([b"consul", b"weft", b"com"]))
def test_any_name_is_read(labels: list[bytes], domain: bytes) -> None:
    found = read_name(dns.name.Name((*labels, domain, b"")))
    assert isinstance(found, Target)
    assert (found.kind is Kind.FOREIGN) == (domain == b"com")


@given(st.ip_addresses().filter(lambda it: it.version == 4 or not it.ipv4_mapped))
def test_addresses_survive_both_ways_of_writing_them(address: object) -> None:
    text = str(address)
    assert reverse_address(dns.reversename.from_address(text)) == text
    assert hex_address(address.packed.hex().encode()) == text  # type: ignore[attr-defined]


@pytest.mark.parametrize("label", [b"", b"0a00000", b"0a00000g", b"0a0000011", b"\xff" * 8, b" 0a00001"])
def test_what_is_no_hexadecimal_address_is_none(label: bytes) -> None:
    assert hex_address(label) == ""

"""Sans-IO. What a name asks for.

    [tag.]NAME.service[.DC].DOMAIN      _NAME._TAG[.service][.DC].DOMAIN  (RFC 2782; the tag "tcp" is no tag)
    NAME.connect[.DC].DOMAIN            NAME.query[.DC].DOMAIN
    NAME.virtual[.DC].DOMAIN            HEX.addr[.DC].DOMAIN
    NAME.node[.DC].DOMAIN

DC is a datacenter, or pairs such as `dc1.dc` and `default.ns`. Letters of either case are one (RFC 4343).
"""

import ipaddress
from dataclasses import dataclass
from enum import Enum, auto

import dns.exception
import dns.name
import dns.reversename

DOMAINS = (dns.name.from_text("consul."), dns.name.from_text("weft."))
DEFAULT = b"default"  # the only namespace, and the only partition
NAME_SERVER = b"ns"
_REVERSE = (dns.reversename.ipv4_reverse_domain, dns.reversename.ipv6_reverse_domain)


class Kind(Enum):
    """What kind of thing a name asks for."""

    APEX = auto()  # the domain itself
    EMPTY = auto()  # nothing by itself, but names end in it: `service.consul`
    NAME_SERVER = auto()
    SERVICE = auto()
    CONNECT = auto()
    VIRTUAL = auto()
    QUERY = auto()
    NODE = auto()
    ADDRESS = auto()
    REVERSE = auto()
    NOTHING = auto()  # no such name can be
    FOREIGN = auto()  # in no domain of ours


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for; `label` and `tag` are folded (`fold`). Answers speak of `domain`."""

    kind: Kind
    domain: dns.name.Name = DOMAINS[0]
    label: bytes = b""
    tag: bytes = b""
    datacenter: bytes = b""  # b"" is this one


_KINDS = {
    b"service": Kind.SERVICE,
    b"connect": Kind.CONNECT,
    b"node": Kind.NODE,
    b"addr": Kind.ADDRESS,
    b"query": Kind.QUERY,
    b"virtual": Kind.VIRTUAL,
    b"ingress": Kind.NOTHING,  # there are no ingress gateways
}


def fold(name: str) -> bytes:
    """A name of the catalog as DNS compares it: of letters, only ASCII's have a case (RFC 4343)."""
    return name.encode().lower()


def read_name(name: dns.name.Name) -> Target:
    """What an absolute name asks for."""
    if any(name.is_subdomain(zone) and name != zone for zone in _REVERSE):
        return Target(Kind.REVERSE)
    for domain in DOMAINS:
        if name.is_subdomain(domain):
            labels = [label.lower() for label in name.relativize(domain).labels]
            return _read(labels, domain)
    return Target(Kind.FOREIGN)


def reverse_address(name: dns.name.Name) -> str:
    """The address that a reverse name is of; "" where it is none, or only a part of one."""
    try:
        return str(ipaddress.ip_address(dns.reversename.to_address(name)))
    except (dns.exception.DNSException, ValueError):
        return ""


def hex_address(label: bytes) -> str:
    """The address that eight or 32 hexadecimal digits say; "" for anything else."""
    if len(label) not in (8, 32) or label.strip(b"0123456789abcdef"):
        return ""
    return str(ipaddress.ip_address(bytes.fromhex(label.decode())))


def _read(labels: list[bytes], domain: dns.name.Name) -> Target:
    if not labels:
        return Target(Kind.APEX, domain)
    for at in reversed(range(len(labels))):
        if labels[at] in _KINDS:
            return _of_kind(_KINDS[labels[at]], labels[:at], labels[at + 1 :], domain)
        if at and labels[at].startswith(b"_"):  # the label "service" may be left out (RFC 2782)
            return _of_kind(Kind.SERVICE, labels[: at + 1], labels[at + 1 :], domain)
    if labels == [NAME_SERVER]:
        return Target(Kind.NAME_SERVER, domain)
    if labels == [b"dc"]:
        return Target(Kind.EMPTY, domain)
    return _suffix(labels, Kind.EMPTY, domain)


def _of_kind(kind: Kind, asked: list[bytes], rest: list[bytes], domain: dns.name.Name) -> Target:
    place = _suffix(rest, kind, domain)
    if place.kind is Kind.NOTHING:
        return place
    if not asked:
        return Target(Kind.EMPTY, domain, datacenter=place.datacenter)
    if kind in (Kind.NODE, Kind.QUERY):
        return Target(kind, domain, b".".join(asked), b"", place.datacenter)
    if kind is Kind.SERVICE and len(asked) == 2 and all(label.startswith(b"_") for label in asked):
        tag = asked[1][1:]
        return Target(kind, domain, asked[0][1:], b"" if tag == b"tcp" else tag, place.datacenter)
    if kind is not Kind.SERVICE and len(asked) > 1:
        return Target(Kind.NOTHING, domain)
    return Target(kind, domain, asked[-1], b".".join(asked[:-1]), place.datacenter)


def _suffix(labels: list[bytes], kind: Kind, domain: dns.name.Name) -> Target:
    """Where the thing is: `[datacenter]`, or pairs of a value and what it is."""
    if len(labels) == 1:
        return Target(kind, domain, datacenter=labels[0])
    said = dict(zip(labels[1::2], labels[::2], strict=False))
    known = said.keys() <= {b"dc", b"ns", b"ap"} and all(
        said.get(part, DEFAULT) == DEFAULT for part in (b"ns", b"ap")
    )
    if len(labels) % 2 or len(said) * 2 != len(labels) or not known:
        return Target(Kind.NOTHING, domain)
    return Target(kind, domain, datacenter=said.get(b"dc", b""))

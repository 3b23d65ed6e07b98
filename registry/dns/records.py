"""Sans-IO. Resource records out of rows of the catalog."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import dns.exception
import dns.name
from dns.rdata import Rdata
from dns.rdataclass import IN
from dns.rdatatype import AAAA, ANY, CNAME, NS, PTR, SOA, SRV, TXT, A, RdataType
from dns.rdtypes.ANY.CNAME import CNAME as CnameData
from dns.rdtypes.ANY.NS import NS as NsData
from dns.rdtypes.ANY.PTR import PTR as PtrData
from dns.rdtypes.ANY.SOA import SOA as SoaData
from dns.rdtypes.ANY.TXT import TXT as TxtData
from dns.rdtypes.IN.A import A as AData
from dns.rdtypes.IN.AAAA import AAAA as AaaaData
from dns.rdtypes.IN.SRV import SRV as SrvData

from ..catalog.model import PASSING, Node, ServiceEntry
from .limits import TXT_BYTES_MAX

IPV4, IPV6 = "lan_ipv4", "lan_ipv6"  # tagged addresses by which one row has an address of either kind
SRV_PRIORITY = 1
SOA_REFRESH_S, SOA_RETRY_S, SOA_EXPIRE_S, SOA_MINIMUM_S = 3600, 600, 86400, 0  # Consul's

# The library leaves these constructors untyped.
_a: Callable[..., Rdata] = AData
_aaaa: Callable[..., Rdata] = AaaaData
_cname: Callable[..., Rdata] = CnameData
_ns: Callable[..., Rdata] = NsData
_ptr: Callable[..., Rdata] = PtrData
_soa: Callable[..., Rdata] = SoaData
_srv: Callable[..., Rdata] = SrvData
_txt: Callable[..., Rdata] = TxtData


class Record(NamedTuple):
    """One resource record of class IN."""

    name: dns.name.Name
    ttl_s: int
    data: Rdata


class Place(NamedTuple):
    """Where something is: an address, or a DNS name that has one; and what of it is of which kind."""

    address: str
    v4: str = ""
    v6: str = ""

    def for_type(self, kind: RdataType) -> str:
        """What to answer a question for `kind` with."""
        tagged = {A: self.v4, AAAA: self.v6}.get(kind, "")
        return tagged or self.address


def place_of(row: ServiceEntry) -> Place:
    """The instance's own address, else its node's."""
    service = row.service
    if not service.address:
        return node_place(row.node)
    tagged = service.tagged_addresses
    v4, v6 = (tagged[kind].address if kind in tagged else "" for kind in (IPV4, IPV6))
    return Place(service.address, v4, v6)


def node_place(node: Node) -> Place:
    return Place(node.address, node.tagged_addresses.get(IPV4, ""), node.tagged_addresses.get(IPV6, ""))


def address_data(address: str) -> Rdata | None:
    """A or AAAA; None for what is no address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if ip.version == 4:
        return _a(IN, A, str(ip))
    return _aaaa(IN, AAAA, str(ipaddress.IPv6Address(ip.packed)))  # without a scope


def host_name(address: str) -> dns.name.Name | None:
    """The DNS name that an address field holds; None where it is an address, or nothing."""
    if not address or address_data(address):
        return None
    return absolute(address.rstrip(".").encode().split(b"."))


def absolute(labels: Iterable[bytes], under: dns.name.Name = dns.name.root) -> dns.name.Name | None:
    """A name of these labels; None where DNS has none such (63 bytes a label, 255 in all)."""
    try:
        return dns.name.Name((*labels, *under.labels))
    except dns.exception.DNSException:
        return None


def srv_data(row: ServiceEntry, target: dns.name.Name) -> Rdata:
    service = row.service
    weight = service.weight_passing if row.status == PASSING else service.weight_warning
    return _srv(IN, SRV, SRV_PRIORITY, weight, service.port, target)


def cname_data(target: dns.name.Name) -> Rdata:
    return _cname(IN, CNAME, target)


def ptr_data(target: dns.name.Name) -> Rdata:
    return _ptr(IN, PTR, target)


def ns_data(target: dns.name.Name) -> Rdata:
    return _ns(IN, NS, target)


def soa(domain: dns.name.Name, now_s: int) -> Record:
    """The domain's start of authority. Its minimum, and so how long a no is kept, is 0: a service may appear
    at any moment."""
    name_server, mailbox = (dns.name.Name((label, *domain.labels)) for label in (b"ns", b"hostmaster"))
    serial = now_s & 0xFFFFFFFF
    times = (SOA_REFRESH_S, SOA_RETRY_S, SOA_EXPIRE_S, SOA_MINIMUM_S)
    return Record(domain, SOA_MINIMUM_S, _soa(IN, SOA, name_server, mailbox, serial, *times))


def meta_data(meta: Mapping[str, str]) -> list[Rdata]:
    """One TXT per pair: `key=value` (RFC 1464); of a key that begins with `rfc1035-` the value only."""
    texts = (value if key.startswith("rfc1035-") else f"{key}={value}" for key, value in sorted(meta.items()))
    return [_txt(IN, TXT, _strings(text.encode())) for text in texts]


def _strings(text: bytes) -> list[bytes]:
    return [text[at : at + TXT_BYTES_MAX] for at in range(0, len(text), TXT_BYTES_MAX)] or [b""]


def matches(data: Rdata, kind: RdataType) -> bool:
    """Whether a record answers a question for `kind`."""
    return kind == ANY or data.rdtype == kind

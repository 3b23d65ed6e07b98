"""Sans-IO. Resource records in wire form (RFC 1035, 3.2.1): what they are about, and their data.

They are packed here and not by the library, which makes an object of each name and address: for a service of
1,000 instances that took 39 ms of the event loop (SRV 129 ms), and this takes 4 ms (3 ms).
"""

import ipaddress
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import dns.name
from dns.rdatatype import AAAA, ANY, CNAME, NS, PTR, SOA, SRV, TXT, A, RdataType

from ..catalog.model import Node
from .limits import TXT_BYTES_MAX

IPV4, IPV6 = "lan_ipv4", "lan_ipv6"  # tagged addresses by which one row has an address of either kind
SRV_PRIORITY = 1
SRV_HEAD = struct.Struct("!HHH")  # priority, weight, port; the target follows (RFC 2782)
SOA_TIMES = struct.Struct("!IIIII")  # serial, refresh, retry, expire, minimum (RFC 1035, 3.3.13)
SOA_REFRESH_S, SOA_RETRY_S, SOA_EXPIRE_S, SOA_MINIMUM_S = 3600, 600, 86400, 0  # Consul's
ROOT = b"\0"
NAME_BYTES_MAX = 255
LABEL_BYTES_MAX = 63
ASKED = b""  # as the name of a record: the one that was asked for
_BYTES = {A: 4, AAAA: 16}


class Record(NamedTuple):
    """One resource record of class IN; `name` and names in `data` are in wire form, whole."""

    name: bytes
    kind: int
    ttl_s: int
    data: bytes


class Place(NamedTuple):
    """Where something is: packed addresses, or b""; or else the DNS name of a host that has one."""

    plain: bytes
    v4: bytes = b""
    v6: bytes = b""
    alias: bytes = b""

    def address(self, kind: RdataType) -> bytes:
        """What answers a question for `kind`; b"" where nothing does."""
        tagged = {A: self.v4, AAAA: self.v6}.get(kind, b"")
        found = tagged or self.plain
        return found if kind == ANY or len(found) == _BYTES.get(kind) else b""


def place(address: str, tagged: Mapping[str, str] | None = None) -> Place:
    """Of a row's address and its tagged addresses."""
    v4, v6 = ((tagged or {}).get(kind, "") for kind in (IPV4, IPV6))
    plain = packed(address)
    alias = absolute(address.rstrip(".").encode().split(b".")) if address and not plain else None
    return Place(plain, packed(v4), packed(v6), alias or b"")


def node_place(node: Node) -> Place:
    return place(node.address, node.tagged_addresses)


def packed(address: str) -> bytes:
    """Four or 16 bytes; b"" for what is no address."""
    try:
        return ipaddress.ip_address(address).packed if address else b""
    except ValueError:
        return b""


def wire_of(name: dns.name.Name) -> bytes:
    """An absolute name in wire form, its letters as they are."""
    return b"".join(bytes((len(label),)) + label for label in name.labels)


def absolute(labels: Iterable[bytes], under: bytes = ROOT) -> bytes | None:
    """A name of these labels; None where DNS has none such (RFC 1035, 2.3.4)."""
    whole = bytearray()
    for label in labels:
        if not 0 < len(label) <= LABEL_BYTES_MAX:
            return None
        whole.append(len(label))
        whole += label
    whole += under
    return bytes(whole) if len(whole) <= NAME_BYTES_MAX else None


def address_record(name: bytes, ttl_s: int, address: bytes) -> Record:
    """A or AAAA, by the length of the packed address."""
    return Record(name, A if len(address) == _BYTES[A] else AAAA, ttl_s, address)


def name_record(name: bytes, kind: RdataType, ttl_s: int, target: bytes) -> Record:
    """CNAME, NS or PTR."""
    assert kind in (CNAME, NS, PTR)
    return Record(name, kind, ttl_s, target)


def srv_record(name: bytes, ttl_s: int, head: bytes, target: bytes) -> Record:
    return Record(name, SRV, ttl_s, head + target)


def soa_record(domain: dns.name.Name, now_s: int, name: bytes | None = None) -> Record:
    """The domain's start of authority. Its minimum, and so how long a no is kept, is 0: a service may appear
    at any moment."""
    zone = wire_of(domain)
    serial = now_s & 0xFFFFFFFF
    times = SOA_TIMES.pack(serial, SOA_REFRESH_S, SOA_RETRY_S, SOA_EXPIRE_S, SOA_MINIMUM_S)
    data = b"\x02ns" + zone + b"\x0ahostmaster" + zone + times
    return Record(zone if name is None else name, SOA, SOA_MINIMUM_S, data)


def meta_records(ttl_s: int, meta: Mapping[str, str]) -> list[Record]:
    """One TXT per pair: `key=value` (RFC 1464); of a key that begins with `rfc1035-` the value only."""
    texts = (value if key.startswith("rfc1035-") else f"{key}={value}" for key, value in sorted(meta.items()))
    return [Record(ASKED, TXT, ttl_s, _strings(text.encode())) for text in texts]


def _strings(text: bytes) -> bytes:
    parts = [text[at : at + TXT_BYTES_MAX] for at in range(0, len(text), TXT_BYTES_MAX)] or [b""]
    return b"".join(bytes((len(part),)) + part for part in parts)

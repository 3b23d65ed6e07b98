"""Sans-IO. Bytes to a query, a reply to bytes: as many records as the transport and the client take.

RFC 1035 and RFC 6891. What cannot be read is answered FORMERR by its header alone, or not at all where it is
no query: two servers that answered each other's answers would never stop.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
from dns.rcode import BADVERS, FORMERR, NOTIMP, REFUSED, Rcode
from dns.rdatatype import AAAA, ANY, AXFR, IXFR, OPT, TSIG, A

from .answer import Question, Reply
from .limits import QUESTION_BYTES_MAX, TCP_BYTES_MAX, UDP_BYTES_MAX, UDP_BYTES_PLAIN, UDP_BYTES_TOLD
from .records import Record

HEADER = struct.Struct("!HHHHHH")  # id, flags, and how many records each section has
RECORD_BYTES = 10  # type, class, TTL and length, besides name and data
POINTER_BYTES = 2  # a name that the message has already
OPT_BYTES = 11
UDP_PLAIN_ANSWERS = 3
"""Addresses told over UDP to who has no EDNS: a random choice, no truncation (Consul's udp_answer_limit)."""


class Transport(Enum):
    UDP = auto()
    TCP = auto()


class Edns(NamedTuple):
    """What the client said by EDNS: the bytes that it takes over UDP, and whether it wants DNSSEC."""

    payload: int
    wants_dnssec: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A question that can be answered."""

    id: int
    question: Question
    transport: Transport
    wants_recursion: bool
    edns: Edns | None
    rdclass: dns.rdataclass.RdataClass = dns.rdataclass.IN

    @property
    def bytes_max(self) -> int:
        """Of the answer."""
        if self.transport is Transport.TCP:
            return TCP_BYTES_MAX
        told = self.edns.payload if self.edns else 0
        return min(max(told, UDP_BYTES_PLAIN), UDP_BYTES_MAX)


def read(wire: bytes, transport: Transport) -> Query | bytes | None:
    """A query; or the answer to what is none that can be answered; or None, which gets no answer."""
    if len(wire) < HEADER.size:
        return None
    number, flags, questions, _, _, _ = HEADER.unpack_from(wire)
    if flags & dns.flags.QR:
        return None
    if (flags >> 11) & 0xF:
        return bare(number, flags, NOTIMP)
    if questions != 1 or len(wire) > QUESTION_BYTES_MAX:
        return bare(number, flags, FORMERR)
    try:
        message = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError, struct.error):
        return bare(number, flags, FORMERR)
    return _checked(message, transport)


def _checked(message: dns.message.Message, transport: Transport) -> Query | bytes:
    (asked,) = message.question
    edns = None
    if message.edns >= 0:
        edns = Edns(message.payload, bool(message.ednsflags & dns.flags.DO))
    query = Query(
        message.id,
        Question(asked.name, asked.rdtype),
        transport,
        bool(message.flags & dns.flags.RD),
        edns,
        asked.rdclass,
    )
    if message.edns > 0:
        return write(query, Reply(BADVERS, is_ours=False), recursion=False)
    if asked.rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY):
        return write(query, Reply(REFUSED, is_ours=False), recursion=False)
    if asked.rdtype in (AXFR, IXFR):
        return write(query, Reply(NOTIMP, is_ours=False), recursion=False)
    if asked.rdtype in (OPT, TSIG):
        return write(query, Reply(FORMERR, is_ours=False), recursion=False)
    return query


def bare(number: int, flags: int, rcode: Rcode) -> bytes:
    """A header that answers with a code and nothing else."""
    kept = flags & (0xF << 11 | dns.flags.RD)
    return HEADER.pack(number, dns.flags.QR | kept | rcode, 0, 0, 0, 0)


def write(query: Query, reply: Reply, *, recursion: bool) -> bytes:
    """The answer in bytes. `recursion` says whether recursors are asked here."""
    fitting, is_cut = _fit(query, reply)
    message = dns.message.QueryMessage(query.id)
    message.flags = dns.flags.Flag(dns.flags.QR)
    for flag, is_set in (
        (dns.flags.AA, reply.is_ours),
        (dns.flags.TC, is_cut),
        (dns.flags.RD, query.wants_recursion),
        (dns.flags.RA, recursion),
    ):
        if is_set:
            message.flags |= flag
    if query.edns:
        message.use_edns(0, dns.flags.DO if query.edns.wants_dnssec else 0, UDP_BYTES_TOLD)
    message.set_rcode(reply.rcode)
    name, kind = query.question
    message.find_rrset(message.question, name, query.rdclass, kind, create=True, force_unique=True)
    sections = (message.answer, message.authority, message.additional)
    for section, some in zip(sections, fitting, strict=True):
        for record in some:
            data = record.data
            rrset = message.find_rrset(section, record.name, data.rdclass, data.rdtype, create=True)
            rrset.add(data, record.ttl_s)
    return message.to_wire(max_size=TCP_BYTES_MAX, want_shuffle=False)  # the order is drawn already


def _fit(query: Query, reply: Reply) -> tuple[tuple[list[Record], ...], bool]:
    """The three sections as far as they have room, and whether answers are missing (RFC 2181, 9: what is left
    out of the additional section is no truncation)."""
    name, _ = query.question
    room = query.bytes_max - HEADER.size - _length(name) - 4 - (OPT_BYTES if query.edns else 0)
    wanted = _sampled(query, reply)
    answer, room = _within(wanted, room, name)
    is_cut = len(answer) < len(wanted)
    authority, room = _within(reply.authority, room, name)
    additional, _ = _within(reply.additional, room, name)
    return (answer, authority, additional if not is_cut else []), is_cut


def _sampled(query: Query, reply: Reply) -> list[Record]:
    plain = query.transport is Transport.UDP and query.edns is None and reply.is_ours
    if plain and query.question.kind in (A, AAAA, ANY):
        return reply.answer[:UDP_PLAIN_ANSWERS]
    return reply.answer


def _within(wanted: list[Record], room: int, asked: dns.name.Name) -> tuple[list[Record], int]:
    """The first records that fit, and what room they leave."""
    ends = list(accumulate(_sizes(wanted, asked)))
    count = sum(end <= room for end in ends)
    return wanted[:count], room - (ends[count - 1] if count else 0)


def _sizes(wanted: Iterable[Record], asked: dns.name.Name) -> Iterable[int]:
    """Bytes of each record at most; names within data are taken as if they were written whole."""
    for record in wanted:
        name = POINTER_BYTES if record.name == asked else _length(record.name)
        yield name + RECORD_BYTES + len(record.data.to_digestable())


def _length(name: dns.name.Name) -> int:
    return sum(len(label) + 1 for label in name.labels)

"""Sans-IO. Bytes to a query, a reply to bytes: as many records as the transport and the client take.

RFC 1035 and RFC 6891. The library reads what others wrote; records of ours are in wire form already. What
cannot be read is answered FORMERR by its header alone, or not at all where it is no query: two servers that
answered each other's answers would never stop.
"""

import struct
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.rdataclass
from dns.rcode import BADVERS, FORMERR, NOTIMP, REFUSED, Rcode
from dns.rdatatype import AAAA, ANY, AXFR, IXFR, NS, OPT, SRV, TSIG, A

from .answer import Question, Reply
from .limits import (
    ANSWERS_MAX,
    QUESTION_BYTES_MAX,
    TCP_BYTES_MAX,
    UDP_BYTES_MAX,
    UDP_BYTES_PLAIN,
    UDP_BYTES_TOLD,
)
from .records import ASKED, ROOT, SRV_HEAD, Record, wire_of

HEADER = struct.Struct("!HHHHHH")  # id, flags, and how many records each section has
QUESTION = struct.Struct("!HH")  # type, class
RECORD = struct.Struct("!HHIH")  # type, class, TTL, and the length of the data
OPT_BYTES = 1 + RECORD.size
POINTER_MAX = 0x3F00  # less than 14 bits hold, by more than where in the data a name may begin
ADDRESS_BYTES = 16  # an A record with a pointer for its name, the shortest there is
_TARGET_AT: dict[int, int] = {SRV: SRV_HEAD.size, NS: 0}  # where in the data the name is that glue is about
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

    @property
    def answers_max(self) -> int:
        """More records than fit, but not many more."""
        return min(ANSWERS_MAX, self.bytes_max // ADDRESS_BYTES + 1)


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
    """The answer in bytes. `recursion` says whether recursors are asked here. Of the answers as many are
    written as fit, with TC where some are missing; what other sections lack is no truncation (RFC 2181, 9).
    """
    writer = _Writer(query)
    wanted = _sampled(query, reply)
    counts = [writer.add(wanted), writer.add(reply.authority), 0]
    is_cut = counts[0] < len(wanted)
    if not is_cut:
        counts[2] = writer.add(reply.additional)
    flags = dns.flags.QR | reply.rcode & 0xF
    for flag, is_set in (
        (dns.flags.AA, reply.is_ours),
        (dns.flags.TC, is_cut),
        (dns.flags.RD, query.wants_recursion),
        (dns.flags.RA, recursion),
    ):
        flags |= flag if is_set else 0
    return writer.finished(flags, counts, _opt(query.edns, reply.rcode) if query.edns else b"")


def _opt(edns: Edns, rcode: Rcode) -> bytes:
    """What we say by EDNS (RFC 6891, 6.1.2): the upper bits of the code, and that DNSSEC was asked for."""
    flags = rcode >> 4 << 24 | (dns.flags.DO if edns.wants_dnssec else 0)
    return ROOT + RECORD.pack(OPT, UDP_BYTES_TOLD, flags, 0)


def _sampled(query: Query, reply: Reply) -> list[Record]:
    plain = query.transport is Transport.UDP and query.edns is None and reply.is_ours
    if plain and query.question.kind in (A, AAAA, ANY):
        return reply.answer[:UDP_PLAIN_ANSWERS]
    return reply.answer


class _Writer:
    """Writes records while they fit. A name that the message has already is written as a pointer to it."""

    def __init__(self, query: Query) -> None:
        name = wire_of(query.question.name)
        asked = name + QUESTION.pack(query.question.kind, query.rdclass)
        self._id = query.id
        self._message = bytearray(HEADER.size) + asked
        self._room = query.bytes_max - (OPT_BYTES if query.edns else 0)
        self._pointers = {ASKED: _pointer(HEADER.size), name: _pointer(HEADER.size)}

    def add(self, wanted: list[Record]) -> int:
        """How many of these were written, the first ones."""
        message, pointers = self._message, self._pointers
        for at, (owner, kind, ttl_s, data) in enumerate(wanted):
            name = pointers.get(owner, owner)
            begin = len(message) + len(name) + RECORD.size
            if begin + len(data) > self._room:
                return at
            message += name
            message += RECORD.pack(kind, dns.rdataclass.IN, ttl_s, len(data))
            message += data
            if kind in _TARGET_AT and begin < POINTER_MAX:
                target = _TARGET_AT[kind]
                pointers.setdefault(data[target:], _pointer(begin + target))
        return len(wanted)

    def finished(self, flags: int, counts: list[int], opt: bytes) -> bytes:
        answer, authority, additional = counts
        additional += bool(opt)
        HEADER.pack_into(self._message, 0, self._id, flags, 1, answer, authority, additional)
        return bytes(self._message + opt)


def _pointer(at: int) -> bytes:
    """RFC 1035, 4.1.4."""
    return (0xC000 | at).to_bytes(2, "big")

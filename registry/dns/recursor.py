"""Asks other resolvers about names that are in no domain of ours.

An answer is taken only where its id and its question are those of the query, and each query has a random id
and a socket of its own, so a random port (RFC 5452, 9): whoever forges one has to guess some 32 bits.
"""

import asyncio
from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
import dns.rdataclass
import dns.rrset
import structlog
from dns.rcode import NOTIMP, REFUSED, SERVFAIL

from .answer import Question, Reply
from .desk import Forward
from .limits import RECURSIONS_MAX, RECURSOR_TIMEOUT_S, UDP_BYTES_TOLD
from .records import Record, wire_of
from .settings import Recursor

log = structlog.get_logger(__name__)

_ELSEWHERE = (SERVFAIL, REFUSED, NOTIMP)  # another one may know


class Recursors:
    """Asks them in turn. `entropy` gives random bytes."""

    def __init__(self, recursors: tuple[Recursor, ...], entropy: Callable[[int], bytes]) -> None:
        self._recursors = recursors
        self._entropy = entropy
        self._under_way = 0

    async def answer(self, asked: Forward) -> bytes:
        """The client's answer; SERVFAIL where nobody answers, or too much is under way."""
        if self._under_way >= RECURSIONS_MAX:
            return asked.finished(None)
        self._under_way += 1
        try:
            return asked.finished(await self._ask(asked))
        finally:
            self._under_way -= 1

    async def _ask(self, asked: Forward) -> Reply | None:
        last = None
        for recursor in self._recursors:
            query = self._query(asked)
            try:
                async with asyncio.timeout(RECURSOR_TIMEOUT_S):
                    found = await _exchange(recursor, query)
            except (OSError, EOFError, TimeoutError, dns.exception.DNSException) as error:
                log.debug("a recursor does not answer", recursor=recursor.host, reason=repr(error))
                continue
            last = _reply(found)
            if last.rcode not in _ELSEWHERE:
                return last
        return last

    def _query(self, asked: Forward) -> dns.message.Message:
        edns = asked.query.edns
        return _make_query(asked.question, self._entropy, bool(edns and edns.wants_dnssec))


def _make_query(
    question: Question, entropy: Callable[[int], bytes], wants_dnssec: bool
) -> dns.message.QueryMessage:
    number = int.from_bytes(entropy(2), "big")
    return dns.message.make_query(
        question.name,
        question.kind,
        use_edns=0,
        want_dnssec=wants_dnssec,
        payload=UDP_BYTES_TOLD,
        flags=dns.flags.RD,
        id=number,
    )


async def _exchange(recursor: Recursor, query: dns.message.Message) -> dns.message.Message:
    """The answer, over TCP where it is too long for UDP. Raises OSError, EOFError, DNSException."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[dns.message.Message] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Waiting(query, waiting), remote_addr=(recursor.host, recursor.port)
    )
    try:
        transport.sendto(query.to_wire())
        found = await waiting
    finally:
        transport.close()
    return await _exchange_tcp(recursor, query) if found.flags & dns.flags.TC else found


async def _exchange_tcp(recursor: Recursor, query: dns.message.Message) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(recursor.host, recursor.port)
    try:
        wire = query.to_wire()
        writer.write(len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(await reader.readexactly(2), "big")
        found = dns.message.from_wire(await reader.readexactly(length))
    finally:
        writer.transport.abort()
    if not query.is_response(found):
        raise OSError("the answer is another question's")
    return found


class _Waiting(asyncio.DatagramProtocol):
    """Waits for the answer to one query, whatever else comes."""

    def __init__(self, query: dns.message.Message, waiting: asyncio.Future[dns.message.Message]) -> None:
        self._query = query
        self._waiting = waiting

    def datagram_received(self, data: bytes, addr: object) -> None:
        try:
            found = dns.message.from_wire(data)
        except (dns.exception.DNSException, ValueError):
            return
        if self._query.is_response(found) and not self._waiting.done():
            self._waiting.set_result(found)

    def error_received(self, exc: Exception) -> None:
        if not self._waiting.done():
            self._waiting.set_exception(exc)


def _reply(found: dns.message.Message) -> Reply:
    return Reply(
        found.rcode(),
        _records(found.answer),
        _records(found.authority),
        _records(found.additional),
        is_ours=False,
    )


def _records(section: list[dns.rrset.RRset]) -> list[Record]:
    return [
        Record(wire_of(rrset.name), rrset.rdtype, rrset.ttl, _data(data.to_wire()))
        for rrset in section
        if rrset.rdclass == dns.rdataclass.IN
        for data in rrset
    ]


def _data(written: bytes | None) -> bytes:
    assert written is not None  # it is returned where no file is given
    return written

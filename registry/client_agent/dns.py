"""DNS of an agent: a server is asked, and while there is none, what was answered lately is told again.

The question is written anew before it is sent, so what a client has beside it (its id, the case of letters,
EDNS options) reaches no server and no key; id and case are put back into the answer.
"""

import base64
import struct
from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
from dns.rcode import NOERROR, NXDOMAIN, REFUSED, SERVFAIL

from weft.errors import WeftError

from ..dns.answer import Reply
from ..dns.desk import Forward
from ..dns.message import HEADER, Query, Transport, read, write
from ..dns.records import wire_of
from ..dns.recursor import Recursors
from .cache import Cache, Kept, Key
from .servers import Servers

ASKING_MAX = 512  # questions under way; a resolver asks again
STALE_MAX_S = 24 * 3600.0  # RFC 8767, 5.1 suggests one to three days
CACHE_BYTES_MAX = 8 * 1024 * 1024
ASK_WITHIN_S = 4.0  # resolvers give up after five seconds
PATH = "/v1/internal/dns"


class RemoteDesk:
    """Takes queries, as `dns.desk.Desk`; what it does not refuse at once is for `RemoteAnswers`."""

    def take(self, wire: bytes, transport: Transport) -> bytes | Forward | None:
        query = read(wire, transport)
        return Forward(query, query.question, NOTHING) if isinstance(query, Query) else query


NOTHING = Reply(SERVFAIL, is_ours=False)


class RemoteAnswers:
    """Asks `servers` with the token that `token` gives; `recursors`, where there are any, about names that no
    server of ours knows. `now` is a monotonic clock in seconds."""

    def __init__(
        self,
        servers: Servers,
        token: Callable[[], str],
        recursors: Recursors | None,
        now: Callable[[], float],
    ) -> None:
        self._servers = servers
        self._token = token
        self._recursors = recursors
        self._now = now
        self._cache = Cache(CACHE_BYTES_MAX)
        self._under_way = 0

    async def answer(self, asked: Forward) -> bytes:
        """SERVFAIL where no server answers and nothing is remembered."""
        query = asked.query
        key = _key(query, self._token())
        kept = self._cache.get(key)
        if kept and kept.age_s(self._now()) < kept.fresh_s:
            return self._put_back(query, kept.body)
        found = await self._asked(query) if self._under_way < ASKING_MAX else None
        if found is None:
            if kept and kept.age_s(self._now()) <= STALE_MAX_S:
                return self._put_back(query, kept.body)
            return write(query, NOTHING, recursion=bool(self._recursors))
        if self._recursors and query.wants_recursion and _is_foreign(found):
            return await self._recursors.answer(asked)
        if (fresh_s := _fresh_s(found)) is not None:
            self._cache.put(key, Kept({}, found, self._now(), fresh_s))
        return self._put_back(query, found)

    async def _asked(self, query: Query) -> bytes | None:
        """A server's answer; None where there is none."""
        text = base64.urlsafe_b64encode(_wire(query)).decode().rstrip("=")
        target = f"{PATH}?transport={query.transport.name.lower()}&dns={text}"
        self._under_way += 1
        try:
            told = await self._servers.ask("GET", target, self._token(), within_s=ASK_WITHIN_S)
        except WeftError:
            return None
        finally:
            self._under_way -= 1
        if told.status == 403:
            return write(query, Reply(REFUSED, is_ours=False), recursion=False)
        whole = told.status == 200 and len(told.body) >= HEADER.size + len(wire_of(query.question.name))
        return told.body if whole else None

    def _put_back(self, query: Query, wire: bytes) -> bytes:
        """An answer to the same question, as the answer to this client's."""
        name = wire_of(query.question.name)
        number, flags = query.id, struct.unpack_from("!H", wire, 2)[0]
        flags |= dns.flags.RA if self._recursors else 0
        return struct.pack("!HH", number, flags) + wire[4:12] + name + wire[12 + len(name) :]


def _wire(query: Query) -> bytes:
    made = dns.message.make_query(
        query.question.name,
        query.question.kind,
        query.rdclass,
        use_edns=0 if query.edns else False,
        want_dnssec=bool(query.edns and query.edns.wants_dnssec),
        payload=query.edns.payload if query.edns else None,
        flags=dns.flags.RD if query.wants_recursion else 0,
        id=0,
    )
    return made.to_wire()


def _key(query: Query, secret: str) -> Key:
    """Every input of an answer. Letters' case is put back, so it is none."""
    asked = f"{query.question.name.canonicalize()} {query.question.kind} {query.rdclass}"
    how = f"{query.transport.name} {query.edns} {query.wants_recursion}"
    return Key(asked, secret, "", how)


def _is_foreign(wire: bytes) -> bool:
    """Refused, and not by who is answerable for the name."""
    (flags,) = struct.unpack_from("!H", wire, 2)
    return not flags & dns.flags.AA and flags & 0xF == REFUSED


def _fresh_s(wire: bytes) -> float | None:
    """For how long an answer may be told again without asking; None for what is not kept."""
    try:
        message = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError, struct.error):
        return None
    if message.rcode() not in (NOERROR, NXDOMAIN):
        return None
    times = [rrset.ttl for rrset in (*message.answer, *message.authority)]
    return float(min(times, default=0))

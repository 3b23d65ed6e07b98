"""The forward proxy: our own application reaches what is outside the mesh, where the rules admit it.

HTTP/1.1 as proxies speak it (RFC 9110 section 9.3.6, RFC 9112 section 3.2.2): CONNECT opens a stream of
bytes, an absolute URI is one request over plaintext. Both run as requests to an application do.
"""

from typing import TYPE_CHECKING

import structlog

from ..errors import EgressDenied, MalformedRequest, RequestsFull
from ..h2.block import Head
from ..h2.outbox import Outbox
from ..policy.egress import EgressPolicy, destination
from ..respond import ANSWERS, Answer
from ..snapshot import Address, Egress
from ..telemetry import Direction, Telemetry
from .app import MakePool
from .client_hello import Hello, server_name
from .downstream import Downstream
from .endpoint import Endpoint
from .exchange import Exchange, Plan, answer
from .http1_downstream import Http1Downstream
from .http1_upstream import Http1Upstream
from .inbound import CALLER_FIELD
from .pool import Pool
from .side import Side
from .singles import SinglePool
from .tcp import TcpUpstream

if TYPE_CHECKING:
    import asyncio

DESTINATION = "egress"  # label of metrics; the route is the rule. Hosts would be without bound.
POOLS_MAX = 1024  # destinations, each with its connections; idle ones go first
LOGGED_MAX = 1024  # refused destinations that are named in the log, until the rules change
_HTTP_PORT = 80
_DENIED = ANSWERS[EgressDenied]
_MALFORMED = ANSWERS[MalformedRequest]
_FULL = ANSWERS[RequestsFull]

log = structlog.get_logger(__name__)


class Tunnel(TcpUpstream):
    """Bytes to a destination. A TLS client must ask for a name that the rules admit, as the one it named in
    CONNECT could share an address with others."""

    hello: bytes | None = None  # what it has said, until its name is known

    def __init__(self, outbox: Outbox, pool: Pool, endpoint: Endpoint, side: "EgressSide") -> None:
        super().__init__(outbox, pool, endpoint)
        self._side = side

    def open(self, exchange: Exchange, endpoint: Endpoint) -> None:
        if self._side.asks_for_name(endpoint.address):
            self.hello = b""
        super().open(exchange, endpoint)

    def write(self, data: bytes) -> None:
        if self.hello is None:
            super().write(data)
            return
        self.hello += data
        name = server_name(self.hello)
        if name is Hello.PENDING:
            return
        if name is not Hello.NO_TLS and not self._side.admits_name(name, self.endpoint.address):
            self.abort()
            return
        data, self.hello = self.hello, None
        super().write(data)


class EgressSide(Side):
    """One listener, and a pool for each destination and way to speak to it."""

    direction = Direction.OUTBOUND
    peer_kind = "app"

    def __init__(
        self, outbox: Outbox, make: MakePool, telemetry: Telemetry, source: str, instance_key: str
    ) -> None:
        super().__init__(outbox, make(SinglePool), telemetry)
        self.pools: dict[tuple[Address, bool], Pool] = {}  # True: of tunnels
        self._make = make
        self._source = source
        self._via = b"1.1 weft-" + instance_key.replace("/", "-").encode()  # RFC 9110 section 7.6.3
        self._policy = EgressPolicy(None)
        self._configured: Egress | None = None
        self._logged: set[Address] = set()

    def accept(self) -> "asyncio.BaseProtocol":
        conn = Http1Downstream(self.outbox, self)
        conn.connects = True
        return conn

    def configure(self, egress: Egress | None) -> None:
        """New rules. What runs to a destination that they do not admit ends."""
        if egress == self._configured:
            return
        self._configured, self._policy = egress, EgressPolicy(egress)
        self._logged.clear()
        self.epoch = object()
        for (address, _), pool in self.pools.items():
            if self._policy.admit(address.host, address.port) is None:
                self._end(pool)

    def _end(self, pool: Pool) -> None:
        for conn in self.connections:
            for stream in list(conn.streams.values()):
                if isinstance(stream, Exchange) and stream.plan.pool is pool:
                    answer(stream, _DENIED)

    def asks_for_name(self, address: Address) -> bool:
        admitted = self._policy.admit(address.host, address.port)
        return admitted is None or admitted.by_name

    def admits_name(self, name: Hello | str, address: Address) -> bool:
        """Whether a TLS client that was admitted to `address` may ask for `name` there."""
        if isinstance(name, str) and self._policy.admit(name, address.port) is not None:
            return True
        self._refused(address, "the name that the TLS client asks for", name)
        return False

    # --- deciding ------------------------------------------------------------------------------------

    def decide(self, conn: Downstream, head: Head) -> Plan:
        bytes_only = head.method == b"CONNECT"
        fields = tuple(field for field in head.fields if field[0] != CALLER_FIELD)
        if not bytes_only:
            fields += ((b"via", self._via),)
        address = destination(head.value(b":authority") or b"", 0 if bytes_only else _HTTP_PORT)
        looped = any(name == b"via" and self._via in value for name, value in head.fields)
        if address is None or looped:
            return self._plan(head, fields, "", self.pool, _MALFORMED)
        admitted = self._policy.admit(address.host, address.port)
        if admitted is None:
            self._refused(address, "no rule admits it")
            return self._plan(head, fields, "", self.pool, _DENIED)
        pool = self._pool(address, bytes_only)
        if pool is None:
            return self._plan(head, fields, admitted.rule, self.pool, _FULL)
        return self._plan(head, fields, admitted.rule, pool, None)

    def _plan(
        self, head: Head, fields: tuple[tuple[bytes, bytes], ...], rule: str, pool: Pool, no: Answer | None
    ) -> Plan:
        series = self.telemetry.series(self.direction, self._source, DESTINATION, rule)
        plan = Plan(fields, pool, series, grpc=False, head_only=head.method == b"HEAD")
        plan.refusal = no
        return plan

    def _pool(self, address: Address, bytes_only: bool) -> Pool | None:
        found = self.pools.get((address, bytes_only))
        if found is None:
            if len(self.pools) >= POOLS_MAX:
                self._forget_idle()
            if len(self.pools) >= POOLS_MAX:
                return None
            found = self._make(SinglePool, make=self._tunnel if bytes_only else Http1Upstream)
            found.configure([Endpoint(str(address), address)])
            self.pools[address, bytes_only] = found
        return found

    def _tunnel(self, outbox: Outbox, pool: Pool, endpoint: Endpoint) -> Tunnel:
        return Tunnel(outbox, pool, endpoint, self)

    def _forget_idle(self) -> None:
        for key, pool in list(self.pools.items()):
            if not pool.connections() and not pool.waiting():
                del self.pools[key]
        self.epoch = object()  # plans lead to pools that are gone

    def _refused(self, address: Address, why: str, name: Hello | str = "") -> None:
        if len(self._logged) < LOGGED_MAX and address not in self._logged:
            self._logged.add(address)
            said = name.value if isinstance(name, Hello) else name
            log.warning("egress refused", destination=str(address), why=why, name=said)

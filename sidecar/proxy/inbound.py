"""The face towards peers: who they are, and what the intentions let them do."""

from collections.abc import Callable

from weft.clock import Clock
from weft.spiffe import SpiffeId
from weft.svid import UntrustedPeer

from ..errors import CallerDenied, NotParsed
from ..h2.block import Field, Head
from ..h2.outbox import Outbox
from ..identity import TlsContexts
from ..policy.authorize import Authorizer
from ..respond import ANSWERS, Answer
from ..snapshot import Inbound, Protocol
from ..telemetry import Direction, Telemetry
from .app import App
from .downstream import Downstream
from .exchange import Exchange, Plan, answer
from .peer import prove
from .side import Side, is_grpc

CALLER_FIELD = b"x-forwarded-client-cert"
_DENIED = ANSWERS[CallerDenied]
_NOT_PARSED = ANSWERS[NotParsed]


class InboundSide(Side):
    """The mTLS listener: peers with a proven identity, and the intentions on them."""

    direction = Direction.INBOUND
    peer_kind = "mesh"

    def __init__(
        self,
        outbox: Outbox,
        app: App,
        telemetry: Telemetry,
        *,
        own: SpiffeId,
        tls: Callable[[], TlsContexts],
        clock: Clock,
    ) -> None:
        super().__init__(outbox, app.http2, telemetry)
        self.app = app
        app.changed = self.forget_plans
        self.own = own
        self._tls = tls
        self._clock = clock
        self._authorizer = Authorizer((), False)
        self._bytes_refused = False

    def forget_plans(self) -> None:
        """What was decided is decided anew."""
        self.epoch = object()

    def recognise(self, conn: Downstream) -> bool:
        assert conn.aio is not None
        try:
            conn.proven = prove(conn.aio, self._tls(), self._clock.wall())
        except UntrustedPeer:
            self.counted.refuse("untrusted")
            return False
        conn.connects = True
        conn.verdict = self._authorizer.decide(conn.proven.identity)
        return True

    def decide(self, conn: Downstream, head: Head) -> Plan:
        caller, verdict = conn.proven, conn.verdict
        assert caller is not None and verdict is not None
        forwarded = f"By={self.own};Hash={caller.fingerprint};URI={caller.identity}".encode()
        fields: tuple[Field, ...] = tuple(field for field in head.fields if field[0] != CALLER_FIELD)
        grpc = is_grpc(head)
        plan = Plan(
            (*fields, (CALLER_FIELD, forwarded)),
            self.app.pool(head, grpc),
            self.telemetry.series(self.direction, caller.identity.service, self.own.service),
            grpc,
            head.method == b"HEAD",
        )
        if not verdict.allowed:
            plan.refusal = denial(verdict.reason)
        elif head.method == b"CONNECT" and self._bytes_refused:
            plan.refusal = _NOT_PARSED
        return plan

    def configure(self, inbound: Inbound) -> None:
        """New rules: every open connection is judged again, now."""
        self._authorizer = Authorizer(inbound.rules, inbound.default_allow)
        http = inbound.app_protocol not in (Protocol.UNKNOWN, Protocol.TCP)
        self._bytes_refused = inbound.parsed_only or http
        self.epoch = object()
        for conn in list(self.connections):
            self._judge(conn)

    def _judge(self, conn: Downstream) -> None:
        """Where the caller may call nothing any more, its open streams end and the connection goes."""
        assert conn.proven is not None
        conn.verdict = self._authorizer.decide(conn.proven.identity)
        if conn.verdict.allowed:
            return
        how = denial(conn.verdict.reason)
        for stream in list(conn.streams.values()):
            assert isinstance(stream, Exchange)
            answer(stream, how)
        conn.drain()


def denial(reason: str) -> Answer:
    return _DENIED._replace(grpc_message=f"{_DENIED.grpc_message} ({reason})")

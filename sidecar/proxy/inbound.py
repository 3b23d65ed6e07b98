"""The face towards peers: who they are, and what the intentions let them do."""

from collections.abc import Callable

from weft.clock import Clock
from weft.spiffe import SpiffeId
from weft.svid import UntrustedPeer

from ..admission import Admission, Fault, JwtProvider, PathPolicy, Place, Underscored
from ..errors import AmbiguousRequest, AppUnhealthy, CallerDenied, NotParsed, TokenRefused
from ..h2.block import Field, Head
from ..h2.outbox import Outbox
from ..identity import TlsContexts
from ..policy.arrival import Arrived, Refused, arrive, is_strict, those_for
from ..policy.authorize import Authorizer, Verdict
from ..policy.buckets import Limiter
from ..policy.gate import Judgement
from ..policy.match import Matcher, reads_of
from ..policy.reading import as_sent
from ..policy.tokens import KeySet
from ..respond import ANSWERS, Answer
from ..snapshot import Inbound, Protocol
from ..telemetry import Direction, Telemetry
from .app import App
from .downstream import Downstream
from .entry import Entry, Imposed, said_anew
from .exchange import Exchange, Plan, answer
from .peer import prove
from .side import CONNECTIONS_MAX, Side, is_grpc

CALLER_FIELD = b"x-forwarded-client-cert"
_DENIED = ANSWERS[CallerDenied]
_NOT_PARSED = ANSWERS[NotParsed]
_AMBIGUOUS = ANSWERS[AmbiguousRequest]
_UNHEALTHY = ANSWERS[AppUnhealthy]
_ANSWERS = {
    Refused.DENIED: _DENIED,
    Refused.UNPROVEN: ANSWERS[TokenRefused],
    Refused.AMBIGUOUS: _AMBIGUOUS,
}
_NO_PATHS = PathPolicy()
_NOTHING = Imposed()


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
        keys: Callable[[JwtProvider], KeySet],
    ) -> None:
        super().__init__(outbox, app.http2, telemetry)
        self.app = app
        app.changed = self.forget_plans
        self.own = own
        self._tls = tls
        self._clock = clock
        self._keys = keys
        self._authorizer = Authorizer((), False)
        self._bytes_refused = False
        self._configured: Inbound | None = None
        self._limiters: list[tuple[Limiter, Matcher]] = []
        self._faults: list[tuple[Fault, Matcher]] = []
        self._strict = False  # limits or faults depend on how paths are spelled
        self._ours = frozenset((CALLER_FIELD,))  # fields that nobody but us may set
        self._unhealthy = False
        self._timeout_s = 0.0  # for an answer of the application; 0: no limit

    def forget_plans(self) -> None:
        """What was decided is decided anew."""
        self.epoch = object()

    def app_is(self, trouble: str) -> None:
        """What checks say of the application; "" is good."""
        self._unhealthy = bool(trouble)
        self.forget_plans()

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

    # --- deciding ------------------------------------------------------------------------------------

    def decide(self, conn: Downstream, head: Head) -> Plan:
        return self.decide_at(conn, head, self._clock.wall())

    def decide_at(self, conn: Downstream, head: Head, wall: float) -> Plan:
        """What depends on the time, `wall`, is decided anew by `Entry` when it no longer stands."""
        caller, verdict = conn.proven, conn.verdict
        assert caller is not None and verdict is not None
        arrived = arrive(verdict, head, caller.identity.service, wall, self._paths(), self._strict)
        read, judgement, refusal = arrived.head, arrived.judgement, _answer_to(arrived)
        if refusal is None and head.method == b"CONNECT" and self._bytes_refused:
            refusal = _NOT_PARSED
        if refusal is None and self._unhealthy:
            refusal = _UNHEALTHY
        forwarded = f"By={self.own};Hash={caller.fingerprint};URI={caller.identity}".encode()
        fields = (*self._passed_on(read, judgement), (CALLER_FIELD, forwarded))
        series = self.telemetry.series(self.direction, caller.identity.service, self.own.service)
        grpc = is_grpc(head)
        plan = Plan(fields, self.app.pool(head, grpc), series, grpc, head.method == b"HEAD")
        imposed = self._imposed(read, caller.identity.service)
        if (judgement is None or judgement.lasts) and (
            refusal is not None or not (any(imposed) or self._looks_at_names())
        ):
            plan.refusal = refusal
        else:
            plan.begin = Entry(self, head, str(caller.identity), judgement, refusal, imposed).begin
        return plan

    def _imposed(self, head: Head, source: str) -> Imposed:
        timeout_s = 0.0 if head.method == b"CONNECT" else self._timeout_s
        if not (self._limiters or self._faults or timeout_s):
            return _NOTHING
        limiters, faults = those_for(self._limiters, head, source), those_for(self._faults, head, source)
        return Imposed(limiters, faults, timeout_s)

    def _passed_on(self, head: Head, judgement: Judgement | None) -> tuple[Field, ...]:
        """The fields that the application gets, but for the caller's: the tokens that we have checked do not
        go on unless that is said, and what they say does, where that is."""
        dropped: frozenset[bytes] = self._ours
        told: tuple[Field, ...] = ()
        for proof in judgement.proofs if judgement is not None else ():
            at = proof.location
            if at is not None and at.place is Place.HEADER and not at.forward:
                dropped |= {at.name.encode()}
            told += self._authorizer.verifiers[proof.provider].forwarded(proof)
        fields = tuple(field for field in head.fields if field[0] not in dropped)
        if self._paths().underscored is Underscored.DROP:
            fields = tuple(field for field in fields if b"_" not in field[0])
        return fields + told

    def _paths(self) -> PathPolicy:
        return self._configured.admission.paths if self._configured is not None else _NO_PATHS

    def unnamed(self, exchange: Exchange) -> Answer | None:
        """Fields beside the head, which differ from request to request: names with "_" in them."""
        underscored = self._paths().underscored
        extra = exchange.block.extra
        if underscored is Underscored.ALLOW or not any(b"_" in literal.name for literal in extra):
            return None
        if underscored is Underscored.REJECT:
            return _reasoned(_AMBIGUOUS, "a header has '_' in its name")
        exchange.block = said_anew(exchange.block, lambda name: b"_" not in name)
        return None

    def _looks_at_names(self) -> bool:
        return self._paths().underscored is not Underscored.ALLOW

    def wall(self) -> float:
        """Unix seconds."""
        return self._clock.wall()

    # --- rules ---------------------------------------------------------------------------------------

    def configure(self, inbound: Inbound) -> None:
        """New rules: every open connection is judged again, now."""
        if inbound == self._configured:  # what was decided stands
            return
        self._configured = inbound
        self._authorizer = Authorizer(inbound.rules, inbound.default_allow, inbound.admission, self._keys)
        told = (it.forward_header.encode() for it in inbound.admission.providers.values())
        self._ours = frozenset((CALLER_FIELD, *filter(None, told)))
        http = inbound.app_protocol not in (Protocol.UNKNOWN, Protocol.TCP)
        self._bytes_refused = inbound.parsed_only or http
        self._impose(inbound.admission)
        self._timeout_s = inbound.app_policy.request_timeout_s
        self.connections_max = min(inbound.connections_max or CONNECTIONS_MAX, CONNECTIONS_MAX)
        self.epoch = object()
        matchers = [matcher for _, matcher in (*self._limiters, *self._faults)]
        self.read(self._authorizer.reads | self._ours | reads_of(matchers))
        for conn in list(self.connections):
            self._judge(conn)

    def _impose(self, admission: Admission) -> None:
        """Limits that stay keep their buckets."""
        known = {limiter.limit: limiter for limiter, _ in self._limiters}
        self._limiters = [(known.get(it) or Limiter(it), Matcher(it.match)) for it in admission.limits]
        self._faults = [(it, Matcher(it.match)) for it in admission.faults]
        self._strict = is_strict(admission)

    def _judge(self, conn: Downstream) -> None:
        """Open streams that would be refused now end. Where the caller may call nothing any more, the
        connection goes too."""
        assert conn.proven is not None
        verdict = conn.verdict = self._authorizer.decide(conn.proven.identity)
        for stream in list(conn.streams.values()):
            assert isinstance(stream, Exchange)
            if how := self._judge_stream(verdict, conn.proven.identity.service, stream):
                answer(stream, how)
        if not verdict.allowed:
            conn.drain()

    def _judge_stream(self, verdict: Verdict, source: str, exchange: Exchange) -> Answer | None:
        """As of when it began: a token need not outlive the stream that it opened."""
        if not verdict.allowed:
            return denial(verdict.reason)
        if self._bytes_refused and exchange.block.head.method == b"CONNECT":
            return _NOT_PARSED
        if verdict.gate is None:
            return None
        began = self._clock.wall() - (self.outbox.clock() - exchange.started)
        return _answer_to(
            arrive(verdict, as_sent(exchange.block), source, began, self._paths(), self._strict)
        )


def _answer_to(arrived: Arrived) -> Answer | None:
    if arrived.refused is None:
        return None
    return _reasoned(_ANSWERS[arrived.refused], arrived.reason)


def denial(reason: str) -> Answer:
    return _reasoned(_DENIED, reason)


def _reasoned(how: Answer, reason: str) -> Answer:
    return how._replace(grpc_message=f"{how.grpc_message} ({reason})")

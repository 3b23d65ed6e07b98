"""Requests that arrive and need more than their head's decision: each is looked at before it is sent on."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from ..admission import Fault
from ..errors import FaultInjected, RateLimited
from ..events import INJECTED, RATE_LIMITED
from ..h2.block import Block, Extra, Head
from ..h2.errors import ErrorCode
from ..policy.buckets import Limiter, refused_for
from ..policy.faults import NOTHING, Injection, draw_all
from ..policy.gate import Judgement
from ..respond import ANSWERS, Answer
from .course import answer_on_purpose, end_by, hold, slow_down
from .exchange import Exchange, answer

if TYPE_CHECKING:
    from .inbound import InboundSide

_LIMITED = ANSWERS[RateLimited]
_FAULT = ANSWERS[FaultInjected]


class Imposed(NamedTuple):
    """The limits and the experiments that match a head, and the time for an answer (0: no limit)."""

    limiters: Sequence[Limiter] = ()
    faults: Sequence[Fault] = ()
    timeout_s: float = 0.0


class Entry:
    """For the requests of one head of one connection."""

    __slots__ = ("_caller", "_head", "_imposed", "_judgement", "_refusal", "_side")

    def __init__(
        self,
        side: "InboundSide",
        head: Head,
        caller: str,
        judgement: Judgement | None,
        refusal: Answer | None,
        imposed: Imposed,
    ) -> None:
        """`judgement` of the head's tokens, if rules ask for some, and the answer that follows from it.
        `caller` is the proven identity."""
        self._side = side
        self._head = head
        self._caller = caller
        self._judgement = judgement
        self._refusal = refusal
        self._imposed = imposed

    def begin(self, exchange: Exchange) -> None:
        judgement = self._judgement
        if judgement is not None and not judgement.stands(wall := self._side.wall()):
            head = self._head
            exchange.plan = plan = self._side.decide_at(exchange.conn, head, wall)
            if head.plan_for is self._side.epoch:
                head.plan = plan
            assert plan.begin is not None  # what depended on the time still does
            plan.begin(exchange)
            return
        plan = exchange.plan
        plan.series.requests += 1
        plan.series.active += 1
        how = self._refusal or self._side.unnamed(exchange) or self._over_limit(exchange)
        if how is not None:
            answer(exchange, how)
            return
        if self._imposed.timeout_s:
            end_by(exchange, exchange.started + self._imposed.timeout_s)
        injection = self._drawn(exchange)
        if injection is NOTHING:
            plan.pool.send(exchange)
        else:
            inject(exchange, injection)

    def _over_limit(self, exchange: Exchange) -> Answer | None:
        limiters = self._imposed.limiters
        refused = refused_for(limiters, self._caller, exchange.started) if limiters else None
        if refused is None:
            return None
        limiter, seconds = refused
        name = limiter.limit.name
        self._side.telemetry.count(RATE_LIMITED, exchange.plan.series.call.source, name).value += 1
        return _LIMITED._replace(
            grpc_message=f"{_LIMITED.grpc_message} by {name}",
            fields=((b"retry-after", b"%d" % ceil(seconds)),),
        )

    def _drawn(self, exchange: Exchange) -> Injection:
        if not self._imposed.faults:
            return NOTHING
        injection = draw_all(self._imposed.faults, self._side.wall(), exchange.plan.pool.draw)
        for name in injection.names:
            self._side.telemetry.count(INJECTED, exchange.plan.series.call.source, name).value += 1
        return injection


def inject(exchange: Exchange, injection: Injection) -> None:
    """Does to the request what was drawn for it."""
    how = None
    message = f"{_FAULT.grpc_message} by {', '.join(injection.names)}"
    if injection.reset:
        how = _FAULT._replace(reset_code=ErrorCode.INTERNAL_ERROR)
    elif injection.abort is not None:
        http_status, grpc_status = injection.abort.http_status, injection.abort.grpc_status
        how = _FAULT._replace(http_status=http_status, grpc_status=grpc_status, grpc_message=message)
    if injection.bytes_per_second and how is None:
        slow_down(exchange, injection.bytes_per_second)
    if injection.delay_s:
        hold(exchange, injection.delay_s, how)
    elif how is not None:
        answer_on_purpose(exchange, how)
    else:
        exchange.plan.pool.send(exchange)


def said_anew(block: Block, keeps: Callable[[bytes], bool]) -> Block:
    """Without the fields beside the head whose name is not kept."""
    wire = b"".join([literal.wire() for literal in block.extra if keeps(literal.name)])
    return Block(block.head, Extra(wire, block.extra.timeout))

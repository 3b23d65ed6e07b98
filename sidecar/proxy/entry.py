"""Requests that arrive and need more than their head's decision: each is looked at before it is sent on."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..h2.block import Block, Extra, Head
from ..policy.gate import Judgement
from ..respond import Answer
from .exchange import Exchange, answer

if TYPE_CHECKING:
    from .inbound import InboundSide


class Entry:
    """For the requests of one head of one connection."""

    __slots__ = ("_head", "_judgement", "_refusal", "_side")

    def __init__(
        self, side: "InboundSide", head: Head, judgement: Judgement | None, refusal: Answer | None
    ) -> None:
        """`judgement` of the head's tokens, if rules ask for some, and the answer that follows from it."""
        self._side = side
        self._head = head
        self._judgement = judgement
        self._refusal = refusal

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
        how = self._refusal or self._side.unnamed(exchange)
        if how is not None:
            answer(exchange, how)
            return
        plan.pool.send(exchange)


def said_anew(block: Block, keeps: Callable[[bytes], bool]) -> Block:
    """Without the fields beside the head whose name is not kept."""
    wire = b"".join([literal.wire() for literal in block.extra if keeps(literal.name)])
    return Block(block.head, Extra(wire, block.extra.timeout))

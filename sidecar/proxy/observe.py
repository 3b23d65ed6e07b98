"""What looks at single requests: tracing, the access log, taps.

A side has an `Observer` only while one of them is on, and a request is reported at its end only if one of
them may want it; so the switch pays two comparisons for all of it when it is off.
"""

import random
from typing import TYPE_CHECKING

from weft.clock import Clock

from ..calls import EndedCall, path_of, shown_headers, text
from ..outlets import Outlets
from ..policy.trace_context import read
from ..snapshot import TelemetryPolicy
from ..tap import Tap
from .exchange import Exchange
from .tracing import PPM, SpanIds, Tracer

if TYPE_CHECKING:
    from .downstream import Downstream


class Observer:
    """`begin` is called with each new exchange; `end` with those that it has hung itself on."""

    def __init__(self, policy: TelemetryPolicy, outlets: Outlets, rng: random.Random, clock: Clock) -> None:
        self.tracer = Tracer(policy.trace_ppm, rng, self) if policy.traces else None
        self._policy = policy
        self._outlets = outlets
        self._draw = rng.random
        self._clock = clock
        # Tracing alone: nothing between the switch and the tracer.
        alone = self.tracer is not None and not policy.logs and not outlets.taps
        self.begin = self.tracer.join if self.tracer is not None and alone else self._begin

    def _begin(self, exchange: Exchange) -> None:
        if self.tracer is not None:
            self.tracer.join(exchange)
        exchange.observer = self

    def end(self, exchange: Exchange, seconds: float) -> None:
        """The exchange is over, `seconds` after it began."""
        outlets, policy = self._outlets, self._policy
        failed = exchange.grpc_status > 0 or exchange.http_status >= 500 or not exchange.http_status
        logged = policy.logs and self._is_logged(failed)
        taps = self._taps(exchange, failed) if outlets.taps else ()
        exported = exchange.span is not None and policy.otlp_endpoint
        if not (exported or logged or taps):
            return
        ended = self._described(exchange, seconds)
        if exported:
            outlets.spans.offer(ended)
        if logged:
            outlets.log.offer(ended)
        for tap in taps:
            tap.offer(ended)

    def _taps(self, exchange: Exchange, failed: bool) -> list[Tap]:
        """Those that are to be told of it."""
        head, call = exchange.block.head, exchange.plan.series.call
        outcome = exchange.http_status, exchange.grpc_status, failed
        return [
            tap
            for tap in self._outlets.taps
            if tap.wants(call, head.method, head.path, outcome) and tap.takes_one()
        ]

    def _is_logged(self, failed: bool) -> bool:
        policy = self._policy
        return (failed and policy.access_log_errors) or self._draw() * PPM < policy.access_log_ppm

    def _described(self, exchange: Exchange, seconds: float) -> EndedCall:
        head, endpoint = exchange.block.head, exchange.endpoint
        ids = exchange.span or _ids(exchange)
        series = exchange.plan.series
        return EndedCall(
            call=series.call,
            started_s=self._clock.wall() - seconds,
            seconds=seconds,
            method=text(head.method),
            path=path_of(head.path),
            authority=text(head.authority),
            grpc=exchange.plan.grpc,
            http_status=exchange.http_status,
            grpc_status=exchange.grpc_status,
            reason=exchange.reason,
            attempts=exchange.attempts,
            instance=endpoint.key if endpoint else "",
            instance_address=str(endpoint.address) if endpoint else "",
            peer_address=_peer(exchange.conn),
            trace_id=ids.trace_id,
            span_id=ids.span_id if exchange.span else "",
            parent_id=ids.parent if exchange.span else "",
            headers=shown_headers(exchange.block),
        )


def _ids(exchange: Exchange) -> SpanIds:
    """Of a request that is not sampled: only the trace has a name."""
    context = read(exchange.block.extra)
    return SpanIds(context.trace_id if context else "", "", "")


def _peer(conn: "Downstream") -> str:
    """host:port of whoever called, as long as the socket is there."""
    name = conn.aio.get_extra_info("peername") if conn.aio else None
    if not isinstance(name, tuple):
        return ""
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

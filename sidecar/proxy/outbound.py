"""The face towards our own application: a loopback listener for each upstream."""

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import NoRoute
from ..h2.block import Head
from ..h2.outbox import Outbox
from ..policy.match import Matcher, reads_of
from ..policy.upstreams import named_targets
from ..respond import ANSWERS
from ..snapshot import Upstream
from ..telemetry import Direction, Series, Telemetry
from .downstream import Downstream
from .exchange import Plan
from .pool import Pool
from .side import Side, is_grpc

_NO_ROUTE = ANSWERS[NoRoute]


class Way(NamedTuple):
    """A route as it is asked: what it matches, and where that goes."""

    matcher: Matcher
    pool: Pool
    series: Series


class Outbound(Side):
    """A loopback listener on which the application reaches one upstream. Until it is configured, all goes
    to `pool`."""

    direction = Direction.OUTBOUND
    peer_kind = "app"

    def __init__(self, outbox: Outbox, pool: Pool, telemetry: Telemetry, source: str) -> None:
        super().__init__(outbox, pool, telemetry)
        self._source = source
        self._configured: object = None
        self._unrouted = telemetry.series(self.direction, source, pool.name)
        self._ways = [Way(Matcher(None), pool, telemetry.series(self.direction, source, pool.name))]

    def configure(self, upstream: Upstream, pools: Mapping[str, Pool]) -> None:
        """New routes, and the pools that they lead to."""
        used = upstream, [pools[target] for target in named_targets(upstream)]
        if used == self._configured:  # what was decided stands
            return
        self._configured = used
        self.epoch = object()
        self.pool = pools[upstream.default_target]
        self._ways = [
            Way(
                Matcher(route.match),
                pools[split.target],
                self.telemetry.series(self.direction, self._source, upstream.name, route.name, split.target),
            )
            for route in upstream.routes
            for split in route.splits[:1]
        ]
        self.read(reads_of(way.matcher for way in self._ways))

    def decide(self, conn: Downstream, head: Head) -> Plan:
        for way in self._ways:
            if way.matcher.matches(head):
                break
        else:
            plan = Plan(head.fields, self.pool, self._unrouted, is_grpc(head), head_only=False)
            plan.refusal = _NO_ROUTE
            return plan
        return Plan(head.fields, way.pool, way.series, is_grpc(head), head.method == b"HEAD")

"""Sans-IO. One worker's part of what a configuration bounds: together they keep the bounds that are written.

Connections are spread over workers by the kernel, so bounds are divided evenly and rounded up.
"""

from dataclasses import replace

from ..admission import RateLimit
from ..snapshot import Inbound, Snapshot
from ..traffic import Route, Target, Upstream


def share_of(snapshot: Snapshot, workers: int) -> Snapshot:
    """The configuration of one of so many workers."""
    if workers == 1:
        return snapshot
    return replace(
        snapshot,
        inbound=_inbound(snapshot.inbound, workers),
        targets={name: _target(target, workers) for name, target in snapshot.targets.items()},
        upstreams={name: _upstream(upstream, workers) for name, upstream in snapshot.upstreams.items()},
    )


def _inbound(inbound: Inbound, workers: int) -> Inbound:
    limits = tuple(_limit(limit, workers) for limit in inbound.admission.limits)
    return replace(
        inbound,
        connections_max=_part(inbound.connections_max, workers),
        admission=replace(inbound.admission, limits=limits),
    )


def _limit(limit: RateLimit, workers: int) -> RateLimit:
    return replace(limit, per_second=limit.per_second / workers, burst=max(1.0, limit.burst / workers))


def _target(target: Target, workers: int) -> Target:
    return replace(
        target,
        connections_max=_part(target.connections_max, workers),
        pending_max=_part(target.pending_max, workers),
        requests_max=_part(target.requests_max, workers),
    )


def _upstream(upstream: Upstream, workers: int) -> Upstream:
    return replace(upstream, routes=tuple(_route(route, workers) for route in upstream.routes))


def _route(route: Route, workers: int) -> Route:
    if route.retry is None:
        return route
    return replace(route, retry=replace(route.retry, budget_min=_part(route.retry.budget_min, workers)))


def _part(bound: int, workers: int) -> int:
    """Rounded up; 0 stays "not limited"."""
    return -(-bound // workers)

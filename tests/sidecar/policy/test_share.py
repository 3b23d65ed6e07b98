"""What one of several workers keeps of the bounds of a sidecar."""

import dataclasses

from sidecar.admission import Admission, RateLimit
from sidecar.policy.compile import compile_snapshot
from sidecar.policy.share import share_of
from sidecar.traffic import RetryPolicy
from tests.support.resources import all_resources, full_resources, target_id


def test_bounds_are_divided_and_rounded_up_and_nothing_else_changes() -> None:
    whole = compile_snapshot(full_resources(), 7)
    limits = (RateLimit("r", 30.0, 10.0), RateLimit("s", 1.0, 1.0))
    inbound = dataclasses.replace(whole.inbound, connections_max=10, admission=Admission(limits=limits))
    whole = dataclasses.replace(whole, inbound=inbound)
    part = share_of(whole, 4)
    assert part.inbound.connections_max == 3
    assert [(it.per_second, it.burst) for it in part.inbound.admission.limits] == [(7.5, 2.5), (0.25, 1.0)]
    target = part.targets[target_id("orders")]
    assert (target.connections_max, target.requests_max, target.pending_max) == (1, 25, 256)
    retry = part.upstreams["orders"].routes[0].retry
    assert isinstance(retry, RetryPolicy) and (retry.budget_min, retry.budget_percent) == (1, 10)
    assert part.upstreams["orders"].listen == whole.upstreams["orders"].listen
    assert part.targets[target_id("orders")].instances == whole.targets[target_id("orders")].instances


def test_what_is_not_limited_stays_so_and_one_worker_has_all() -> None:
    whole = compile_snapshot(all_resources(), 7)
    assert share_of(whole, 1) is whole
    part = share_of(whole, 3)
    assert part.inbound.connections_max == 0
    assert part.targets[target_id("orders")].requests_max == 0
